"""One import from where it stands to its end: batches of items, each saved in one transaction with its checkpoint."""

import asyncio
import tempfile
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bloomery_annotation import labelling, metrics
from bloomery_annotation.importer.files import Files
from bloomery_annotation.importer.listing import fill
from bloomery_annotation.importer.parsing import Header, Parser, Prepared
from bloomery_annotation.importer.source import BlobSource
from bloomery_annotation.model import (
    Asset,
    AssetDraft,
    Blob,
    Failure,
    Import,
    ImportCounts,
    ImportState,
    Project,
    Provenance,
    Source,
)
from bloomery_annotation.names import MAIN_SET
from bloomery_annotation.saving import KeepEdits, Outcome, Saved, SetDraft
from bloomery_annotation.store import assets, imports, labels, projects, revisions
from bloomery_annotation.store.imports import Claim
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import Aborted, BloomeryError
from bloomery_kit.feeds import Notifier
from bloomery_kit.objects import ObjectStore
from bloomery_kit.times import Clock
from bloomery_vision.formats import FormatError, ImportItem

BATCH = 100
"""Items saved, and lost to a crash, at once."""


@dataclass(frozen=True)
class Tools:
    """What an import works with; `changed` wakes those who watch it, by its uid."""

    db: Database
    objects: ObjectStore
    changed: Notifier
    clock: Clock


async def run_import(tools: Tools, claim: Claim) -> ImportState:
    """Run an import that this process has claimed; the state that it ended in.

    Raises:
        LeaseLost: somebody else runs the import, or it or its project is gone; nothing was written since.
    """
    async with tools.db.write() as tx:
        _, current = await _current(tx, claim)
    with tempfile.TemporaryDirectory(prefix="bloomery-import-") as name:
        folder = Path(name)
        with Files(folder) as files:
            source = BlobSource(
                files,
                objects=tools.objects,
                project_uid=current.project_uid,
                folder=folder,
                loop=asyncio.get_running_loop(),
            )
            async with Parser(source, current.format, files) as parser:
                return await _Run(tools, claim, parser).to_the_end(
                    current, fill(files, current, tools.db, tools.objects, folder)
                )


