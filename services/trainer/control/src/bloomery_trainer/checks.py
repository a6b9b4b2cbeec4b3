"""Checks of what callers write freely; each records a violation that says how to fix it."""

from collections.abc import Mapping

from bloomery_kit.errors import Violations

_TEXT = 256
_LABELS = 64
_KEY = 63
_PRIORITY = 1000


def check_text(value: str, field: str, violations: Violations, *, length: int = _TEXT) -> None:
    """Text that every database can store."""
    if len(value) > length:
        violations.add(field, f"must have at most {length} characters, not {len(value)}")
    if "\0" in value:
        violations.add(field, "must not hold NUL characters")


def check_labels(labels: Mapping[str, str], violations: Violations) -> None:
    """Key-value pairs for filtering."""
    if len(labels) > _LABELS:
        violations.add("job.labels", f"must have at most {_LABELS} entries, not {len(labels)}")
    for key, value in labels.items():
        field = f"job.labels.{key[:_KEY]}"
        if not key:
            violations.add("job.labels", "must have no empty key")
        check_text(key, field, violations, length=_KEY)
        check_text(value, field, violations)


def check_priority(priority: int, violations: Violations) -> None:
    """A priority within its limits."""
    if abs(priority) > _PRIORITY:
        violations.add("job.priority", f"must be between -{_PRIORITY} and {_PRIORITY}")


def check_request_id(request_id: str) -> None:
    """Raise InvalidArgument unless it can be stored."""
    violations = Violations()
    check_text(request_id, "request_id", violations)
    violations.raise_if_any()
