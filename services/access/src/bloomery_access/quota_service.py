"""Quotas over gRPC: convert, call, convert."""

from collections.abc import Mapping

from bloomery.access.v1 import GetQuotaRequest, Quota, QuotaLimits, QuotaServiceServicer, UpdateQuotaRequest
from bloomery_access.model import ProjectQuota
from bloomery_access.settings import QuotaSettings
from bloomery_access.store import projects, quotas
from bloomery_access.store.quotas import LIMITS
from bloomery_kit.database import Database
from bloomery_kit.errors import Violations
from bloomery_kit.masks import apply_mask
from bloomery_kit.names import Pattern
from bloomery_kit.times import Clock, to_timestamp, utc_now

SERVICE = "bloomery.access.v1.QuotaService"
_QUOTA = Pattern("projects/{project}/quota")
_UNLIMITED = -1


class QuotaServicer(QuotaServiceServicer):
    """Limits of projects; `defaults` hold where nobody has set one."""

    def __init__(self, db: Database, defaults: QuotaSettings, *, clock: Clock = utc_now) -> None:
        self._db, self._clock = db, clock
        self._defaults: Mapping[str, int | None] = defaults.model_dump()

    async def GetQuota(self, request: GetQuotaRequest, _context: object) -> Quota:
        """See the contract."""
        project = _QUOTA.parse(request.name)["project"]
        async with self._db.read() as tx:
            # One that is not known here yet has what every project has.
            uid = (await projects.uids(tx, [project])).get(project, "")
            found = await quotas.find(tx, uid)
        return self._message(project, found)

    async def UpdateQuota(self, request: UpdateQuotaRequest, _context: object) -> Quota:
        """See the contract."""
        wanted, violations = request.quota, Violations()
        ids = _QUOTA.check(wanted.name, "quota.name", violations)
        given = {field.name: value for field, value in wanted.ListFields() if field.name in LIMITS}
        for name, limit in given.items():
            if limit < _UNLIMITED:
                violations.add(f"quota.{name}", "must be -1 for no limit, or a limit of at least 0")
        violations.raise_if_any()
        assert ids is not None
        paths = apply_mask(request.update_mask, wanted, set(LIMITS))
        limits = {name: given.get(name) for name in paths}
        async with self._db.write() as tx:
            uid = await projects.lock(tx, ids["project"])
            await quotas.change(tx, uid, limits, self._clock())
            found = await quotas.find(tx, uid)
        return self._message(ids["project"], found)

    def _message(self, project: str, found: ProjectQuota) -> Quota:
        holding = {name: found.limits.get(name, self._defaults[name]) for name in LIMITS}
        limits = QuotaLimits(**{name: limit for name, limit in holding.items() if limit not in (None, _UNLIMITED)})
        message = Quota(name=_QUOTA.format(project=project), limits=limits)
        for name, limit in found.limits.items():
            setattr(message, name, limit)
        if found.update_time is not None:
            message.update_time.CopyFrom(to_timestamp(found.update_time))
        return message