class _Run:
    def __init__(self, tools: Tools, claim: Claim, parser: Parser) -> None:
        self._tools, self._claim, self._parser = tools, claim, parser
        self._label_ids: dict[str, str] = {}
        self._label_order: dict[str, int] = {}

    async def to_the_end(self, current: Import, filling: Awaitable[None]) -> ImportState:
        try:
            await filling
            header = await self._parser.start(skip=current.counts.done_count)
            state = await self._begin(header)
            while state is ImportState.RUNNING and (items := await self._parser.take(BATCH)):
                state = await self._save(items)
        except FormatError as problem:
            text = f"{problem.message}; {problem.hint}" if problem.hint else problem.message
            return await self._end(ImportState.FAILED, Failure(problem.code, text))
        return await self._end(ImportState.SUCCEEDED) if state is ImportState.RUNNING else state

    async def _begin(self, header: Header) -> ImportState:
        self._label_order = {name: number for number, name in enumerate(header.labels)}
        async with self._tools.db.write() as tx:
            project, current = await _current(tx, self._claim)
            self._label_ids = {label.display_name: label.id for label in await labels.everything(tx, project)}
            counts = replace(current.counts, item_count=max(header.image_count, current.counts.done_count))
            now = self._tools.clock()
            await imports.advance(tx, self._claim, counts, now, file_format=header.format)
        self._tools.changed.notify(self._claim.import_uid)
        return ImportState.RUNNING

    async def _save(self, items: Sequence[ImportItem]) -> ImportState:
        await self._make_labels(items)
        prepared = await self._parser.prepare(items, self._label_ids)
        async with self._tools.db.write() as tx:
            project, current = await _current(tx, self._claim)
            state = ImportState.CANCELLED if current.cancel_requested else ImportState.RUNNING
            counts = current.counts
            if state is ImportState.RUNNING:
                counts = await self._save_batch(tx, project, current, prepared)
            await imports.advance(tx, self._claim, counts, self._tools.clock(), state=state)
        self._tools.changed.notify(self._claim.import_uid)
        if state is ImportState.RUNNING:
            _count(current.counts, counts)
        return state

    async def _make_labels(self, items: Sequence[ImportItem]) -> None:
        new = {shape.label for item in items for shape in item.shapes} - self._label_ids.keys()
        if new:
            ordered = sorted(new, key=lambda name: (self._label_order.get(name, len(self._label_order)), name))
            wanted = [labelling.NewLabel("", name) for name in ordered]
            async with self._tools.db.write() as tx:
                project, _ = await _current(tx, self._claim)
                self._label_ids = await labelling.ensure(tx, project, wanted, self._tools.clock())

    async def _save_batch(
        self, tx: Transaction, project: Project, current: Import, prepared: Sequence[Prepared]
    ) -> ImportCounts:
        now = self._tools.clock()
        pairs = [(_asset_draft(one.item, one.blob), one.blob) for one in prepared if one.blob is not None]
        there, made = await assets.ensure(tx, project, pairs, now)
        drafts = [
            _set_draft(one, there[one.blob.digest], current)
            for one in prepared
            if one.blob is not None and one.shapes is not None
        ]
        results = await revisions.save(tx, project, drafts, now)
        if any(isinstance(result, BloomeryError) for result in results):
            # A label that these shapes carry was deleted since: begin the batch again.
            raise Aborted("LABELS_CHANGED", "a label was deleted while shapes with it were being imported")
        saved = [result for result in results if isinstance(result, Saved)]
        problems = [problem for one in prepared for problem in one.problems]
        await imports.add_problems(tx, current, problems)
        return _added(current.counts, prepared, saved, made, len(problems))

    async def _end(self, state: ImportState, failure: Failure | None = None) -> ImportState:
        async with self._tools.db.write() as tx:
            _, current = await _current(tx, self._claim)
            counts = replace(current.counts, item_count=current.counts.done_count)
            await imports.advance(tx, self._claim, counts, self._tools.clock(), state=state, failure=failure)
        self._tools.changed.notify(self._claim.import_uid)
        return state


async def _current(tx: Transaction, claim: Claim) -> tuple[Project, Import]:
    project = await projects.lock(tx, claim.project_id)
    return project, await imports.held(tx, project, claim)


def _asset_draft(item: ImportItem, blob: Blob) -> AssetDraft:
    return AssetDraft(blob.digest, item.image_path, item.split or "")


def _set_draft(one: Prepared, asset: Asset, current: Import) -> SetDraft:
    assert one.shapes is not None
    return SetDraft(
        asset=asset,
        set_id=MAIN_SET,
        shapes=one.shapes,
        provenance=Provenance(Source.IMPORT, current.name),
        author=current.name,
        guard=KeepEdits(),
    )


def _added(
    counts: ImportCounts, prepared: Sequence[Prepared], saved: Sequence[Saved], made: int, problems: int
) -> ImportCounts:
    written = [result.draft for result in saved if result.outcome is Outcome.SAVE]
    done = counts.done_count + len(prepared)
    return ImportCounts(
        item_count=max(counts.item_count, done),
        done_count=done,
        asset_count=counts.asset_count + made,
        annotated_count=counts.annotated_count + len(written),
        unchanged_count=counts.unchanged_count + len(saved) - len(written),
        failed_count=counts.failed_count + sum(one.failed for one in prepared),
        shape_count=counts.shape_count + sum(draft.shapes.count for draft in written),
        problem_count=counts.problem_count + problems,
    )


def _count(before: ImportCounts, after: ImportCounts) -> None:
    metrics.IMPORT_ITEMS.labels("annotated").inc(after.annotated_count - before.annotated_count)
    metrics.IMPORT_ITEMS.labels("unchanged").inc(after.unchanged_count - before.unchanged_count)
    metrics.IMPORT_ITEMS.labels("failed").inc(after.failed_count - before.failed_count)
