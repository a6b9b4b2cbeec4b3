"""Stands for torch in workers that run the scripted recipe, which computes nothing: loading it takes seconds."""
