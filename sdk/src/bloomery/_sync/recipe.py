"""Recipes."""

from bloomery._fields import RecipeFields
from bloomery._sync.base import Handle
from bloomery.training import v1 as training


class Recipe(Handle[training.Recipe], RecipeFields):
    """A way to make a model."""
