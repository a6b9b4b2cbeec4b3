"""Checks of what callers write; each records a violation that says how to fix it."""

import re
from collections.abc import Mapping

from bloomery_annotation.names import DIGEST_PREFIX
from bloomery_kit.errors import Violations

MAX_BATCH = 1000
SPLITS = ("", "train", "val", "test")
_MAX_TEXT = 1024
_MAX_LABELS = 64
_DIGEST = re.compile(DIGEST_PREFIX + "[0-9a-f]{64}")
_COLOR = re.compile("#[0-9a-fA-F]{6}")


def text(value: str, field: str, violations: Violations, maximum: int = _MAX_TEXT) -> None:
    """Free text that a database can store."""
    if len(value) > maximum:
        violations.add(field, f"has {len(value)} characters; at most {maximum} are allowed")
    if "\0" in value:
        violations.add(field, "must not hold the character NUL")


def free_labels(labels: Mapping[str, str], field: str, violations: Violations) -> None:
    """Key-value pairs for filtering."""
    if len(labels) > _MAX_LABELS:
        violations.add(field, f"has {len(labels)} entries; at most {_MAX_LABELS} are allowed")
    for key, value in labels.items():
        text(key, f"{field} key", violations, 63)
        text(value, f"{field}[{key[:63]!r}]", violations, 255)
        if not key:
            violations.add(field, "has an empty key")


def digest(value: str, field: str, violations: Violations) -> None:
    """A digest."""
    if not _DIGEST.fullmatch(value):
        violations.add(field, f"{value[:80]!r} must be 'sha256:' and 64 lower-case hexadecimal digits")


def color(value: str, field: str, violations: Violations) -> None:
    """A colour, or nothing."""
    if value and not _COLOR.fullmatch(value):
        violations.add(field, f"{value[:20]!r} must look like '#1f77b4'")


def split(value: str, field: str, violations: Violations) -> None:
    """A split, or nothing."""
    if value not in SPLITS:
        violations.add(field, f"{value[:20]!r} must be 'train', 'val', 'test' or empty")


def batch(count: int, field: str, violations: Violations) -> None:
    """As many items as one call takes."""
    if count > MAX_BATCH:
        violations.add(field, f"has {count} items; at most {MAX_BATCH} are allowed in one call")


def file_path(value: str, field: str, violations: Violations) -> None:
    """A path inside a folder."""
    text(value, field, violations)
    if not value or value.startswith("/") or "\\" in value or {"", ".", ".."} & set(value.split("/")):
        violations.add(field, f"{value[:80]!r} must be a path inside the folder, with '/' between parts and no '..'")


def request_id(value: str, violations: Violations) -> None:
    """An id of a request."""
    text(value, "request_id", violations, 128)
