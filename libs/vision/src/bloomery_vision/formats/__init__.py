"""Annotation files of Pascal VOC, COCO and YOLO: recognising, reading and writing them. `FORMATS` has them all.

`understand` makes the plan of a folder, and `read` yields one `ImportItem` an image as the plan says, so memory grows
with the number of file names and not with their content. Writers take rows and yield chunks of files. What one writes
the other reads back.
"""

from bloomery_vision.formats.export import image_path
from bloomery_vision.formats.model import (
    ExportChunk,
    ExportRow,
    Format,
    FormatError,
    ImportItem,
    LabelSpec,
    Split,
    YoloTask,
)
from bloomery_vision.formats.plan import Doubt, Left, Plan
from bloomery_vision.formats.planner import read, understand
from bloomery_vision.formats.source import FolderSource, MappingSource, Source, ZipLimits, ZipSource
from bloomery_vision.formats.table import FORMATS, FileFormat
from bloomery_vision.formats.tree import LABEL_SUFFIXES
from bloomery_vision.formats.write_coco import write_coco
from bloomery_vision.formats.write_yolo import write_yolo

__all__ = [
    "FORMATS",
    "LABEL_SUFFIXES",
    "Doubt",
    "ExportChunk",
    "ExportRow",
    "FileFormat",
    "FolderSource",
    "Format",
    "FormatError",
    "ImportItem",
    "LabelSpec",
    "Left",
    "MappingSource",
    "Plan",
    "Source",
    "Split",
    "YoloTask",
    "ZipLimits",
    "ZipSource",
    "image_path",
    "read",
    "understand",
    "write_coco",
    "write_yolo",
]
