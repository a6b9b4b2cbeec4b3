"""The audit log of a service that has the access service as its neighbour."""

from collections.abc import Sequence

import grpc

from bloomery.access.v1 import AuditEntry, AuditServiceStub, RecordAuditEntriesRequest
from bloomery_kit.audit._delivery import Delivery
from bloomery_kit.audit._log import AuditLog
from bloomery_kit.database import Database
from bloomery_kit.loops import Loops, guarded


class Auditing:
    """What a service writes, and its way to the access service; without that, nothing is written."""

    def __init__(self, service: str, db: Database, access: grpc.aio.Channel | None) -> None:
        self.log = AuditLog(db) if access is not None else None
        self._loop = f"{service} audit"
        self._service = service
        self._stub = AuditServiceStub(access) if access is not None else None

    def add_to(self, loops: Loops) -> None:
        """Deliver again and again."""
        if self.log is not None:
            delivery = Delivery(self._service, self.log, self._deliver)
            loops.add(self._loop, delivery.run, delivery.pause)

    async def close(self) -> None:
        """Write what was noted last; what cannot be written is shown as unfinished later."""
        if self.log is not None:
            with guarded(self._loop):
                await self.log.flush()

    async def _deliver(self, entries: Sequence[AuditEntry]) -> None:
        assert self._stub is not None
        await self._stub.RecordAuditEntries(RecordAuditEntriesRequest(entries=entries))
