"""What models suggest, and what people decide about it."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from google.rpc.status_pb2 import Status

from bloomery.annotation.v1 import (
    DeleteSuggestionsRequest,
    DeleteSuggestionsResponse,
    ReviewSuggestionsRequest,
    ReviewSuggestionsResponse,
    SaveSuggestionsRequest,
    SaveSuggestionsResponse,
    Suggestion,
)
from bloomery_annotation import checks, convert, metrics, suggesting
from bloomery_annotation.model import Asset
from bloomery_annotation.names import ANNOTATION_SET, MODEL_VERSION, PROJECT, asset_id
from bloomery_annotation.saving import Outcome, Saved
from bloomery_annotation.service.base import Methods
from bloomery_annotation.store import assets, labels, revisions
from bloomery_annotation.suggesting import Choice, Run, Suggested
from bloomery_kit.context import current_principal
from bloomery_kit.errors import BloomeryError, Violations
from bloomery_kit.fields import check_text

_MAX_BYTES = 8 << 20
_RUN_LENGTH = 128


class SuggestionMethods(Methods):
    """The rpcs of suggestions."""

    async def SaveSuggestions(self, request: SaveSuggestionsRequest, _context: object) -> SaveSuggestionsResponse:
        """See the contract."""
        _check(request)
        run = Run(request.model_version, request.run, current_principal().subject)
        project_id = PROJECT.parse(request.parent, "parent")["project"]
        async with self._read(request.parent) as (tx, project):
            known = suggesting.label_ids(await labels.everything(tx, project))
            wanted = {asset_id(one.digest) for one in request.suggestions}
            there = {asset.digest: asset for asset in await assets.known(tx, project, wanted)}
        drafts = await asyncio.to_thread(_drafts, run, request.suggestions, there, known)
        async with self._write(project_id) as (tx, project):
            alive = await suggesting.still_there(tx, project, list(there.values()))
            ready = [_recheck(one, alive) for one in drafts]
            good = [one.draft for one in ready if isinstance(one, Suggested)]
            saved = iter(await revisions.save(tx, project, good, self._parts.clock()))
        results = [next(saved) if isinstance(one, Suggested) else one for one in ready]
        return _answer(run, ready, results)

    async def ReviewSuggestions(self, request: ReviewSuggestionsRequest, _context: object) -> ReviewSuggestionsResponse:
        """See the contract."""
        ids = ANNOTATION_SET.parse(request.name)
        choice = Choice(request.etag, request.accept, request.reject)
        author, now = current_principal().subject, self._parts.clock()
        async with self._write(ids["project"]) as (tx, project):
            asset = await assets.find(tx, project, ids["asset"])
            left, main = await suggesting.review(tx, project, asset, ids["annotation_set"], choice, author, now)
        return ReviewSuggestionsResponse(
            suggestions=convert.annotation_set(left), main=convert.annotation_set(main) if main else None
        )

    async def DeleteSuggestions(self, request: DeleteSuggestionsRequest, _context: object) -> DeleteSuggestionsResponse:
        """See the contract."""
        violations = Violations()
        ids = PROJECT.check(request.parent, "parent", violations)
        MODEL_VERSION.check(request.model_version, "model_version", violations)
        violations.raise_if_any()
        assert ids is not None
        count = await suggesting.delete(self._parts.db, ids["project"], request.model_version)
        return DeleteSuggestionsResponse(annotation_set_count=count)


def _check(request: SaveSuggestionsRequest) -> None:
    violations = Violations()
    project = PROJECT.check(request.parent, "parent", violations)
    version = MODEL_VERSION.check(request.model_version, "model_version", violations)
    if project and version and project["project"] != version["project"]:
        violations.add("model_version", f"must lie in {request.parent}, as the images do")
    check_text(request.run, "run", violations, length=_RUN_LENGTH)
    checks.batch(len(request.suggestions), "suggestions", violations)
    if request.ByteSize() > _MAX_BYTES:
        violations.add("suggestions", f"take more than {_MAX_BYTES} bytes together; send fewer at a time")
    for number, one in enumerate(request.suggestions):
        checks.digest(one.digest, f"suggestions[{number}].digest", violations)
    if len({one.digest for one in request.suggestions}) < len(request.suggestions):
        violations.add("suggestions", "must be of different images")
    violations.raise_if_any()


def _drafts(
    run: Run, given: Sequence[Suggestion], there: Mapping[str, Asset], known: Mapping[str, str]
) -> list[Suggested | BloomeryError]:
    return [_draft(run, one, there, known) for one in given]


def _draft(
    run: Run, given: Suggestion, there: Mapping[str, Asset], known: Mapping[str, str]
) -> Suggested | BloomeryError:
    asset = there.get(given.digest)
    if asset is None:
        return assets.missing(MODEL_VERSION.parse(run.model_version)["project"], asset_id(given.digest))
    try:
        return suggesting.suggested(run, given, asset, known)
    except BloomeryError as refusal:
        return refusal


def _recheck(one: Suggested | BloomeryError, alive: set[str]) -> Suggested | BloomeryError:
    if isinstance(one, Suggested) and one.draft.asset.uid not in alive:
        return assets.missing(one.draft.asset.project_id, one.draft.asset.id)
    return one


def _judged(result: Saved | BloomeryError) -> Saved | BloomeryError:
    if isinstance(result, Saved) and result.outcome is Outcome.KEPT:
        return suggesting.not_suggested(result.draft.name, "delete what is saved there, or save it as `main`")
    return result


def _answer(
    run: Run, ready: Sequence[Suggested | BloomeryError], results: Sequence[Saved | BloomeryError]
) -> SaveSuggestionsResponse:
    """One for each image; the counts are of images whose suggestions are there."""
    unknown, unusable, count = Counter[str](), 0, 0
    told: list[Status] = []
    for one, result in zip(ready, map(_judged, results), strict=True):
        told.append(convert.status(result if isinstance(result, BloomeryError) else None))
        if isinstance(result, BloomeryError):
            continue
        assert isinstance(one, Suggested)
        unknown, unusable, count = unknown + one.unknown, unusable + one.unusable, count + one.draft.shapes.count
        metrics.REVISIONS.inc(result.outcome is Outcome.SAVE)
    return SaveSuggestionsResponse(
        results=told, shape_count=count, unknown_classes=unknown, unusable_count=unusable, annotation_set=run.set_id
    )
