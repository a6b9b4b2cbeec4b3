"""The recipe `classify-efficientnet`."""

from bloomery_recipe_timm.classifiers import Classifiers
from bloomery_worker.training.recipe import LoopRecipe

recipe = LoopRecipe(Classifiers("efficientnet_b0"))
