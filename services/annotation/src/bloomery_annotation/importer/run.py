"""One import from where it stands to its end: batches of items, each saved in one transaction with its checkpoint."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from bloomery_annotation import labelling, metrics, room
from bloomery_annotation.contents import Contents
from bloomery_annotation.importer.files import Files
from bloomery_annotation.importer.fingerprint import fingerprint
from bloomery_annotation.importer.listing import fill
from bloomery_annotation.importer.outcome import (
    added,
    asset_draft,
    decide_splits,
    edited_shapes,
    listed,
    refuse_doubts,
    reordered_labels,
    set_drafts,
    sources,
    stale_labels,
    together,
)
from bloomery_annotation.importer.parsing import Entry, Parser, Prepared, shown
from bloomery_annotation.importer.sharing import Batch, Sharing
from bloomery_annotation.importer.source import BlobSource
from bloomery_annotation.importer.stale import stale_shapes
from bloomery_annotation.importer.turns import Turns
from bloomery_annotation.model import Failure, Import, ImportCounts, ImportState, Project
from bloomery_annotation.saving import Saved
from bloomery_annotation.scratch import scratch
from bloomery_annotation.store import assets, import_parts, imports, labels, projects, revisions
from bloomery_annotation.store.imports import Claim
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import Aborted, BloomeryError
from bloomery_kit.feeds import Notifier
from bloomery_kit.loops import through_outages
from bloomery_kit.quotas import UNLIMITED, Limits, Quotas
from bloomery_kit.times import Clock
from bloomery_vision.formats import Format, FormatError, Plan

Last = Callable[[Transaction, Project, Import], Awaitable[ImportCounts]]

LOOP = "imports"
BATCH = 1000
"""Items saved, and lost to a crash, at once."""
WORTH_HELP = 4
"""Batches to come from which on several replicas read an import."""
_log = logging.getLogger("bloomery.imports")


@dataclass(frozen=True)
class Tools:
    """What an import works with; `changed` wakes those who watch it, by its uid."""

    db: Database
    contents: Contents
    changed: Notifier
    clock: Clock
    quotas: Quotas = UNLIMITED


async def run_import(tools: Tools, claim: Claim, term: float) -> ImportState:
    """Run an import that this process has claimed; the state that it ended in.

    Parts of a large one are shared with other replicas, each part for `term` seconds.

    Raises:
        LeaseLost: somebody else runs the import, or it or its project is gone; nothing was written since.
    """
    async with _opened(tools, claim, term) as (run, current, filling):
        return await run.to_the_end(current, filling)


async def help_import(tools: Tools, claim: Claim, term: float) -> None:
    """Read and save parts of an import that another replica has claimed and shares, until no image is left.

    Raises:
        LeaseLost: that replica runs it no more.
    """
    async with _opened(tools, claim, term) as (run, current, filling):
        await run.help(current, filling)


@asynccontextmanager
async def _opened(tools: Tools, claim: Claim, term: float) -> AsyncIterator[tuple["_Run", Import, Awaitable[None]]]:
    async with tools.db.write() as tx:
        _, current = await _current(tx, claim)
    with scratch() as folder, Files(folder) as files:
        source = BlobSource(
            files,
            contents=tools.contents,
            project_uid=current.project_uid,
            folder=folder,
            loop=asyncio.get_running_loop(),
        )
        async with Parser(source, current.asked, files) as parser:
            filling = fill(files, current, tools.db, tools.contents, folder)
            yield _Run(tools, claim, parser, term, current.asked), current, filling


class _Run:
    def __init__(self, tools: Tools, claim: Claim, parser: Parser, term: float, asked: Format | None) -> None:
        self._tools, self._claim, self._parser, self._term, self._asked = tools, claim, parser, term, asked
        self._label_ids: dict[str, str] = {}
        self._has_splits = self._may_be_stale = False

    async def to_the_end(self, current: Import, filling: Awaitable[None]) -> ImportState:
        try:
            await filling
            plan = await self._parser.plan()
            place = await self._begin(plan)
            if current.plan_only:
                return await self._end(ImportState.SUCCEEDED)
            refuse_doubts(plan, strict=current.strict)
            images = await self._parser.start(plan)
            await self._ensure_labels(listed(plan))
            state = ImportState.RUNNING
            if await self._shares(images, place):
                state, place = await self._together(images), images.stop
            if state is ImportState.RUNNING:
                state = await self._alone(place)
        except FormatError as problem:
            text = f"{problem.message}; {problem.hint}" if problem.hint else problem.message
            return await self._end(ImportState.FAILED, Failure(problem.code, text))
        return await self._succeed(plan) if state is ImportState.RUNNING else state

    async def _succeed(self, plan: Plan) -> ImportState:
        """End, and tell which labels the files do not name any more, or in another order."""

        async def last(tx: Transaction, project: Project, current: Import) -> ImportCounts:
            before = await imports.classes_before(tx, project, current)
            problems = [
                *stale_labels(before, plan, await labels.everything(tx, project)),
                *reordered_labels(before, plan),
            ]
            await imports.add_problems(tx, current, problems)
            return current.counts.plus({}, problems)

        return await end(self._tools, self._claim, ImportState.SUCCEEDED, last=last)

    async def help(self, current: Import, filling: Awaitable[None]) -> None:
        """Read and save parts while there are images to come."""
        await filling
        plan = await self._parser.plan()
        own = await self._fingerprint(plan)
        images = await self._parser.start(plan)
        if own != current.fingerprint or images.start:
            _log.info("the replica that runs an import reads it otherwise", extra={"import": self._claim.import_uid})
            return
        await self._ensure_labels(())
        await self._together(images)

    async def _fingerprint(self, plan: Plan) -> str:
        self._has_splits = bool(plan.splits)
        self._may_be_stale = bool(plan.label_files) or self._asked is not Format.IMAGES
        return await asyncio.to_thread(fingerprint, plan)

    async def _begin(self, plan: Plan) -> int:
        """Say how the folder is read; the place from which on."""
        text, own = await asyncio.to_thread(shown, plan), await self._fingerprint(plan)
        async with self._tools.db.write() as tx:
            _, current = await _current(tx, self._claim)
            counts = await imports.begin(tx, current, text, plan.format, own)
            counts = replace(counts, item_count=0 if current.plan_only else len(plan.images))
            await imports.advance(tx, self._claim, counts, self._tools.clock())
        self._tools.changed.notify(self._claim.import_uid)
        return counts.read_count

    async def _shares(self, images: range, place: int) -> bool:
        """Let other replicas read parts of a large import; whether they may."""
        # What stands before the images is rare, and told by reading: not a thing for two versions to differ in.
        if self._tools.db.is_sqlite or images.start or images.stop - place < WORTH_HELP * BATCH:
            return False
        async with self._tools.db.write() as tx:
            await import_parts.share(tx, self._claim)
        return True

    async def _together(self, images: range) -> ImportState:
        """Read and save parts beside other replicas, until all images are saved."""
        turns = Turns(self._tools.db, self._claim, images, size=BATCH, term=self._term)
        return await Sharing(turns, self._read, self._save, lambda: self._end(ImportState.CANCELLED)).run()

    async def _alone(self, place: int) -> ImportState:
        """Save all from a place on, each batch while the next one is read."""
        state, reading = ImportState.RUNNING, self._begin_reading(place)
        try:
            while state is ImportState.RUNNING and (batch := await reading).entries:
                reading = self._begin_reading(batch.stop)
                saved = await self._save(batch)
                if saved is None:
                    raise Aborted("OUT_OF_TURN", "what was read is not what is to be saved next")
                state = saved
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        return state

    def _begin_reading(self, place: int) -> asyncio.Task[Batch]:
        return asyncio.create_task(self._read(range(place, place + BATCH)))

    async def _read(self, places: range) -> Batch:
        entries = await self._parser.take(places.start, len(places))
        is_ready = all(shape.label in self._label_ids for entry in entries for shape in entry.item.shapes)
        prepared = await self._parser.prepare(entries, self._label_ids) if is_ready else None
        return Batch(places.start, entries, prepared)

    async def _save(self, batch: Batch) -> ImportState | None:
        """Save a batch if it is its turn, or end as was asked for; None where it is not."""
        prepared = batch.prepared
        if prepared is None:
            await self._make_labels(batch.entries)
            prepared = await self._parser.prepare(batch.entries, self._label_ids)
        limits = await self._tools.quotas.of(self._claim.project_id)
        async with self._tools.db.write() as tx:
            project, current = await _current(tx, self._claim)
            if current.counts.read_count != batch.place:
                return None
            state = ImportState.CANCELLED if current.cancel_requested else ImportState.RUNNING
            counts = current.counts
            if state is ImportState.RUNNING:
                counts = await self._save_batch(tx, project, current, prepared, limits)
            await imports.advance(tx, self._claim, counts, self._tools.clock(), state=state)
        if state is ImportState.RUNNING:
            metrics.count_items(current.counts, counts)
        else:
            metrics.IMPORTS.labels(state.value).inc()
        self._tools.changed.notify(self._claim.import_uid)
        return state

    async def _make_labels(self, entries: Sequence[Entry]) -> None:
        names = {shape.label for entry in entries for shape in entry.item.shapes}
        if names - self._label_ids.keys():
            # With those that are known: one may have been deleted since.
            await self._ensure_labels([labelling.NewLabel("", name) for name in sorted(names)])

    async def _ensure_labels(self, wanted: Sequence[labelling.NewLabel]) -> None:
        async with self._tools.db.write() as tx:
            project, _ = await _current(tx, self._claim)
            self._label_ids = await labelling.ensure(tx, project, wanted, self._tools.clock())

    async def _save_batch(
        self, tx: Transaction, project: Project, current: Import, prepared: Sequence[Prepared], limits: Limits
    ) -> ImportCounts:
        now = self._tools.clock()
        pairs = [(asset_draft(one.item, one.blob), one.blob) for one in prepared if one.blob is not None]
        there, made = await assets.ensure(tx, project, pairs, now, room.images_left(project, limits))
        if len(there) < (wanted := len({draft.digest for draft, _ in pairs})):
            refusal = room.no_image(project, limits, wanted - len(there) + made)
            raise FormatError(refusal.reason, refusal.message)
        images = [(one, there[one.blob.digest]) for one in prepared if one.blob is not None]
        splits = decide_splits(images, has_splits=self._has_splits)
        if changes := together(splits.changes, sources(images)):
            await assets.change_some(tx, project, changes)
        results = await revisions.save(tx, project, set_drafts(images, current), now)
        if any(isinstance(result, BloomeryError) for result in results):
            # A label that these shapes carry was deleted since: begin the batch again.
            raise Aborted("LABELS_CHANGED", "a label was deleted while shapes with it were being imported")
        saved = [result for result in results if isinstance(result, Saved)]
        edited = [*splits.edited, *edited_shapes(images, saved)]
        problems = [problem for one in prepared for problem in one.problems] + edited
        # Unless the request said that no labels are meant.
        problems += await stale_shapes(tx, project, prepared, images) if self._may_be_stale else ()
        await imports.add_problems(tx, current, problems)
        more = added(prepared, saved, edited, splits) | {"asset_count": made}
        return current.counts.plus(more, problems)

    async def _end(self, state: ImportState, failure: Failure | None = None) -> ImportState:
        return await end(self._tools, self._claim, state, failure)


async def end(
    tools: Tools, claim: Claim, state: ImportState, failure: Failure | None = None, *, last: Last | None = None
) -> ImportState:
    """Write how an import ended, whenever the database is back: to find out again may take long. Raises LeaseLost.

    `last` is done with it, and gives the counts.
    """

    async def once() -> None:
        async with tools.db.write() as tx:
            project, current = await _current(tx, claim)
            counts = await last(tx, project, current) if last else current.counts
            await imports.advance(tx, claim, counts, tools.clock(), state=state, failure=failure)

    await through_outages(LOOP, once, import_uid=claim.import_uid)
    metrics.IMPORTS.labels(state.value).inc()
    tools.changed.notify(claim.import_uid)
    return state


async def _current(tx: Transaction, claim: Claim) -> tuple[Project, Import]:
    project = await projects.lock(tx, claim.project_id)
    return project, await imports.held(tx, project, claim)
