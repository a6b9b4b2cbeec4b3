"""Recipes that train detectors of the DETR family."""
