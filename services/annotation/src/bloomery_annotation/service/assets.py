"""Assets."""

from dataclasses import replace

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
    UpdateAssetRequest,
)
from bloomery_annotation import checks, convert, filters, room
from bloomery_annotation.blobs import blob_missing, unusable_image
from bloomery_annotation.filters import AssetFilter
from bloomery_annotation.model import Asset, AssetDraft, Blob, Project
from bloomery_annotation.names import ASSET, PROJECT
from bloomery_annotation.service.base import Methods, numbers_cursor
from bloomery_annotation.store import assets, blobs, revisions
from bloomery_kit.database import Transaction
from bloomery_kit.errors import BloomeryError, InvalidArgument, Violations
from bloomery_kit.etags import check_etag
from bloomery_kit.fields import check_labels, check_text
from bloomery_kit.masks import apply_mask
from bloomery_kit.pages import PageRequest
from bloomery_kit.quotas import Limits

_LONGEST_SECONDS = 365 * 24 * 3600


class AssetMethods(Methods):
    """The rpcs of assets."""

    async def BatchCreateAssets(self, request: BatchCreateAssetsRequest, _context: object) -> BatchCreateAssetsResponse:
        """See the contract."""
        violations = Violations()
        ids = PROJECT.check(request.parent, "parent", violations)
        checks.batch(len(request.assets), "assets", violations)
        violations.raise_if_any()
        assert ids is not None
        drafts = [_draft(ids["project"], message) for message in request.assets]
        digests = [draft.digest for draft in drafts if isinstance(draft, AssetDraft)]
        limits = await self._parts.quotas.of(ids["project"])
        async with self._write(ids["project"]) as (tx, project):
            there = await blobs.known(tx, project.uid, digests)
            wanted = {draft.parent for draft in drafts if isinstance(draft, AssetDraft) and draft.parent}
            parents = {asset.id for asset in await assets.known(tx, project, wanted)}
            usable = [_usable(project, draft, there, parents) for draft in drafts]
            pairs = [pair for pair in usable if isinstance(pair, tuple)]
            left = room.images_left(project, limits)
            made, count = await assets.ensure(tx, project, pairs, self._parts.clock(), left)
        full = replace(project, asset_count=project.asset_count + count)
        return BatchCreateAssetsResponse(results=[_result(pair, made, full, limits) for pair in usable])

    async def GetAsset(self, request: GetAssetRequest, _context: object) -> AssetMessage:
        """See the contract."""
        ids = ASSET.parse(request.name)
        async with self._read(PROJECT.format(project=ids["project"])) as (tx, project):
            return convert.asset(await assets.find(tx, project, ids["asset"]))

    async def ListAssets(self, request: ListAssetsRequest, _context: object) -> ListAssetsResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        async with self._read(request.parent) as (tx, project):
            wanted = filters.parse(request.filter)
            order = wanted.order
            total, *after = numbers_cursor(page, 1 + len(order)) or [await _count(tx, project, wanted)]
            found = await assets.page(tx, project, wanted.condition(project), order, after, page.size + 1)
        shown = found[: page.size]
        token = page.next_token((total, *assets.place(shown[-1], order))) if len(found) > page.size else ""
        return ListAssetsResponse(assets=map(convert.asset, shown), next_page_token=token, total_size=total)

    async def UpdateAsset(self, request: UpdateAssetRequest, _context: object) -> AssetMessage:
        """See the contract."""
        wanted = request.asset
        violations = Violations()
        ids = ASSET.check(wanted.name, "asset.name", violations)
        checks.split(wanted.split, "asset.split", violations)
        check_labels(wanted.labels, "asset.labels", violations)
        violations.raise_if_any()
        assert ids is not None
        paths = apply_mask(request.update_mask, wanted, {"split", "labels"})
        given = {"split": wanted.split, "labels": dict(wanted.labels)}
        async with self._write(ids["project"]) as (tx, project):
            asset = await assets.find(tx, project, ids["asset"])
            check_etag(wanted.etag, asset.etag, asset.name)
            values = {path: given[path] for path in paths if given[path] != getattr(asset, path)}
            return convert.asset(await assets.change(tx, project, asset, values) if values else asset)

    async def DeleteAsset(self, request: DeleteAssetRequest, _context: object) -> Empty:
        """See the contract."""
        ids = ASSET.parse(request.name)
        async with self._write(ids["project"]) as (tx, project):
            asset = await assets.find(tx, project, ids["asset"])
            await revisions.forget(tx, project, asset)
            await assets.bury(tx, project, asset)
        return Empty()


def _draft(project_id: str, message: AssetMessage) -> AssetDraft | BloomeryError:
    violations = Violations()
    checks.digest(message.digest, "digest", violations)
    check_text(message.display_name, "display_name", violations)
    checks.split(message.split, "split", violations)
    check_labels(message.labels, "labels", violations)
    _check_place(project_id, message, violations)
    try:
        violations.raise_if_any()
    except InvalidArgument as refusal:
        return refusal
    return convert.asset_draft(message)


def _check_place(project_id: str, message: AssetMessage, violations: Violations) -> None:
    parent = ASSET.check(message.parent, "parent", violations) if message.parent else None
    if parent and parent["project"] != project_id:
        violations.add("parent", f"is of another project than projects/{project_id}")
    if not 0 <= message.timestamp.seconds <= _LONGEST_SECONDS or not 0 <= message.timestamp.nanos < 10**9:
        violations.add("timestamp", f"must be from 0 to {_LONGEST_SECONDS} s")
    elif message.timestamp.ToNanoseconds() and not message.parent:
        violations.add("timestamp", "needs a parent that it is the time of")


def _usable(
    project: Project, draft: AssetDraft | BloomeryError, there: dict[str, Blob], parents: set[str]
) -> tuple[AssetDraft, Blob] | BloomeryError:
    if isinstance(draft, BloomeryError):
        return draft
    if draft.parent and draft.parent not in parents:
        return assets.missing(project.id, draft.parent)
    blob = there.get(draft.digest)
    if blob is None:
        return blob_missing([draft.digest])
    return unusable_image("digest", blob.problem) if blob.problem else (draft, blob)


def _result(
    pair: tuple[AssetDraft, Blob] | BloomeryError, made: dict[str, Asset], project: Project, limits: Limits
) -> AssetResult:
    if isinstance(pair, BloomeryError):
        return AssetResult(status=convert.status(pair))
    if pair[0].digest not in made:
        return AssetResult(status=convert.status(room.no_image(project, limits)))
    return AssetResult(asset=convert.asset(made[pair[0].digest]), status=convert.status(None))


async def _count(tx: Transaction, project: Project, wanted: AssetFilter) -> int:
    # For the first page only, which tells the others: it takes as long as reading all of them.
    return await assets.count(tx, project, wanted.condition(project)) if wanted.kind else project.asset_count
