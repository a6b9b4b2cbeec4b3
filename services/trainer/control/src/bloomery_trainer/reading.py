"""What people read of jobs: pages of jobs, events, logs, checkpoints and results."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, takewhile
from typing import TypeVar

from bloomery.training.v1 import JobEvent
from bloomery_kit.database import Transaction
from bloomery_kit.errors import FieldViolation, InvalidArgument, NotFound, OutOfRange
from bloomery_kit.objects import SignedRequest
from bloomery_kit.pages import PageRequest
from bloomery_trainer import checkpoints
from bloomery_trainer.core import Core
from bloomery_trainer.model import Artifact, Checkpoint, CheckpointFile, Job, Result
from bloomery_trainer.signing import signed
from bloomery_trainer.store import attempts, damage, events, groups, jobs, results
from bloomery_trainer.store.events import Content
from bloomery_trainer.store.groups import JobGroup
from bloomery_trainer.store.jobs import Filter
from bloomery_trainer.store.results import Line

D = TypeVar("D")
_ROWS = 50
_TAIL = 10_000
_PAGE_BYTES = 8 << 20
"""Of the events of a page: a message of more than 16 MiB is not sent."""


class Reading:
    """Reads, each in one moment of the database."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def job(self, project: str, job_id: str) -> tuple[Job, Result | None]:
        """A job with its result. Raise NotFound, FailedPrecondition JOB_UNREADABLE."""
        async with self._core.db.read() as tx:
            job = await jobs.get(tx, project, job_id)
            with damage.refused(job.name):
                return job, await results.of_job(tx, job.uid)

    async def jobs(self, wanted: Filter, page: PageRequest) -> tuple[list[tuple[Job, Result | None]], str]:
        """A page of jobs with their results, newest first, without damaged ones, and the token of the next one."""
        before = _number(page, None)
        async with self._core.db.read() as tx:
            found = await jobs.listed(tx, wanted, before=before, limit=page.size + 1)
            listed = self._core.complaints.whole(found[: page.size])
            made = await results.of_jobs(tx, [job.uid for job in listed])
        for uid, result in made.items():
            if isinstance(result, ValueError):
                self._core.complaints.tell(uid, result)
        token = page.next_token((found[page.size - 1].number,)) if len(found) > page.size else ""
        pairs = [(job, made.get(job.uid)) for job in listed]
        return [(job, result) for job, result in pairs if not isinstance(result, ValueError)], token

    async def group(self, project: str, group: str) -> JobGroup:
        """A group of jobs. Raise NotFound."""
        async with self._core.db.read() as tx:
            return await groups.get(tx, project, group)

    async def groups(self, project: str, page: PageRequest) -> tuple[Sequence[JobGroup], str]:
        """A page of a project's groups by id, and the token of the next one."""
        after = str(page.cursor[0]) if page.cursor else ""
        async with self._core.db.read() as tx:
            found = await groups.listed(tx, project, after=after, limit=page.size + 1)
        token = page.next_token((found[page.size - 1].group_id,)) if len(found) > page.size else ""
        return found[: page.size], token

    async def events(
        self, project: str, job_id: str, after: int, content: Content | None, page: PageRequest
    ) -> tuple[list[JobEvent], str]:
        """A page of events in order. Raise OutOfRange EVENTS_TRUNCATED."""
        after = _number(page, after)
        async with self._core.db.read() as tx:
            job = await jobs.get(tx, project, job_id)
            after = after or job.oldest_sequence - 1
            check_cursor(job, after)
            found = await _page(tx, job.uid, after, content, page.size)
        return _cut(found, page)

    async def logs(
        self, project: str, job_id: str, tail: int, level: int, page: PageRequest
    ) -> tuple[list[JobEvent], str]:
        """A page of log lines, or the last `tail` of them, oldest first."""
        if tail < 0 or (tail and page.cursor):
            problem = "must not be negative, and cannot be used together with page_token"
            raise InvalidArgument([FieldViolation("tail", problem)])
        async with self._core.db.read() as tx:
            job = await jobs.get(tx, project, job_id)
            if tail:
                return await _last(tx, job.uid, min(tail, _TAIL), level), ""
            after = _number(page, 0)
            found = await _page(tx, job.uid, after, Content.LOGS, page.size, level)
        return _cut(found, page)

    async def checkpoints(self, project: str, job_id: str, page: PageRequest) -> tuple[Sequence[Checkpoint], str]:
        """The complete checkpoints, newest first; there are never many."""
        async with self._core.db.read() as tx:
            job = await jobs.get(tx, project, job_id)
            found = checkpoints.distinct(await attempts.list_checkpoints(tx, job.uid))
        start = _number(page, 0)
        end = start + page.size
        return found[start:end], page.next_token((end,)) if len(found) > end else ""

    async def sign_checkpoint(
        self, project: str, job_id: str, checkpoint_id: str
    ) -> tuple[Checkpoint, list[tuple[CheckpointFile, SignedRequest]]]:
        """A checkpoint, and its files with requests that read them. Raise NotFound with those that there are."""
        async with self._core.db.read() as tx:
            found = await checkpoints.named(tx, await jobs.get(tx, project, job_id), checkpoint_id)
        return found, [(file, await signed(self._core, file.artifact.logical_key, file.path)) for file in found.files]

    async def sign_event_files(self, project: str, job_id: str) -> list[tuple[Artifact, SignedRequest]]:
        """The files of events that came so far, in their order, with requests that read them."""
        async with self._core.db.read() as tx:
            files = await attempts.event_files(tx, (await jobs.get(tx, project, job_id)).uid)
        return [(file, await signed(self._core, file.logical_key, file.file_name)) for file in files]

    async def sign_artifacts(
        self, project: str, job_id: str, roles: Sequence[str]
    ) -> list[tuple[Artifact, SignedRequest]]:
        """The result's artifacts with requests that read them. Raise NotFound for a role that it does not have."""
        _, result = await self.job(project, job_id)
        made = result.success.artifacts if result else ()
        known = {artifact.role for artifact in made}
        for role in roles:
            if role not in known:
                raise NotFound(
                    "artifact", f"{project}/jobs/{job_id}: {role}", f"there are {', '.join(sorted(known)) or 'none'}"
                )
        wanted = [artifact for artifact in made if not roles or artifact.role in roles]
        return [
            (artifact, await signed(self._core, artifact.logical_key, artifact.file_name or None))
            for artifact in wanted
        ]

    async def results(self, after: int, page: PageRequest) -> tuple[list[Line], str]:
        """A page of the feed of results."""
        found = await self.feed(_number(page, after), page.size + 1)
        token = page.next_token((found[page.size - 1].sequence,)) if len(found) > page.size else ""
        return found[: page.size], token

    async def feed(self, after: int, limit: int) -> list[Line]:
        """Results past a sequence with their jobs, deleted ones too."""
        async with self._core.db.read() as tx:
            return await results.after(tx, after, limit)


