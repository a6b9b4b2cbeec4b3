"""What every recipe has to do right, tried on a recipe: `python -P -m bloomery_worker.checking PACKAGE`."""
