"""Who runs which import: any replica takes one under a lease, renews it, and is replaced when it falls silent."""

import asyncio
import logging
from contextlib import suppress

from bloomery_annotation.importer import run
from bloomery_annotation.importer.run import LOOP, Tools, end, help_import, run_import
from bloomery_annotation.model import Failure, ImportState
from bloomery_annotation.store import import_parts, imports
from bloomery_annotation.store.imports import Claim
from bloomery_kit import leases
from bloomery_kit.disks import is_full
from bloomery_kit.errors import Aborted, BloomeryError, NotFound, ResourceExhausted, Unavailable
from bloomery_kit.leases import Lease, LeaseLost
from bloomery_kit.loops import guarded
from bloomery_kit.names import new_uid
from bloomery_kit.tasks import beside

WAKE = "imports"
"""The key under which a new import wakes the runners of its process."""

HELP = "import parts"
"""The loop that helps other replicas."""
_REST = 5.0
_log = logging.getLogger("bloomery.imports")


class ImportRunner:
    """Runs the imports that nobody runs, each under a lease of `lease` seconds."""

    def __init__(self, tools: Tools, *, lease: float) -> None:
        self._tools, self._lease = tools, lease
        self._holder = new_uid()
        self._helped: frozenset[Lease] = frozenset()

    async def run_all(self) -> None:
        """Run whatever waits."""
        while claim := await self._claim():
            await self._run(claim)

    async def help_all(self) -> None:
        """Read parts of large imports that other replicas run, of each once: who has left one had a reason."""
        while claim := await self._to_help():
            with guarded(HELP, let=(Unavailable,), import_uid=claim.import_uid), suppress(LeaseLost, NotFound):
                await help_import(self._tools, claim, self._lease)
            self._helped |= {claim.lease}

    async def _to_help(self) -> Claim | None:
        async with self._tools.db.read() as tx:
            shared = await import_parts.shared(tx, without=self._holder, least=run.WORTH_HELP * run.BATCH)
        self._helped &= {claim.lease for claim in shared}
        return next((claim for claim in shared if claim.lease not in self._helped), None)

    async def _claim(self) -> Claim | None:
        async with self._tools.db.read() as tx:
            waiting = await imports.waiting(tx, term=self._lease)
        for one in waiting:
            with guarded(LOOP, let=(Unavailable,), import_uid=one.import_uid):
                async with self._tools.db.write() as tx:
                    now = self._tools.clock()
                    if claim := await imports.claim(tx, one, now, holder=self._holder, term=self._lease):
                        return claim
        return None

    async def _run(self, claim: Claim) -> None:
        self._tools.changed.notify(claim.import_uid)
        try:
            await beside(run_import(self._tools, claim, self._lease), self._keep(claim))
        except (LeaseLost, NotFound):
            _log.info("an import went to somebody else or away", extra={"import": claim.import_uid})
        except asyncio.CancelledError:
            await asyncio.shield(self._give_up(claim, rest=0.0))
            raise
        except Exception as problem:  # noqa: BLE001 - whatever it is, whoever waits for the import must hear of it
            if _passes(problem):
                await self._wait(claim, problem)
            else:
                _log.exception("an import failed", extra={"import": claim.import_uid})
                await self._fail(claim)

    async def _wait(self, claim: Claim, problem: Exception) -> None:
        _log.warning("an import has to wait", extra={"import": claim.import_uid, "error": problem})
        await self._give_up(claim, rest=_REST)
        # A lease that could not be given up, as on a full disk, runs out.
        for seconds in (_REST, self._lease + _REST):
            asyncio.get_running_loop().call_later(seconds, self._tools.changed.notify, WAKE)

    async def _keep(self, claim: Claim) -> ImportState:
        """Renew the lease for ever. Raise LeaseLost.

        A database that is away for a moment costs nothing: until the term is over nobody else has the lease.
        """
        while True:
            await asyncio.sleep(self._lease / 3)
            with guarded(LOOP, let=(LeaseLost,), import_uid=claim.import_uid):
                async with self._tools.db.write() as tx:
                    await leases.renew(tx, claim.lease, self._lease)

    async def _give_up(self, claim: Claim, *, rest: float) -> None:
        with suppress(BloomeryError):
            async with self._tools.db.write() as tx:
                await leases.give_up(tx, claim.lease, rest=rest)

    async def _fail(self, claim: Claim) -> None:
        failure = Failure("INTERNAL", f"the server could not go on; its log has more under import {claim.import_uid}")
        with suppress(BloomeryError):
            await beside(end(self._tools, claim, ImportState.FAILED, failure), self._keep(claim))


def _passes(problem: Exception) -> bool:
    """Whether it goes away by itself, or by somebody who makes room: on the service's own disk, too."""
    return isinstance(problem, Unavailable | ResourceExhausted | Aborted) or is_full(problem)
