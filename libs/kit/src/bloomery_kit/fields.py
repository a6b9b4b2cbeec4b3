"""Checks of what callers write freely; each records a violation that says how to fix it."""

from collections.abc import Mapping

from bloomery_kit.errors import Violations

TEXT_LENGTH = 1024
"""Characters of a text, unless its field says otherwise."""
_KEY_LENGTH = 63
_VALUE_LENGTH = 255
_ENTRIES = 64
_REQUEST_ID_LENGTH = 128


def check_text(value: str, field: str, violations: Violations, *, length: int = TEXT_LENGTH) -> None:
    """Text that every database can store."""
    if len(value) > length:
        violations.add(field, f"must have at most {length} characters, not {len(value)}")
    if "\0" in value:
        violations.add(field, "must not hold NUL characters")


def check_labels(labels: Mapping[str, str], field: str, violations: Violations) -> None:
    """Key-value pairs for filtering: at most 64, keys of 1 to 63 characters, values of at most 255."""
    if len(labels) > _ENTRIES:
        violations.add(field, f"must have at most {_ENTRIES} entries, not {len(labels)}")
    for key, value in sorted(labels.items()):
        entry = f"{field}[{key[:_KEY_LENGTH]!r}]"
        if not key:
            violations.add(field, "must have no empty key")
        check_text(key, entry, violations, length=_KEY_LENGTH)
        check_text(value, entry, violations, length=_VALUE_LENGTH)


def check_request_id(value: str, violations: Violations) -> None:
    """The id of a request: at most 128 characters."""
    check_text(value, "request_id", violations, length=_REQUEST_ID_LENGTH)
