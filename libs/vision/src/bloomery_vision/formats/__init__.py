"""Annotation files of Pascal VOC, COCO and YOLO: recognising, reading and writing them. `FORMATS` has them all.

Readers take a `Source` and yield one `ImportItem` an image, so memory grows with the number of file names and not with
their content. Writers take rows and yield chunks of files. What one writes the other reads back.
"""

from bloomery_vision.formats.coco import read_coco
from bloomery_vision.formats.detect import detect, read, read_labels
from bloomery_vision.formats.export import image_path
from bloomery_vision.formats.model import (
    ExportChunk,
    ExportRow,
    Format,
    FormatError,
    FormatGuess,
    ImportItem,
    LabelSpec,
    Split,
    YoloTask,
)
from bloomery_vision.formats.source import FolderSource, MappingSource, Source, ZipLimits, ZipSource
from bloomery_vision.formats.table import FORMATS, FileFormat
from bloomery_vision.formats.voc import read_voc
from bloomery_vision.formats.write_coco import write_coco
from bloomery_vision.formats.write_voc import write_voc
from bloomery_vision.formats.write_yolo import write_yolo
from bloomery_vision.formats.yolo import read_yolo

__all__ = [
    "FORMATS",
    "ExportChunk",
    "ExportRow",
    "FileFormat",
    "FolderSource",
    "Format",
    "FormatError",
    "FormatGuess",
    "ImportItem",
    "LabelSpec",
    "MappingSource",
    "Source",
    "Split",
    "YoloTask",
    "ZipLimits",
    "ZipSource",
    "detect",
    "image_path",
    "read",
    "read_coco",
    "read_labels",
    "read_voc",
    "read_yolo",
    "write_coco",
    "write_voc",
    "write_yolo",
]
