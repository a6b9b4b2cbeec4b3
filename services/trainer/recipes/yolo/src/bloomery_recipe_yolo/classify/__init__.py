"""The recipe `yolo-classify`."""

from bloomery_recipe_yolo.yolo import YoloRecipe

recipe = YoloRecipe()
