"""Checks of what callers write; each records a violation that says how to fix it."""

import re

from bloomery_annotation.names import DIGEST_PREFIX
from bloomery_kit.errors import Violations
from bloomery_kit.fields import check_text
from bloomery_vision.formats import LABEL_SUFFIXES
from bloomery_vision.formats.lookup import is_image
from bloomery_vision.formats.names import base_of, split_suffix

MAX_BATCH = 1000
SPLITS = ("", "train", "val", "test")
MAX_NAME = 200
"""Characters of a display name that people give."""
_MAY_BE_LEFT = (".csv", ".pbtxt")
"""Clients of before do not send files that end so."""
_DIGEST = re.compile(DIGEST_PREFIX + "[0-9a-f]{64}")
_COLOR = re.compile("#[0-9a-fA-F]{6}")


def digest(value: str, field: str, violations: Violations) -> None:
    """A digest."""
    if not _DIGEST.fullmatch(value):
        violations.add(field, f"{value[:80]!r} must be 'sha256:' and 64 lower-case hexadecimal digits")


def file_digest(path: str, value: str, field: str, violations: Violations, *, plan_only: bool) -> None:
    """The digest of a file of a folder; nothing for one that an import does not read."""
    if value:
        digest(value, field, violations)
    elif is_read(path) and not plan_only and not path.lower().endswith(_MAY_BE_LEFT):
        violations.add(field, f"{path[:80]!r} is an image or a label file by its ending: upload it and name its digest")


def is_read(path: str) -> bool:
    """Whether an import reads a file, by its ending."""
    return is_image(path) or split_suffix(base_of(path))[1] in LABEL_SUFFIXES


def color(value: str, field: str, violations: Violations) -> None:
    """A colour, or nothing."""
    if value and not _COLOR.fullmatch(value):
        violations.add(field, f"{value[:20]!r} must look like '#1f77b4'")


def split(value: str, field: str, violations: Violations) -> None:
    """A split, or nothing."""
    if value not in SPLITS:
        violations.add(field, f"{value[:20]!r} must be 'train', 'val', 'test' or empty")


def batch(count: int, field: str, violations: Violations, most: int = MAX_BATCH) -> None:
    """As many items as one call takes."""
    if count > most:
        violations.add(field, f"has {count} items; at most {most} are allowed in one call")


def file_path(value: str, field: str, violations: Violations) -> None:
    """A path inside a folder."""
    check_text(value, field, violations)
    if not value or value.startswith("/") or "\\" in value or {"", ".", ".."} & set(value.split("/")):
        violations.add(field, f"{value[:80]!r} must be a path inside the folder, with '/' between parts and no '..'")
