"""Which replica acts: the one that holds the lease, and only while it holds it."""

import logging
from collections.abc import Awaitable, Callable

from bloomery_kit import leases
from bloomery_kit.leases import Lease, LeaseLost
from bloomery_kit.names import new_uid
from bloomery_trainer import metrics
from bloomery_trainer.core import Core

LEASE = "reconciler"
_log = logging.getLogger("bloomery.trainer.leadership")


class Leadership:
    """This replica's part in the lease."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._holder = new_uid()
        self.lease: Lease | None = None

    async def campaign(self) -> None:
        """Renew the lease, or take it if it is free."""
        term = self._core.settings.policy.lease_term
        try:
            async with self._core.db.write() as tx:
                if self.lease is not None:
                    await leases.renew(tx, self.lease, term)
        except LeaseLost as error:
            self._lose(error)
        if self.lease is None:
            async with self._core.db.write() as tx:
                self._set(await leases.take(tx, LEASE, self._holder, term))
            self._core.moved.set()

    async def give_up(self) -> None:
        """Let another replica lead at once."""
        if (lease := self.lease) is not None:
            self._set(None)
            async with self._core.db.write() as tx:
                await leases.give_up(tx, lease)

    async def lead(self, work: Callable[[Lease], Awaitable[None]]) -> None:
        """Do `work` if this replica leads; it leads no longer where the work meets LeaseLost."""
        if (lease := self.lease) is None:
            return
        try:
            await work(lease)
        except LeaseLost as error:
            metrics.FENCED.inc()
            if self.lease == lease:
                self._lose(error)

    def _lose(self, error: LeaseLost) -> None:
        _log.warning("no longer the leader", extra={"error": error})
        self._set(None)

    def _set(self, lease: Lease | None) -> None:
        self.lease = lease
        metrics.LEADER.set(lease is not None)
        if lease is None:
            metrics.forget_jobs()
        metrics.EPOCH.set(lease.epoch if lease else 0)
