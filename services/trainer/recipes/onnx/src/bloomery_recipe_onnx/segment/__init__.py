"""The recipe `onnx-segment`."""

from bloomery_recipe_onnx.onnx_recipe import OnnxRecipe

recipe = OnnxRecipe()
