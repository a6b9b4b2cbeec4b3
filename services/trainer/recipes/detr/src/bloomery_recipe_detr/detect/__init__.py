"""The recipe `detr-detect`."""

from bloomery_recipe_detr.detectors import Detectors
from bloomery_worker.training.recipe import LoopRecipe

recipe = LoopRecipe(Detectors())
