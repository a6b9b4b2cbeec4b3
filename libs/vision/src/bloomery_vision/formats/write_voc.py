"""Writes Pascal VOC with corners from 0, as CVAT and Datumaro do, so that no fraction of a pixel is lost."""

from collections.abc import Iterable, Iterator
from typing import cast
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from bloomery_vision.formats.export import Notes, Stems, placed
from bloomery_vision.formats.model import ExportChunk, ExportRow
from bloomery_vision.formats.voc_xml import ATTRIBUTES
from bloomery_vision.geometry import Box, Shape


def write_voc(rows: Iterable[ExportRow], *, notes: Notes | None = None) -> Iterator[ExportChunk]:
    """`Annotations/<stem>.xml` for each row, and its stem in `ImageSets/Main/<split>.txt`.

    The images belong at `JPEGImages/<file name>`. The box around an outline or mask is written.

    Args:
        rows: read once.
        notes: counts what was left out or changed: "crowd left out", "tag left out", "outline as box".

    Raises:
        FormatError: BAD_NAME, DUPLICATE_NAME.
    """
    notes = Notes() if notes is None else notes
    stems = Stems()
    for row in rows:
        stem = stems.take(row, folder="Annotations")
        yield ExportChunk(f"Annotations/{stem}.xml", _document(row, notes))
        yield ExportChunk(f"ImageSets/Main/{row.split}.txt", f"{stem}\n".encode())


def _document(row: ExportRow, notes: Notes) -> bytes:
    root = Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", row.file_name)
    size = SubElement(root, "size")
    for name, value in (("width", row.width), ("height", row.height), ("depth", 3)):
        _add(size, name, str(value))
    for shape in placed(row.shapes, notes):
        box = shape.geometry.bounds
        if box is not None:
            notes["outline as box"] += not isinstance(shape.geometry, Box)
            _object(root, shape, box)
    indent(root)
    return cast("bytes", tostring(root, encoding="utf-8", xml_declaration=True))


def _object(root: Element, shape: Shape, box: Box) -> None:
    item = SubElement(root, "object")
    _add(item, "name", shape.label)
    for name in ATTRIBUTES:
        if name in shape.attributes:
            _add(item, name, shape.attributes[name])
    corners = SubElement(item, "bndbox")
    for name, value in (("xmin", box.x), ("ymin", box.y), ("xmax", box.x2), ("ymax", box.y2)):
        _add(corners, name, _corner(value))


def _corner(value: float) -> str:
    """A number with a point, which says that it does not count pixels from 1."""
    digits = f"{value:.12g}"
    return digits if "." in digits or "e" in digits else f"{digits}.0"


def _add(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = text
