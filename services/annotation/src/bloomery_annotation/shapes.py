"""The stored form of shapes: a protobuf message.

Stored are the `shapes` of an AnnotationSet without its other fields, serialised in one fixed way, so that equal shapes
are equal bytes. The label of a stored shape is a label's id.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest

from bloomery.annotation.v1 import AnnotationSet
from bloomery.vision.v1 import Shape as ShapeMessage
from bloomery_annotation.model import Shapes
from bloomery_vision.geometry import Shape
from bloomery_vision.messages import complete, shape_value

MAX_SHAPES = 10_000
MAX_BYTES = 8 << 20
MAX_ID = 64
MAX_MODEL = 256


def pack(messages: Iterable[ShapeMessage]) -> Shapes:
    """The stored form of messages."""
    stored = AnnotationSet(shapes=messages)
    return _stored(stored, Counter(shape.label for shape in stored.shapes))


def pack_values(shapes: Sequence[Shape], label_id: Callable[[str], str], ids: Iterable[str] = ()) -> Shapes:
    """The stored form of values, whose labels `label_id` turns into ids; `ids` are those in their file, if any."""
    stored, labels = AnnotationSet(), [label_id(shape.label) for shape in shapes]
    for shape, label, identifier in zip_longest(shapes, labels, ids):
        message = stored.shapes.add()
        message.label, message.source_id = label, identifier or shape.source_id
        complete(message, shape)
    return _stored(stored, Counter(labels))


def unpack(blob: bytes) -> AnnotationSet:
    """A message that holds the stored shapes and nothing else."""
    return AnnotationSet.FromString(blob)


def values(blob: bytes) -> Iterator[Shape]:
    """The stored shapes, which were checked before they were stored."""
    for message in unpack(blob).shapes:
        shape = shape_value(message)
        assert shape is not None
        yield shape


def without_label(blob: bytes, label_id: str) -> Shapes:
    """What is left without the shapes that carry a label."""
    return pack(shape for shape in unpack(blob).shapes if shape.label != label_id)


def _stored(message: AnnotationSet, counts: Counter[str]) -> Shapes:
    return Shapes(message.SerializeToString(deterministic=True), counts)
