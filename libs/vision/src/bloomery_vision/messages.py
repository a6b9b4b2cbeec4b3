"""Shapes between the contract's messages and values: the one place that knows both."""

from collections.abc import Iterable

from bloomery.vision.v1 import Shape as ShapeMessage
from bloomery_vision.geometry import Box, Found, Geometry, Mask, Polygon, Ring, Shape, Tag


def shape_value(message: ShapeMessage) -> Shape | None:
    """The value of a message, None where it has no geometry.

    Whether it is a good shape is for `bloomery_vision.validate` to say. Raises ValueError for what cannot be a value: a
    polygon without rings, a ring with an odd number of coordinates.
    """
    geometry = _geometry_value(message)
    if geometry is None:
        return None
    return Shape(
        geometry,
        message.label,
        attributes=dict(message.attributes),
        crowd=message.crowd,
        group_id=message.group_id or None,
        track_id=message.track_id or None,
        source_id=message.source_id,
    )


def shape_message(shape: Shape) -> ShapeMessage:
    """The message of a value."""
    message = ShapeMessage(label=shape.label, source_id=shape.source_id)
    complete(message, shape)
    return message


def complete(message: ShapeMessage, shape: Shape) -> None:
    """Put all of a value into an empty message, but its label and its id."""
    if shape.crowd:
        message.crowd = True
    if shape.group_id:
        message.group_id = shape.group_id
    if shape.track_id:
        message.track_id = shape.track_id
    if shape.attributes:
        message.attributes.update(shape.attributes)
    _place(message, shape.geometry)


def found_message(found: Found) -> ShapeMessage:
    """The message of what a model sees; `confidence` is its score."""
    message = ShapeMessage(label=found.label, confidence=found.score)
    _place(message, found.geometry)
    return message


def _place(message: ShapeMessage, geometry: Geometry) -> None:
    match geometry:
        case Box():
            box = message.box
            box.x, box.y, box.width, box.height = geometry.x, geometry.y, geometry.width, geometry.height
        case Polygon():
            for ring in geometry.rings:
                message.polygon.rings.add(coordinates=[number for point in ring for number in point])
        case Mask(width, height, counts):
            message.mask.width, message.mask.height, message.mask.counts = width, height, counts
        case Tag():
            message.tag.SetInParent()


def _geometry_value(message: ShapeMessage) -> Geometry | None:
    match message.WhichOneof("geometry"):
        case "box":
            return Box(message.box.x, message.box.y, message.box.width, message.box.height)
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
