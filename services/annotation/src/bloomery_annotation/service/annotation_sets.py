"""Annotation sets, their history, and reading all of them at one moment."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import sqlalchemy as sa

from bloomery.annotation.v1 import (
    AnnotationSet as AnnotationSetMessage,
)
from bloomery.annotation.v1 import (
    AnnotationSetResult,
    AssetAnnotations,
    BatchUpdateAnnotationSetsRequest,
    BatchUpdateAnnotationSetsResponse,
    GetAnnotationSetRequest,
    ListAnnotationSetsRequest,
    ListAnnotationSetsResponse,
    ListRevisionsRequest,
    ListRevisionsResponse,
    Revision,
    StreamAnnotationSetsRequest,
    StreamAnnotationSetsResponse,
    UpdateAnnotationSetRequest,
)
from bloomery_annotation import checks, convert, filters, metrics, reading
from bloomery_annotation.drafts import draft
from bloomery_annotation.model import Asset, Problem, Source
from bloomery_annotation.names import ALL_ASSETS, ANNOTATION_SET, ASSET, MAIN_SET, PROJECT
from bloomery_annotation.saving import Outcome, Saved, SetDraft
from bloomery_annotation.service.base import Methods, moment_of, number_cursor, text_cursor
from bloomery_annotation.store import annotation_sets, assets, labels, revisions
from bloomery_kit.context import current_principal
from bloomery_kit.errors import BloomeryError, EtagMismatch, FieldViolation, InvalidArgument, Violations
from bloomery_kit.fields import check_text
from bloomery_kit.pages import PageRequest

_MAX_BATCH_BYTES = 12 << 20
"""The response repeats the shapes, and has to fit into one message too."""


class AnnotationSetMethods(Methods):
    """The rpcs of annotation sets."""

    async def GetAnnotationSet(self, request: GetAnnotationSetRequest, _context: object) -> AnnotationSetMessage:
        """See the contract."""
        ids = ANNOTATION_SET.parse(request.name)
        async with self._read(PROJECT.format(project=ids["project"])) as (tx, project):
            asset = await assets.find(tx, project, ids["asset"])
            found = await annotation_sets.find(tx, asset, ids["annotation_set"], request.revision)
        return convert.annotation_set(found)

    async def UpdateAnnotationSet(self, request: UpdateAnnotationSetRequest, _context: object) -> AnnotationSetMessage:
        """See the contract."""
        ids = ANNOTATION_SET.parse(request.annotation_set.name, "annotation_set.name")
        result = (await self._save(ids["project"], [request]))[0]
        if isinstance(result, BloomeryError):
            raise result
        return result

    async def BatchUpdateAnnotationSets(
        self, request: BatchUpdateAnnotationSetsRequest, _context: object
    ) -> BatchUpdateAnnotationSetsResponse:
        """See the contract."""
        violations = Violations()
        ids = PROJECT.check(request.parent, "parent", violations)
        checks.batch(len(request.requests), "requests", violations)
        if request.ByteSize() > _MAX_BATCH_BYTES:
            violations.add("requests", f"take more than {_MAX_BATCH_BYTES} bytes together; send fewer at a time")
        violations.raise_if_any()
        assert ids is not None
        results = await self._save(ids["project"], request.requests)
        return BatchUpdateAnnotationSetsResponse(
            results=[
                AnnotationSetResult(status=convert.status(result))
                if isinstance(result, BloomeryError)
                else AnnotationSetResult(annotation_set=result, status=convert.status(None))
                for result in results
            ]
        )

    async def ListAnnotationSets(
        self, request: ListAnnotationSetsRequest, _context: object
    ) -> ListAnnotationSetsResponse:
        """See the contract."""
        ids = _set_parent(request.parent)
        condition = _condition(request.filter)
        page = PageRequest.parse(request.page_size, request.page_token, request)
        after = text_cursor(page, 2) or ("", "")
        async with self._read(PROJECT.format(project=ids["project"])) as (tx, project):
            if "asset" in ids:
                await assets.find(tx, project, ids["asset"])
            begin = (after[0], after[1])
            found = await annotation_sets.page(tx, project, ids.get("asset"), condition, begin, page.size)
        token = page.next_token((found[-1].asset_id, found[-1].id)) if found else ""
        return ListAnnotationSetsResponse(annotation_sets=map(convert.annotation_set, found), next_page_token=token)

    async def ListRevisions(self, request: ListRevisionsRequest, _context: object) -> ListRevisionsResponse:
        """See the contract."""
        ids = ANNOTATION_SET.parse(request.parent, "parent")
        page = PageRequest.parse(request.page_size, request.page_token, request)
        async with self._read(PROJECT.format(project=ids["project"])) as (tx, project):
            asset = await assets.find(tx, project, ids["asset"])
            before = number_cursor(page)
            found = await annotation_sets.history(tx, project, asset, ids["annotation_set"], before, page.size)
        more = found and found[-1].revision > 1
        return ListRevisionsResponse(
            revisions=[Revision(annotation_set=convert.annotation_set(one)) for one in found],
            next_page_token=page.next_token((found[-1].revision,)) if more else "",
        )

    async def StreamAnnotationSets(
        self, request: StreamAnnotationSetsRequest, _context: object
    ) -> AsyncIterator[StreamAnnotationSetsResponse]:
        """See the contract."""
        set_id = request.annotation_set or MAIN_SET
        moment = moment_of(request.parent, request.read_sequence, request.after, set_id)
        wanted = filters.parse(request.filter, past=True)
        if wanted.kind and set_id != MAIN_SET:
            raise InvalidArgument(
                [FieldViolation("filter", "goes by the people's set, so `annotation_set` must be it")]
            )
        async for sequence, items in reading.stream(self._parts.db, moment):
            yield StreamAnnotationSetsResponse(
                read_sequence=sequence,
                items=[
                    AssetAnnotations(
                        asset=convert.asset(asset), annotation_set=convert.annotation_set(found) if found else None
                    )
                    for asset, found in items
                    if wanted.matches(asset, found)
                ],
                after=items[-1][0].id if items else "",
            )

    async def _save(
        self, project_id: str, requests: Sequence[UpdateAnnotationSetRequest]
    ) -> list[AnnotationSetMessage | BloomeryError]:
        author = current_principal().subject
        checked = [_check_name(project_id, request) for request in requests]
        wanted = {ids["asset"] for ids in checked if isinstance(ids, dict)}
        async with self._read(PROJECT.format(project=project_id)) as (tx, project):
            there = {asset.id: asset for asset in await assets.known(tx, project, wanted)}
            known = [label.id for label in await labels.everything(tx, project) if not label.deleted_by]
        drafts = await asyncio.to_thread(
            lambda: [
                _draft(project_id, request, ids, there, known, author)
                for request, ids in zip(requests, checked, strict=True)
            ]
        )
        async with self._write(project_id) as (tx, project):
            alive = {asset.uid for asset in await assets.by_uid(tx, project, {asset.uid for asset in there.values()})}
            ready = [_recheck(one, alive) for one in drafts]
            good = [one for one in ready if isinstance(one, SetDraft)]
            saved = iter(await revisions.save(tx, project, good, self._parts.clock()))
        return [_saved(next(saved)) if isinstance(one, SetDraft) else one for one in ready]


def _condition(text: str) -> annotation_sets.Condition:
    violations = Violations()
    check_text(text, "filter", violations)
    kind, _, value = text.partition(":")
    if kind == "agent" and value:
        condition = annotation_sets.from_agent(value)
    elif kind == "source" and value in list(Source):
        condition = annotation_sets.from_source(Source(value))
    else:
        condition = sa.true()
        if text:
            known = "source:human, source:import, source:model, agent:NAME"
            violations.add("filter", f"{text[:80]!r} must be empty or one of {known}")
    violations.raise_if_any()
    return condition


def _set_parent(parent: str) -> dict[str, str]:
    return (ALL_ASSETS if ALL_ASSETS.matches(parent) else ASSET).parse(parent, "parent")


def _check_name(project_id: str, request: UpdateAnnotationSetRequest) -> dict[str, str] | BloomeryError:
    violations = Violations()
    ids = ANNOTATION_SET.check(request.annotation_set.name, "annotation_set.name", violations)
    if ids and ids["project"] != project_id:
        violations.add("annotation_set.name", f"is of another project than projects/{project_id}")
    try:
        violations.raise_if_any()
    except InvalidArgument as refusal:
        return refusal
    assert ids is not None
    return ids


def _draft(
    project_id: str,
    request: UpdateAnnotationSetRequest,
    ids: dict[str, str] | BloomeryError,
    there: Mapping[str, Asset],
    known: Sequence[str],
    author: str,
) -> SetDraft | BloomeryError:
    if isinstance(ids, BloomeryError):
        return ids
    if ids["asset"] not in there:
        return assets.missing(project_id, ids["asset"])
    try:
        return draft(request, ids["annotation_set"], there[ids["asset"]], known, author)
    except InvalidArgument as refusal:
        return refusal


def _recheck(one: SetDraft | BloomeryError, alive: set[str]) -> SetDraft | BloomeryError:
    if isinstance(one, SetDraft) and one.asset.uid not in alive:
        return assets.missing(one.asset.project_id, one.asset.id)
    return one


def _saved(result: Saved | BloomeryError) -> AnnotationSetMessage | BloomeryError:
    if isinstance(result, BloomeryError):
        if isinstance(result, EtagMismatch):
            metrics.CONFLICTS.inc()
        return result
    if result.outcome is Outcome.SAVE:
        metrics.REVISIONS.inc()
    message = convert.annotation_set(result.annotation_set)
    message.problems.extend(convert.problem(Problem(message.name, one)) for one in result.draft.problems)
    return message
