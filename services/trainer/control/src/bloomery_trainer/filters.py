"""The filters of lists, as people write them."""

from bloomery_kit.errors import FieldViolation, InvalidArgument, Violations
from bloomery_kit.fields import check_text
from bloomery_trainer.model import Kind, State
from bloomery_trainer.store.events import Content
from bloomery_trainer.store.jobs import Filter

_KINDS = {kind.name: kind for kind in Kind}
_STATES = {state.name: state for state in State}


def job_filter(text: str, project: str) -> Filter:
    """A filter from `state:RUNNING AND label.team:cells` and the like. Raise InvalidArgument naming every bad term."""
    violations = Violations()
    check_text(text, "filter", violations, length=_FILTER)
    fields: dict[str, object] = {} if project == "projects/-" else {"project": project}
    labels: dict[str, str] = {}
    for term in filter(None, (part.strip() for part in text.split(" AND "))):
        key, _, value = term.partition(":")
        if key.startswith("label.") and value:
            labels[key.removeprefix("label.")] = value
        elif (known := _term(key, value)) is not None:
            fields |= known
        else:
            violations.add("filter", f"{term!r} is none of {_VALUES.get(key, _TERMS)}")
    violations.raise_if_any()
    return Filter(**fields, labels=labels)  # type: ignore[arg-type]


_FILTER = 1000
_TERMS = "state:STATE, kind:KIND, active, label.KEY:VALUE, model:NAME, group:ID, id:ID"
_VALUES = {
    "state": ", ".join(f"state:{name}" for name in _STATES),
    "kind": ", ".join(f"kind:{name}" for name in _KINDS),
}
_TEXTS = {"model": "model", "group": "group", "id": "job_id"}


def _term(key: str, value: str) -> dict[str, object] | None:
    if key == "state" and value in _STATES:
        return {"state": _STATES[value]}
    if key == "kind" and value in _KINDS:
        return {"kind": _KINDS[value]}
    if key == "active" and not value:
        return {"active": True}
    return {_TEXTS[key]: value} if key in _TEXTS and value else None


_CONTENT = {
    "lifecycle": Content.LIFECYCLE,
    "metrics": Content.METRICS,
    "logs": Content.LOGS,
    "samples": Content.SAMPLES,
}


def event_filter(text: str) -> Content | None:
    """Which events to list, None for all. Raise InvalidArgument."""
    if not text:
        return None
    if text not in _CONTENT:
        raise InvalidArgument([FieldViolation("filter", f"must be empty or one of {', '.join(_CONTENT)}")])
    return _CONTENT[text]
