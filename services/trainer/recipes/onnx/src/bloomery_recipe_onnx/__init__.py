"""Recipes for models that come as ONNX files, whatever trained them."""
