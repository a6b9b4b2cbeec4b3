"""Augmentation policies: which random changes images are trained with, and what becomes of their shapes."""
