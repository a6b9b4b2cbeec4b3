"""Checks of free fields; each records a violation that says how to fix it."""

from collections.abc import Mapping

from bloomery_kit.errors import Violations

_TEXT_LENGTH = 1024
_KEY_LENGTH = 63
_VALUE_LENGTH = 255
_ENTRIES = 64


def check_text(value: str, field: str, violations: Violations, *, length: int = _TEXT_LENGTH) -> None:
    """Text that every database can store."""
    if len(value) > length:
        violations.add(field, f"must have at most {length} characters, not {len(value)}")
    if "\0" in value:
        violations.add(field, "must not hold NUL characters")


def check_labels(labels: Mapping[str, str], field: str, violations: Violations) -> None:
    """Key-value pairs for filtering."""
    if len(labels) > _ENTRIES:
        violations.add(field, f"must have at most {_ENTRIES} entries, not {len(labels)}")
    for key, value in sorted(labels.items()):
        entry = f"{field}[{key[:_KEY_LENGTH]!r}]"
        if not key:
            violations.add(entry, "must have a key")
        check_text(key, entry, violations, length=_KEY_LENGTH)
        check_text(value, entry, violations, length=_VALUE_LENGTH)
