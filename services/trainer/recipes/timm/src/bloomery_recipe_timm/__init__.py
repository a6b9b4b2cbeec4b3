"""Recipes that train classifiers of timm."""
