"""Recipes."""

from bloomery._aio.base import AsyncHandle
from bloomery._fields import RecipeFields
from bloomery.training import v1 as training


class AsyncRecipe(AsyncHandle[training.Recipe], RecipeFields):
    """A way to make a model."""
