"""What a job's events tell when they are read at once."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from bloomery import errors
from bloomery._files import Download
from bloomery._names import id_of, parent_of
from bloomery._results import Epoch, Sample, moment, unseen
from bloomery._session import Session
from bloomery._status import from_status
from bloomery.annotation.v1 import SignDownloadsRequest
from bloomery.training import v1 as training

_PAGE = 1000


async def preflight(session: Session, job: str) -> training.PreflightReported | None:
    """What one of its steps takes; None where that is not known (yet)."""
    found = None
    async for event in _events(session, job, "lifecycle"):
        found = event.preflight if event.HasField("preflight") else found
    return found


async def samples(session: Session, job: str, epoch: int) -> list[Sample]:
    """What its model sees in some images after `epoch` epochs (0 for the newest), with the images.

    Raises:
        NotFound: there are none (yet), or none of that epoch; or an image was deleted.
        TransferFailed: the images did not get through.
    """
    shown: dict[int, training.SamplesPredicted] = {}
    async for event in _events(session, job, "samples"):
        shown[event.samples.epoch] = event.samples
    wanted = shown.get(epoch or max(shown, default=0))
    if wanted is None:
        known = f"those of epochs {', '.join(map(str, sorted(shown)))}" if shown else "none yet"
        of = f" of epoch {epoch}" if epoch else ""
        raise errors.NotFound(f"job {id_of(job)} has no samples{of}; there are {known}")
    sources = await _images(session, {one.asset: one.digest for one in wanted.samples})
    return [Sample(wanted.epoch, one, sources[one.asset]) for one in wanted.samples]


async def epochs(session: Session, job: str) -> list[Epoch]:
    """What was measured at the end of each epoch, in their order; of an epoch that was repeated, the last."""
    found: dict[int, Epoch] = {}
    async for event in _events(session, job, "metrics"):
        seen = event.metrics
        if seen.epoch_end:
            found[seen.epoch] = Epoch(seen.epoch, seen.step, event.attempt, moment(event.time), dict(seen.values))
    return [found[number] for number in sorted(found)]


async def _events(session: Session, job: str, filter: str) -> AsyncIterator[training.JobEvent]:
    request = training.ListJobEventsRequest(parent=job, page_size=_PAGE, filter=filter)
    async for page in session.pages(session.jobs.ListJobEvents, request):
        for event in page.events:
            yield event


async def _images(session: Session, digests: Mapping[str, str]) -> dict[str, bytes]:
    """The original bytes of images of one project by name, given the digest of each.

    Raises:
        NotFound: one was deleted.
        TransferFailed: they did not get through.
    """
    assets = list(digests)
    request = SignDownloadsRequest(parent=parent_of(assets[0]), assets=assets)
    signed = (await session.call(session.annotation.SignDownloads, request)).downloads
    for one in signed:
        if one.status.code:
            raise from_status(one.status)
    with tempfile.TemporaryDirectory() as folder:
        wanted = [Download(one.get, Path(folder, str(n)), digests[one.asset]) for n, one in enumerate(signed)]
        paths = await session.transfer.get_all(wanted, unseen)
        contents = await asyncio.to_thread(lambda: [path.read_bytes() for path in paths])
    return {one.asset: content for one, content in zip(signed, contents, strict=True)}
