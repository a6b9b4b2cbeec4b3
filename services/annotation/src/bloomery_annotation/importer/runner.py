"""Who runs which import: any replica claims one, shows that it lives, and is replaced when it falls silent.

Silence is measured by one's own steady clock: a claim may be taken over after its counters have not moved for the
length of a lease. The epoch in the claim fences the old holder, so that a wrong guess costs work and nothing else.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from bloomery_annotation import metrics
from bloomery_annotation.importer.run import ClaimLostError, Tools, run_import
from bloomery_annotation.model import Failure, ImportState
from bloomery_annotation.store import imports, projects
from bloomery_annotation.store.imports import Active, Claim
from bloomery_kit.errors import Aborted, BloomeryError, NotFound, ResourceExhausted, Unavailable

WAKE = "imports"
"""The key under which a new import wakes the runners of its process."""

_AT_ONCE = 2
_PAUSE = 5.0
_log = logging.getLogger("bloomery.imports")


class ImportRunner:
    """Runs the imports that nobody runs; `lease` and `poll` in seconds."""

    def __init__(self, tools: Tools, *, lease: float, poll: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._tools, self._lease, self._poll, self._clock = tools, lease, poll, clock
        self._seen: dict[str, tuple[Active, float]] = {}
        self._mine: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look for imports."""
        self._tasks = [asyncio.create_task(self._work()) for _ in range(_AT_ONCE)]

    async def close(self) -> None:
        """Stop, and leave what is unfinished to the next runner."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        with self._tools.changed.subscribe(WAKE) as wake:
            while True:
                try:
                    claim = await self._claim()
                except Exception as problem:  # noqa: BLE001 - a runner that stops looking would go unnoticed
                    _log.warning("cannot look for imports", extra={"error": problem})
                    claim = None
                if claim is None:
                    await wake.wait(self._poll)
                else:
                    await self._run(claim)

    async def _claim(self) -> Claim | None:
        async with self._tools.db.read() as tx:
            active = await imports.active(tx)
        self._seen = {one.import_uid: self._first_seen(one) for one in active}
        for one in active:
            if one.import_uid not in self._mine and self._is_free(one):
                async with self._tools.db.write() as tx:
                    claim = await imports.claim(tx, one, self._tools.clock())
                if claim is not None:
                    return claim
        return None

    def _first_seen(self, one: Active) -> tuple[Active, float]:
        known = self._seen.get(one.import_uid)
        return known if known is not None and known[0] == one else (one, self._clock())

    def _is_free(self, one: Active) -> bool:
        return not one.held or self._clock() - self._seen[one.import_uid][1] >= self._lease

    async def _run(self, claim: Claim) -> None:
        self._mine.add(claim.import_uid)
        self._tools.changed.notify(claim.import_uid)
        try:
            await self._run_held(claim)
        except (ClaimLostError, NotFound):
            _log.info("an import went to somebody else or away", extra={"import": claim.import_uid})
        except (Unavailable, ResourceExhausted, Aborted) as problem:
            _log.warning("an import has to wait", extra={"import": claim.import_uid, "error": problem})
            await self._release(claim)
            await asyncio.sleep(_PAUSE)
        except asyncio.CancelledError:
            await self._release(claim)
            raise
        except Exception:  # noqa: BLE001 - whatever it is, whoever waits for the import must hear of it
            _log.exception("an import failed", extra={"import": claim.import_uid})
            await self._fail(claim)
        finally:
            self._mine.discard(claim.import_uid)

    async def _run_held(self, claim: Claim) -> None:
        run = asyncio.create_task(run_import(self._tools, claim))
        beat = asyncio.create_task(self._beat(claim))
        try:
            await asyncio.wait({run, beat}, return_when=asyncio.FIRST_COMPLETED)
            if not run.done():
                raise ClaimLostError
            metrics.IMPORTS.labels((await run).value).inc()
        finally:
            for task in (run, beat):
                task.cancel()
            await asyncio.gather(run, beat, return_exceptions=True)

    async def _beat(self, claim: Claim) -> None:
        held = True
        while held:
            await asyncio.sleep(self._lease / 3)
            with suppress(Unavailable):
                async with self._tools.db.write() as tx:
                    held = await imports.beat(tx, claim)

    async def _release(self, claim: Claim) -> None:
        with suppress(BloomeryError):
            async with self._tools.db.write() as tx:
                await imports.release(tx, claim)

    async def _fail(self, claim: Claim) -> None:
        failure = Failure("INTERNAL", f"the server could not go on; its log has more under import {claim.import_uid}")
        with suppress(BloomeryError):
            async with self._tools.db.write() as tx:
                project = await projects.lock(tx, claim.project_id)
                current = await imports.read(tx, project, claim)
                if current is not None:
                    now = self._tools.clock()
                    await imports.advance(tx, claim, current.counts, now, state=ImportState.FAILED, failure=failure)
        self._tools.changed.notify(claim.import_uid)