def _number(page: PageRequest, default: D) -> int | D:
    """The number in a page's cursor; the tokens of this service hold nothing else."""
    return int(str(page.cursor[0])) if page.cursor else default


def check_cursor(job: Job, after: int) -> None:
    """Raise OutOfRange unless the events past `after` are all there, or still to come."""
    if after < job.oldest_sequence - 1:
        message = f"events before {job.oldest_sequence} are not kept any more; start at {job.oldest_sequence - 1}"
        raise OutOfRange("EVENTS_TRUNCATED", message, job.oldest_sequence, job.last_sequence)
    if after > job.last_sequence:
        message = f"the log ends at {job.last_sequence}, so {after} is not a cursor of this job"
        raise OutOfRange("SEQUENCE_IN_FUTURE", message, job.oldest_sequence, job.last_sequence)


async def _page(
    tx: Transaction, job_uid: str, after: int, content: Content | None, size: int, level: int = 0
) -> list[JobEvent]:
    """More matching events than belong on a page of `size`, if there are."""
    found: list[JobEvent] = []
    held = 0
    while len(found) <= size and held <= _PAGE_BYTES:
        batch = await events.read(tx, job_uid, after, rows=_ROWS, content=content, level=level)
        if not batch:
            break
        after = batch[-1].sequence
        matching = [event for event in batch if _matches(event, content, level)]
        held += sum(event.ByteSize() for event in matching)
        found += matching
    return found


async def _last(tx: Transaction, job_uid: str, count: int, level: int) -> list[JobEvent]:
    found: list[JobEvent] = []
    before: int | None = None
    while len(found) < count:
        batch = await events.read_last(tx, job_uid, before=before, rows=_ROWS, content=Content.LOGS, level=level)
        if not batch:
            break
        before = batch[0].sequence
        found = [event for event in batch if _matches(event, Content.LOGS, level)] + found
    lines = found[-count:]
    return lines[len(lines) - _fitting(reversed(lines)) :]


def _matches(event: JobEvent, content: Content | None, level: int) -> bool:
    if content is not None and events.content_of(event) not in content:
        return False
    return not level or event.log.level >= level


def _cut(found: list[JobEvent], page: PageRequest) -> tuple[list[JobEvent], str]:
    count = min(page.size, max(1, _fitting(found)))
    if len(found) <= count:
        return found, ""
    return found[:count], page.next_token((found[count - 1].sequence,))


def _fitting(found: Iterable[JobEvent]) -> int:
    """How many of the events, from the first on, a page may hold."""
    sizes = accumulate(event.ByteSize() for event in found)
    return sum(1 for _ in takewhile(lambda size: size <= _PAGE_BYTES, sizes))
