"""The recipe `yolo-segment`."""

from bloomery_recipe_yolo.yolo import YoloRecipe

recipe = YoloRecipe()
