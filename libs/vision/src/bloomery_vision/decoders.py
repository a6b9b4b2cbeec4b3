"""Names by which a model says how images are fitted to it and its outputs are read. Importing them loads nothing."""

from collections.abc import Mapping

LETTERBOX = "letterbox"
CENTER_CROP = "center-crop"
RESIZES = (LETTERBOX, CENTER_CROP)
"""How an image is fitted; what detectors answer can only be moved back from a letterbox."""
YOLO = "yolo"
"""Decoder of a head whose boxes overlap: [4 + C + K, A]."""
YOLO_END_TO_END = "yolo-end-to-end"
"""Decoder of a head that needs no suppression, or has it built in: [N, 6 + K]."""
PROBABILITIES = "probabilities"
"""Decoder of a classifier: [C]."""
_DETECTORS = (YOLO, YOLO_END_TO_END)
DECODERS_OF: Mapping[str, tuple[str, ...]] = {
    "detect": _DETECTORS,
    "segment": _DETECTORS,
    "classify": (PROBABILITIES,),
}
"""How the outputs of a model of a task may be read."""
