"""The recipe `classify-resnet`."""

from bloomery_recipe_timm.classifiers import Classifiers
from bloomery_worker.training.recipe import LoopRecipe

recipe = LoopRecipe(Classifiers("resnet18"))
