"""What of a project's quota is left, and what fits into it. Decided without I/O."""

from collections.abc import Sequence

from bloomery_annotation.model import Blob, Project
from bloomery_kit.errors import ResourceExhausted
from bloomery_kit.quotas import Limits, exceeded


def check_bytes(project: Project, limits: Limits, more: int) -> None:
    """Raise ResourceExhausted QUOTA_EXCEEDED unless `more` bytes fit."""
    if limits.bytes is not None and more and project.size_bytes + more > limits.bytes:
        raise _no_bytes(project, limits.bytes, more)


def refused(project: Project, limits: Limits, new: Sequence[Blob]) -> dict[str, ResourceExhausted]:
    """Those of new blobs that do not fit, by digest: whichever come first take the room that there is."""
    found: dict[str, ResourceExhausted] = {}
    if limits.bytes is None:
        return found
    taken = 0
    for blob in new:
        if blob.size_bytes and project.size_bytes + taken + blob.size_bytes > limits.bytes:
            found[blob.digest] = _no_bytes(project, limits.bytes, blob.size_bytes)
        else:
            taken += blob.size_bytes
    return found


def images_left(project: Project, limits: Limits) -> int | None:
    """How many images may still be made; None for any number."""
    return None if limits.images is None else max(0, limits.images - project.asset_count)


def no_image(project: Project, limits: Limits, more: int = 1) -> ResourceExhausted:
    """The refusal of more images."""
    assert limits.images is not None
    return exceeded(project.name, "images", limit=limits.images, used=project.asset_count, more=more)


def _no_bytes(project: Project, limit: int, more: int) -> ResourceExhausted:
    return exceeded(project.name, "bytes", limit=limit, used=project.size_bytes, more=more)
