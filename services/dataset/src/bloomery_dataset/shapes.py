"""Shapes between messages and values."""

from bloomery.vision.v1 import Box as BoxMessage
from bloomery.vision.v1 import Mask as MaskMessage
from bloomery.vision.v1 import Polygon as PolygonMessage
from bloomery.vision.v1 import Ring as RingMessage
from bloomery.vision.v1 import Shape as ShapeMessage
from bloomery.vision.v1 import Tag as TagMessage
from bloomery_vision.geometry import Box, Geometry, Mask, Polygon, Ring, Shape, Tag


def shape_value(message: ShapeMessage) -> Shape | None:
    """The value of a message; None for one without a geometry."""
    geometry = _geometry(message)
    if geometry is None:
        return None
    return Shape(
        geometry,
        message.label,
        attributes=dict(message.attributes),
        crowd=message.crowd,
        group_id=message.group_id or None,
        track_id=message.track_id or None,
    )


def shape_message(shape: Shape) -> ShapeMessage:
    """The message of a value."""
    message = ShapeMessage(
        label=shape.label,
        crowd=shape.crowd,
        group_id=shape.group_id or 0,
        track_id=shape.track_id or 0,
        attributes=shape.attributes,
    )
    match shape.geometry:
        case Box(x, y, width, height):
            message.box.CopyFrom(BoxMessage(x=x, y=y, width=width, height=height))
        case Polygon() as polygon:
            message.polygon.CopyFrom(PolygonMessage(rings=map(_ring_message, polygon.rings)))
        case Mask(width, height, counts):
            message.mask.CopyFrom(MaskMessage(width=width, height=height, counts=counts))
        case Tag():
            message.tag.CopyFrom(TagMessage())
    return message


def _geometry(message: ShapeMessage) -> Geometry | None:
    match message.WhichOneof("geometry"):
        case "box":
            return Box(message.box.x, message.box.y, message.box.width, message.box.height)
        case "polygon" if message.polygon.rings:
            first, *parts = map(_ring, message.polygon.rings)
            return Polygon(first, tuple(parts))
        case "mask":
            return Mask(message.mask.width, message.mask.height, message.mask.counts)
        case "tag":
            return Tag()
        case _:
            return None


def _ring(message: RingMessage) -> Ring:
    return tuple(zip(message.coordinates[::2], message.coordinates[1::2], strict=True))


def _ring_message(ring: Ring) -> RingMessage:
    return RingMessage(coordinates=[value for point in ring for value in point])
