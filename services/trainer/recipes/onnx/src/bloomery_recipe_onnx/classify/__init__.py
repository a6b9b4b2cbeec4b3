"""The recipe `onnx-classify`."""

from bloomery_recipe_onnx.onnx_recipe import OnnxRecipe

recipe = OnnxRecipe()
