"""Deployments as plain values."""

from dataclasses import replace
from datetime import UTC, datetime

from bloomery_inference.serving.model import Deployment

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_BASE = Deployment(
    uid="d",
    project="p",
    id="door",
    model_uid="m",
    model="pets",
    runtime="triton",
    alias="",
    target="",
    variant="",
    labels={},
    updater="",
    create_time=_NOW,
    update_time=_NOW,
)


def deployment(**fields: object) -> Deployment:
    """A deployment that was just made, with other fields."""
    return replace(_BASE, **fields)  # type: ignore[arg-type]
