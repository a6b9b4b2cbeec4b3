"""The stored form of shapes, a protobuf message, and its translation to the library's values and back.

Stored are the `shapes` of an AnnotationSet without its other fields, serialised in one fixed way, so that equal shapes
are equal bytes. The label of a stored shape is a label's id.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from bloomery.annotation.v1 import AnnotationSet
from bloomery.vision.v1 import Shape as ShapeMessage
from bloomery_annotation.model import Shapes
from bloomery_vision.geometry import Box, Geometry, Mask, Point, Polygon, Ring, Shape, Tag

MAX_SHAPES = 10_000
MAX_BYTES = 8 << 20


def pack(messages: Iterable[ShapeMessage]) -> Shapes:
    """The stored form of messages."""
    stored = AnnotationSet(shapes=messages)
    return Shapes(stored.SerializeToString(deterministic=True), Counter(shape.label for shape in stored.shapes))


def pack_values(shapes: Iterable[Shape], label_id: Callable[[str], str]) -> Shapes:
    """The stored form of values, whose labels `label_id` turns into ids."""
    return pack(_message(shape, label_id(shape.label)) for shape in shapes)


def unpack(blob: bytes) -> AnnotationSet:
    """A message that holds the stored shapes and nothing else."""
    return AnnotationSet.FromString(blob)


def values(blob: bytes) -> Iterator[Shape]:
    """The stored shapes, which were checked before they were stored."""
    for message in unpack(blob).shapes:
        shape = value(message)
        assert shape is not None
        yield shape


def without_label(blob: bytes, label_id: str) -> Shapes:
    """What is left without the shapes that carry a label."""
    return pack(shape for shape in unpack(blob).shapes if shape.label != label_id)


def value(message: ShapeMessage) -> Shape | None:
    """The message as a value; None if it has no geometry. Raise ValueError for one that cannot be a shape."""
    geometry = _geometry(message)
    if geometry is None:
        return None
    return Shape(
        geometry,
        message.label,
        dict(message.attributes),
        message.crowd,
        message.group_id or None,
        message.track_id or None,
    )


def _geometry(message: ShapeMessage) -> Geometry | None:
    match message.WhichOneof("geometry"):
        case "box":
            box = message.box
            return Box(box.x, box.y, box.width, box.height)
        case "polygon":
            rings = [_ring(ring.coordinates) for ring in message.polygon.rings]
            if not rings:
                raise ValueError("a polygon needs at least one ring")
            return Polygon(rings[0], tuple(rings[1:]))
        case "mask":
            return Mask(message.mask.width, message.mask.height, message.mask.counts)
        case "tag":
            return Tag()
        case _:
            return None


def _ring(coordinates: Iterable[float]) -> Ring:
    numbers = list(coordinates)
    if len(numbers) % 2:
        raise ValueError("a ring holds x and y of each point, so an even number of coordinates")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _message(shape: Shape, label_id: str) -> ShapeMessage:
    message = ShapeMessage(
        label=label_id,
        crowd=shape.crowd,
        group_id=shape.group_id or 0,
        track_id=shape.track_id or 0,
        attributes=shape.attributes,
    )
    match shape.geometry:
        case Box(x, y, width, height):
            message.box.x, message.box.y, message.box.width, message.box.height = x, y, width, height
        case Polygon() as polygon:
            for ring in polygon.rings:
                message.polygon.rings.add(coordinates=_flat(ring))
        case Mask(width, height, counts):
            message.mask.width, message.mask.height, message.mask.counts = width, height, counts
        case Tag():
            message.tag.SetInParent()
    return message


def _flat(ring: tuple[Point, ...]) -> Iterator[float]:
    for x, y in ring:
        yield x
        yield y
