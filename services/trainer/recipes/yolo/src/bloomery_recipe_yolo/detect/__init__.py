"""The recipe `yolo-detect`."""

from bloomery_recipe_yolo.yolo import YoloRecipe

recipe = YoloRecipe()
