"""One Pascal VOC file: its XML, and its objects as shapes.

Beside the box other programs write what Pascal VOC has no word for: CVAT a rotation, roLabelImg a rotated box, Roboflow
and LabelMe an outline. All of it wins over the upright box.
"""

import codecs
import math
import re
from collections.abc import Iterable, Iterator
from itertools import product
from xml.etree.ElementTree import Element, ParseError, fromstring

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from bloomery_vision.findings import Finding, error
from bloomery_vision.formats.cleaning import Entry, Outlined, Parsed
from bloomery_vision.formats.model import FormatError
from bloomery_vision.formats.names import nfc
from bloomery_vision.formats.source import Size, Source
from bloomery_vision.formats.texts import read_small
from bloomery_vision.geometry import Box, Point, Polygon, Ring, Shape

_SAYS_NOTHING = frozenset(product(("difficult", "truncated", "occluded", "pose"), ("0", "Unspecified")))
_NO_ATTRIBUTES = frozenset({"attributes", "date", "deleted", "id", "name", "type", "username", "verified"})
"""What stands in an object beside its attributes, each of which is an element of its own or in `attributes`."""
_CALLED = {"confidence": "score"}

_TURNED = ("cx", "cy", "w", "h", "angle")
CORNERS = ("xmin", "ymin", "xmax", "ymax")
_DECLARATION = re.compile(rb"""^<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)["'][^>]*\?>""")
_DECLARED = 1024
"""Bytes in which a declaration ends."""
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"}
"""What programs mean by these encodings, by the names of Python's codecs."""


def parse(source: Source, name: str) -> Element:
    """The root of a file.

    Raises:
        FormatError: OTHER_FORMAT where it is XML of something else; XML_ENTITIES, BROKEN_FILE, FILE_TOO_LARGE,
            UNREADABLE.
    """
    content = read_small(source, name).lstrip(b" \t\r\n")
    try:
        root = _tree(_decoded(content))
    except DefusedXmlException as problem:
        message = "it declares entities, or refers to other files, and neither is read"
        raise FormatError("XML_ENTITIES", message, "write plain XML") from problem
    except UnicodeDecodeError as problem:
        message = f"it is not in the encoding that it names, {problem.encoding}"
        raise FormatError("BROKEN_FILE", message, "save it as UTF-8") from problem
    except (ParseError, ValueError, LookupError) as problem:
        raise FormatError("BROKEN_FILE", f"it is not well-formed XML: {problem}", "write the file again") from problem
    if root.tag != "annotation":
        raise FormatError("OTHER_FORMAT", f"its root is <{root.tag:.60}>, not <annotation>", "leave the file out")
    return root


def root_of(start: str) -> str:
    """The name of the first element in what an XML file begins with, empty where there is none."""
    found = re.search(r"<([A-Za-z_][\w.-]*)", re.sub(r"<!--.*?-->", "", start, flags=re.DOTALL))
    return found[1] if found else ""


def objects(root: Element, path: str, *, origin: int) -> Iterator[Entry]:
    """Each object with where it stands; `origin` is the number of the first pixel."""
    for index, item in enumerate(root.iter("object"), 1):
        if text(item, "deleted") != "1":
            yield Entry(f"{path}#object[{index}]", _object(item, origin))


def declared_size(root: Element) -> Size | None:
    """The (width, height) that a file states."""
    try:
        return int(float(text(root, "size/width"))), int(float(text(root, "size/height")))
    except (ValueError, OverflowError):
        return None


def corners(item: Element) -> list[float] | None:
    """xmin, ymin, xmax, ymax of an object as they stand in the file."""
    return _numbers(item.find("bndbox"), CORNERS)


def corner_texts(item: Element) -> list[str]:
    """The texts of the corners of an object, empty where one is missing."""
    box = item.find("bndbox")
    return [text(box, key) if box is not None else "" for key in CORNERS]


def text(item: Element, path: str) -> str:
    """The text at a path, without the space around it."""
    return nfc((item.findtext(path) or "").strip())


def _numbers(item: Element | None, keys: Iterable[str]) -> list[float] | None:
    # One tag after the other: a path of several takes ten times as long.
    if item is None:
        return None
    try:
        # Some languages write a comma.
        return [float((item.findtext(key) or "").replace(",", ".")) for key in keys]
    except ValueError:
        return None


def _tree(content: bytes | str) -> Element:
    # The guard against entities is written in Python and takes most of the time. It has nothing to guard where no text
    # declares one; bytes may be in an encoding that hides it.
    if isinstance(content, str) and "<!" not in content:
        return fromstring(content)  # noqa: S314
    root: Element = defusedxml.ElementTree.fromstring(content)
    return root


