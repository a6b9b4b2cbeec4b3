"""What the figures of an evaluation mean, in a few words for people."""

from collections.abc import Mapping

_SIZES = {
    "small": "objects below 32 x 32 pixels",
    "medium": "objects of 32 x 32 to 96 x 96 pixels",
    "large": "objects above 96 x 96 pixels",
}
_OF_BOXES = {
    "map50": "mean over the classes of the average precision at an overlap of 0.5",
    "map50_95": "the same, averaged over overlaps from 0.5 to 0.95",
    "map75": "the same at an overlap of 0.75",
    **{f"map_{size}": f"map50_95 of {text} of the original image" for size, text in _SIZES.items()},
}
MEANINGS: Mapping[str, str] = {
    **_OF_BOXES,
    **{f"mask_{name}": f"{text}, by masks" for name, text in _OF_BOXES.items()},
    "precision": "mean over the classes of the share of predictions that are right; of boxes at its best threshold",
    "recall": "mean over the classes of the share of what is there that is found, there",
    "f1": "mean over the classes of the harmonic mean of precision and recall, there",
    "overall_precision": "share of all detections that are right at the one threshold with the highest F1",
    "overall_recall": "share of all objects that are found there",
    "overall_f1": "F1 there",
    "overall_confidence": "that threshold: what to predict with where all classes count alike",
    "accuracy": "share of the images whose most probable class is the right one",
    "accuracy_top5": "share of the images of which one of the five most probable classes is the right one",
    "balanced_accuracy": "mean over the classes that have images of the share that is recognised",
    "roc_auc": "mean area under the ROC curves, one class against the rest",
    "calibration_error": "how far scores are from the share that is right, on average; 0 is best",
}
"""By the name of a metric without the split."""

COLUMNS: Mapping[str, str] = {"roc_auc": "ROC AUC", "instances": "count"}
"""What columns of the table of classes are called where that is not their name."""
