"""Assets."""

import sqlalchemy as sa
from google.protobuf.empty_pb2 import Empty

from bloomery.annotation.v1 import Asset as AssetMessage
from bloomery.annotation.v1 import (
    AssetResult,
    BatchCreateAssetsRequest,
    BatchCreateAssetsResponse,
    DeleteAssetRequest,
    GetAssetRequest,
    ListAssetsRequest,
    ListAssetsResponse,
)
from bloomery_annotation import checks, convert
from bloomery_annotation.blobs import blob_missing, unusable_image
from bloomery_annotation.model import Asset, AssetDraft, Blob, Project
from bloomery_annotation.names import ASSET, PROJECT
from bloomery_annotation.service.base import Methods, number_cursor
from bloomery_annotation.store import assets, blobs, revisions
from bloomery_kit.errors import BloomeryError, FieldViolation, InvalidArgument, Violations
from bloomery_kit.fields import check_labels, check_text
from bloomery_kit.pages import PageRequest


class AssetMethods(Methods):
    """The rpcs of assets."""

    async def BatchCreateAssets(self, request: BatchCreateAssetsRequest, _context: object) -> BatchCreateAssetsResponse:
        """See the contract."""
        violations = Violations()
        ids = PROJECT.check(request.parent, "parent", violations)
        checks.batch(len(request.assets), "assets", violations)
        violations.raise_if_any()
        assert ids is not None
        drafts = [_draft(message) for message in request.assets]
        digests = [draft.digest for draft in drafts if isinstance(draft, AssetDraft)]
        async with self._write(ids["project"]) as (tx, project):
            there = await blobs.known(tx, project.uid, digests)
            usable = [_usable(draft, there) for draft in drafts]
            pairs = [pair for pair in usable if isinstance(pair, tuple)]
            made, _ = await assets.ensure(tx, project, pairs, self._parts.clock())
        return BatchCreateAssetsResponse(results=[_result(pair, made) for pair in usable])

    async def GetAsset(self, request: GetAssetRequest, _context: object) -> AssetMessage:
        """See the contract."""
        ids = ASSET.parse(request.name)
        async with self._read(PROJECT.format(project=ids["project"])) as (tx, project):
            return convert.asset(await assets.find(tx, project, ids["asset"]))

    async def ListAssets(self, request: ListAssetsRequest, _context: object) -> ListAssetsResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        async with self._read(request.parent) as (tx, project):
            condition = _condition(project, request.filter)
            found = await assets.page(tx, project, condition, number_cursor(page) or 0, page.size + 1)
            total = await assets.count(tx, project, condition) if request.filter else project.asset_count
        shown = found[: page.size]
        token = page.next_token((shown[-1].sequence,)) if len(found) > page.size else ""
        return ListAssetsResponse(assets=map(convert.asset, shown), next_page_token=token, total_size=total)

    async def DeleteAsset(self, request: DeleteAssetRequest, _context: object) -> Empty:
        """See the contract."""
        ids = ASSET.parse(request.name)
        async with self._write(ids["project"]) as (tx, project):
            asset = await assets.find(tx, project, ids["asset"])
            await revisions.forget(tx, project, asset)
            await assets.bury(tx, project, asset)
        return Empty()


def _draft(message: AssetMessage) -> AssetDraft | BloomeryError:
    violations = Violations()
    checks.digest(message.digest, "digest", violations)
    check_text(message.display_name, "display_name", violations)
    checks.split(message.split, "split", violations)
    check_labels(message.labels, "labels", violations)
    try:
        violations.raise_if_any()
    except InvalidArgument as refusal:
        return refusal
    return convert.asset_draft(message)


def _usable(draft: AssetDraft | BloomeryError, there: dict[str, Blob]) -> tuple[AssetDraft, Blob] | BloomeryError:
    if isinstance(draft, BloomeryError):
        return draft
    blob = there.get(draft.digest)
    if blob is None:
        return blob_missing([draft.digest])
    return unusable_image("digest", blob.problem) if blob.problem else (draft, blob)


def _result(pair: tuple[AssetDraft, Blob] | BloomeryError, made: dict[str, Asset]) -> AssetResult:
    if isinstance(pair, BloomeryError):
        return AssetResult(status=convert.status(pair))
    return AssetResult(asset=convert.asset(made[pair[0].digest]), status=convert.status(None))


def _condition(project: Project, text: str) -> assets.Condition:
    violations = Violations()
    check_text(text, "filter", violations)
    violations.raise_if_any()
    kind, colon, value = text.partition(":")
    match kind, bool(colon):
        case "", False:
            return sa.true()
        case "annotated", False:
            return assets.annotated()
        case "unannotated", False:
            return ~assets.annotated()
        case "label", True:
            return assets.carries(project, value)
        case "split", True:
            return assets.in_split(value)
        case "name", True:
            return assets.named(value)
    known = "annotated, unannotated, label:ID, split:NAME, name:TEXT"
    raise InvalidArgument([FieldViolation("filter", f"{text[:80]!r} must be empty or one of {known}")])