def _decoded(content: bytes) -> bytes | str:
    """Text where a declaration names an encoding: the parser knows few of them. Without one plain ASCII is text too."""
    found = _DECLARATION.match(content, 0, _DECLARED)
    if found is None:
        return content.decode() if content.isascii() else content
    codec = codecs.lookup(found[1].decode()).name
    return content[found.end() :].decode(_WIDER.get(codec, codec))


def _object(item: Element, origin: int) -> Parsed:
    label, attributes = text(item, "name"), _attributes(item)
    rotation = attributes.pop("rotation", "")
    outline = _outline(item)
    found = corners(item)
    if found is None:
        return Shape(outline, label, attributes) if isinstance(outline, Polygon) else _bad_box(item)
    xmin, ymin, xmax, ymax = found
    box = Box.from_corners(xmin - origin, ymin - origin, xmax, ymax)
    outline = outline or _turned(box, rotation)
    upright = Shape(box, label, attributes)
    if outline is None:
        return upright
    return Outlined(outline if isinstance(outline, Finding) else Shape(outline, label, attributes), upright)


def _bad_box(item: Element) -> Finding:
    stated = zip(CORNERS, corner_texts(item), strict=True)
    words = ", ".join(f"{key} {value or 'is missing'}" for key, value in stated)
    return error("BAD_BOX", f"its bndbox cannot be read: {words}", hint="xmin, ymin, xmax and ymax are numbers")


def _attributes(item: Element) -> dict[str, str]:
    told = ((one.tag, nfc((one.text or "").strip())) for one in item if not len(one))
    found = {
        _CALLED.get(tag, tag): value
        for tag, value in told
        if value and tag not in _NO_ATTRIBUTES and (tag, value) not in _SAYS_NOTHING
    }
    parent = item.find("attributes")
    further = parent.iterfind("attribute") if parent is not None else ()
    more = {text(one, "name"): text(one, "value") for one in further}
    return found | {key: value for key, value in more.items() if key and value}


def _outline(item: Element) -> Polygon | Finding | None:
    """The outline that stands beside or instead of a box, or why it cannot be used; None where there is none."""
    turned = item.find("robndbox")
    polygon = item.find("polygon")
    if turned is None:
        return _ring(polygon) if polygon is not None and len(polygon) else None
    numbers = _numbers(turned, _TURNED)
    if numbers is None:
        return error("BAD_BOX", "its robndbox cannot be read", hint=f"{', '.join(_TURNED)} are numbers")
    cx, cy, width, height, angle = numbers
    return rotated(Box(cx - width / 2, cy - height / 2, width, height), angle)


def _ring(polygon: Element) -> Polygon | Finding:
    pairs = [(text(point, "x"), text(point, "y")) for point in polygon.iterfind("pt")]
    numbers = (number for number in range(1, len(polygon)) if polygon.find(f"x{number}") is not None)
    pairs += [(text(polygon, f"x{number}"), text(polygon, f"y{number}")) for number in numbers]
    try:
        ring: Ring = tuple((float(x), float(y)) for x, y in pairs)
    except ValueError:
        return error("BAD_GEOMETRY", "its polygon has points that are no numbers", hint="write them as numbers")
    if len(ring) < 3:
        return error("TOO_FEW_POINTS", f"its polygon has {len(ring)} of at least 3 points", hint="draw it again")
    return Polygon(ring)


def _turned(box: Box, degrees: str) -> Polygon | Finding | None:
    if not degrees:
        return None
    try:
        # Some languages write a comma.
        angle = math.radians(float(degrees.replace(",", ".")))
    except ValueError:
        angle = math.nan
    if not math.isfinite(angle):
        return error("BAD_BOX", f"its rotation is {degrees!r}", hint="a rotation is a number of degrees")
    return rotated(box, angle) if angle % (2 * math.pi) else None


def rotated(box: Box, angle: float) -> Polygon:
    """The corners of a box turned clockwise about its centre; `angle` in radians."""
    x, y = box.x + box.width / 2, box.y + box.height / 2
    along = (math.cos(angle), math.sin(angle))

    def corner(right: float, down: float) -> Point:
        return x + right * along[0] - down * along[1], y + right * along[1] + down * along[0]

    right, down = box.width / 2, box.height / 2
    return Polygon((corner(-right, -down), corner(right, -down), corner(right, down), corner(-right, down)))
