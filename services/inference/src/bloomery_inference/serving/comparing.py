"""Asking two versions of a deployment about a sample of its requests, and keeping what they disagree about."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from bloomery_inference.serving.differing import difference
from bloomery_inference.serving.model import Comparison, Deployment, Disagreement
from bloomery_inference.store import disagreements
from bloomery_kit.errors import BloomeryError
from bloomery_kit.times import Clock, utc_now

if TYPE_CHECKING:
    from bloomery_inference.question import ImageContent, Prediction
    from bloomery_inference.serving.routing import Asked, Route, Router
    from bloomery_kit.database import Database

LOOP = "inference comparisons"
_WAITING = 16
"""Requests that wait for the other version; more of the sample are left out."""
_WAITING_BYTES = 64 << 20
"""The same for their images."""


@dataclass(frozen=True)
class Case:
    """A request that was answered, and the `other` version that is to be asked as well."""

    asked: Asked
    answer: Prediction
    other: Route

    @property
    def pair(self) -> tuple[str, str, str]:
        """The uids of the deployment, of what serves and of the candidate."""
        deployment = self.other.served.deployment
        return deployment.uid, deployment.serving, deployment.candidate


class Cases:
    """The sample, `percent` of the requests, that waits to be compared; no answer waits for it."""

    def __init__(self, *, percent: float) -> None:
        self._percent = percent
        self._waiting: asyncio.Queue[Case] = asyncio.Queue(_WAITING)
        self._bytes = 0
        self._skipped: Counter[tuple[str, str, str]] = Counter()

    def takes(self, deployment: Deployment, turn: int) -> bool:
        """Whether the request of a number is in the sample: by a checksum, so that no share and no rhythm hides one."""
        return crc32(f"{deployment.uid}/{turn}".encode()) % 10_000 < self._percent * 100

    def offer(self, case: Case) -> None:
        """Let a case wait, or leave it out where too many do."""
        size = case.asked.image.size_bytes
        if self._waiting.full() or (self._bytes and self._bytes + size > _WAITING_BYTES):
            self.skip(case)
            return
        self._bytes += size
        self._waiting.put_nowait(case)

    async def next(self) -> Case:
        """The case that waits longest."""
        case = await self._waiting.get()
        self._bytes -= case.asked.image.size_bytes
        return case

    def skip(self, case: Case) -> None:
        """Count a case that is not compared."""
        self._skipped[case.pair] += 1

    def skipped(self, case: Case) -> int:
        """How many cases of the same pair were left out since this was asked last."""
        return self._skipped.pop(case.pair, 0)


class Comparer:
    """Compares cases, one at a time."""

    def __init__(self, db: Database, cases: Cases, router: Router, *, clock: Clock = utc_now) -> None:
        self._db = db
        self._cases = cases
        self._router = router
        self._clock = clock

    async def compare_next(self) -> None:
        """Wait for a case, compare it, and take down what came of it."""
        await self._compare(await self._cases.next())

    async def _compare(self, case: Case) -> None:
        try:
            other = await self._router.ask(case.other, case.asked, patient=False)
            digest = await _digest(case.asked.image)
        except BloomeryError:
            # It was answered once; what the other one meets shows where it is asked in earnest, or at its replica.
            self._cases.skip(case)
            return
        names = case.answer.variant.title, other.variant.title
        size = other.width, other.height
        told = await asyncio.to_thread(difference, case.answer.found, other.found, names, size)
        uid, serving, candidate = case.pair
        seen = Comparison(serving, candidate, 1, int(bool(told)), self._cases.skipped(case))
        async with self._db.write() as tx:
            if await disagreements.count(tx, uid, seen) and told:
                await disagreements.keep(tx, uid, self._item(case, other, digest, told))

    def _item(self, case: Case, other: Prediction, digest: str, told: str) -> Disagreement:
        return Disagreement(
            asset=case.asked.asset,
            digest=digest,
            answered=case.answer.variant.number,
            other=other.variant.number,
            difference=told,
            create_time=self._clock(),
        )


async def _digest(image: ImageContent) -> str:
    content = await image.read()
    data = content if isinstance(content, bytes) else content.rgb
    return f"sha256:{(await asyncio.to_thread(hashlib.sha256, data)).hexdigest()}"
