"""What a project may take, and what it has taken."""

from dataclasses import dataclass

from google.protobuf.field_mask_pb2 import FieldMask

from bloomery._session import Session
from bloomery.access import v1 as access
from bloomery.annotation import v1 as annotation
from bloomery.errors import InvalidArgument
from bloomery.training import v1 as training

NONE, DEFAULT = "none", "default"
_UNLIMITED = -1
_LARGEST = (1 << 63) - 1
Limit = int | str
"""A number, "none" for no limit, or "default" for what the installation gives to every project."""
_WAITS = (training.JOB_STATE_PENDING, training.JOB_STATE_PAUSED)


@dataclass(frozen=True)
class Share:
    """What is used of something, and the limit; None where there is none."""

    used: int
    limit: int | None

    @property
    def left(self) -> int | None:
        """What still fits; None where there is no limit."""
        return None if self.limit is None else max(0, self.limit - self.used)


@dataclass(frozen=True)
class Quota:
    """The quota of a project; `proto` says which limits are its own, and which the installation's."""

    bytes: Share
    images: Share
    running_jobs: Share
    gpus: Share
    proto: access.Quota


async def get_quota(session: Session, project: str) -> Quota:
    """The limits of a project and what it has taken."""
    found = await session.call(session.quotas.GetQuota, access.GetQuotaRequest(name=f"{project}/quota"))
    return await _with_use(session, project, found)


async def set_quota(session: Session, project: str, limits: dict[str, Limit | None]) -> Quota:
    """Set limits of a project; None leaves one as it is."""
    given = {name: limit for name, limit in limits.items() if limit is not None}
    quota = access.Quota(name=f"{project}/quota")
    for name, limit in given.items():
        if limit != DEFAULT:
            setattr(quota, name, _number(name, limit))
    request = access.UpdateQuotaRequest(quota=quota, update_mask=FieldMask(paths=list(given)))
    return await _with_use(session, project, await session.call(session.quotas.UpdateQuota, request))


def _number(name: str, limit: Limit) -> int:
    if limit == NONE:
        return _UNLIMITED
    if not isinstance(limit, int) or not 0 <= limit <= _LARGEST:
        raise InvalidArgument(f"{name}: must be a whole number of at least 0, `{NONE}` or `{DEFAULT}`, not {limit!r}")
    return limit


async def _with_use(session: Session, project: str, found: access.Quota) -> Quota:
    owner = await session.call(session.annotation.GetProject, annotation.GetProjectRequest(name=project))
    request = training.ListJobsRequest(parent=project, filter="active", page_size=1000)
    pages = session.pages(session.jobs.ListJobs, request)
    busy = [job async for page in pages for job in page.jobs if job.state not in _WAITS]
    limits = {field.name: value for field, value in found.limits.ListFields()}
    return Quota(
        Share(owner.size_bytes, limits.get("bytes")),
        Share(owner.asset_count, limits.get("images")),
        Share(len(busy), limits.get("running_jobs")),
        Share(sum(job.resources.gpus for job in busy), limits.get("gpus")),
        found,
    )
