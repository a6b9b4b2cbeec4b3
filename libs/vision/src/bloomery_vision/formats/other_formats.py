"""Label files in formats that are not read, told by their first lines so that they can be named."""

import re

from bloomery_vision.formats.model import FormatError
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.texts import read_start
from bloomery_vision.formats.voc_xml import root_of

_HEAD = 4096
_JSON = (
    ("LabelMe", re.compile(r'"(shapes|imagePath)"\s*:.*"(shapes|imagePath|imageData|flags|points)"\s*:', re.DOTALL)),
    ("VIA", re.compile(r'"(_via_\w+|regions|file_attributes)"\s*:')),
    ("Label Studio", re.compile(r'"(annotations|completions)"\s*:\s*\[\s*\{.*"result"\s*:', re.DOTALL)),
    ("CreateML", re.compile(r'^\s*\[\s*\{.*"annotations?"\s*:\s*\[\s*\{.*"coordinates"\s*:', re.DOTALL)),
    ("COCO results", re.compile(r'^\s*\[\s*\{[^}]*"category_id"\s*:', re.DOTALL)),
    ("Datumaro", re.compile(r'"dm_format_version"|"media_type"\s*:\s*\d|"items"\s*:\s*\[')),
    ("Cityscapes", re.compile(r'"imgHeight"\s*:.*"objects"\s*:\s*\[', re.DOTALL)),
    ("Supervisely", re.compile(r'"objects"\s*:\s*\[.*"classTitle"\s*:', re.DOTALL)),
    ("COCO", re.compile(r'^\s*\{.*"annotations"\s*:\s*\[.*"(caption|segments_info)"\s*:', re.DOTALL)),
)
_XML = {"annotations": "CVAT's XML", "dataset": "dlib's XML"}
_TEXTS = (
    ("KITTI", re.compile(r"^[A-Za-z_]+(\s+-?[\d.]+){14,15}\s*$", re.MULTILINE)),
    ("DOTA", re.compile(r"^(-?[\d.]+\s+){8}[A-Za-z]\S*(\s+\d)?\s*$|^imagesource:", re.MULTILINE)),
    (
        "a list of boxes",
        re.compile(r"^\S.*?\.(jpe?g|png|bmp)[\s,]+-?\d+([\s,]-?\d+){3,4}", re.MULTILINE | re.IGNORECASE),
    ),
    ("VIA", re.compile(r"\A#?filename,(file_)?size,file_attributes,")),
    ("a table of images", re.compile(r"\A\s*filename\s*,", re.IGNORECASE)),
)
_CALLED_LABELS = re.compile(
    r"(label|annot|instance|bbox|boxes|ground[-_]?truth)[^/]*\.(csv|json|jsonl|tsv|xml)$", re.IGNORECASE
)


def name_of_format(source: Source, name: str) -> str | None:
    """The program or set whose labels a file seems to hold; None where it does not look like labels."""
    suffix = name.rpartition(".")[2].lower()
    try:
        text = read_start(source, name, _HEAD)
    except FormatError:
        return _by_name(name)
    if suffix == "xml":
        return _XML.get(root_of(text)) or _by_name(name)
    known = _JSON if suffix == "json" else _TEXTS if suffix in ("txt", "csv") else ()
    return next((title for title, pattern in known if pattern.search(text)), None) or _by_name(name)


def _by_name(name: str) -> str | None:
    return "an unknown format" if _CALLED_LABELS.search(name) else None
