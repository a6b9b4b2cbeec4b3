"""The servicer: convert, call, convert."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty

from bloomery.common.v1 import Reference
from bloomery.dataset.v1 import (
    AcquireReferenceRequest,
    CompareDatasetVersionsRequest,
    CompareDatasetVersionsResponse,
    CreateDatasetRequest,
    CreateDatasetVersionRequest,
    Dataset,
    DatasetServiceServicer,
    DatasetVersion,
    DeleteDatasetRequest,
    DeleteDatasetVersionRequest,
    ExportDatasetVersionRequest,
    ExportDatasetVersionResponse,
    GetDatasetRequest,
    GetDatasetVersionRequest,
    ListDatasetItemsRequest,
    ListDatasetItemsResponse,
    ListDatasetsRequest,
    ListDatasetsResponse,
    ListDatasetVersionsRequest,
    ListDatasetVersionsResponse,
    ListReferencesRequest,
    ListReferencesResponse,
    ReleaseReferenceRequest,
    UpdateDatasetRequest,
    WatchDatasetVersionRequest,
)
from bloomery_dataset import checks, convert
from bloomery_dataset.catalog import Catalog
from bloomery_dataset.export import Exporter
from bloomery_dataset.items import Items
from bloomery_dataset.model import State, Version
from bloomery_dataset.names import DATASET, parse_dataset, parse_project, parse_version
from bloomery_dataset.signing import Signer
from bloomery_kit.feeds import Notifier, watch_states
from bloomery_kit.idempotency import Repeatable
from bloomery_kit.pages import PageRequest
from bloomery_kit.signed import signed_message

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]


class DatasetServicer(DatasetServiceServicer):
    """Datasets over gRPC."""

    def __init__(
        self,
        catalog: Catalog,
        items: Items,
        exporter: Exporter,
        signer: Signer,
        *,
        changed: Notifier,
        draining: asyncio.Event,
    ) -> None:
        self._catalog = catalog
        self._items = items
        self._exporter = exporter
        self._signer = signer
        self._changed = changed
        self._draining = draining

    async def CreateDataset(self, request: CreateDatasetRequest, context: Context) -> Dataset:
        """See the contract."""
        repeatable: Repeatable[Dataset] = Repeatable("CreateDataset", request.parent, request)
        return await self._catalog.create_dataset(checks.new_dataset(request), repeatable, convert.dataset_message)

    async def GetDataset(self, request: GetDatasetRequest, context: Context) -> Dataset:
        """See the contract."""
        return convert.dataset_message(await self._catalog.get_dataset(**DATASET.parse(request.name)))

    async def ListDatasets(self, request: ListDatasetsRequest, context: Context) -> ListDatasetsResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        project, dataset = parse_project(request.parent), checks.dataset_filter(request)
        found, token, total = await self._catalog.list_datasets(page, project=project, dataset=dataset)
        return ListDatasetsResponse(
            datasets=map(convert.dataset_message, found), next_page_token=token, total_size=total
        )

    async def UpdateDataset(self, request: UpdateDatasetRequest, context: Context) -> Dataset:
        """See the contract."""
        return convert.dataset_message(await self._catalog.update_dataset(checks.dataset_update(request)))

    async def DeleteDataset(self, request: DeleteDatasetRequest, context: Context) -> Empty:
        """See the contract."""
        await self._catalog.delete_dataset(**DATASET.parse(request.name))
        return Empty()

    async def CreateDatasetVersion(self, request: CreateDatasetVersionRequest, context: Context) -> DatasetVersion:
        """See the contract."""
        repeatable: Repeatable[DatasetVersion] = Repeatable("CreateDatasetVersion", request.parent, request)
        return await self._catalog.create_version(checks.new_version(request), repeatable, convert.version_message)

    async def GetDatasetVersion(self, request: GetDatasetVersionRequest, context: Context) -> DatasetVersion:
        """See the contract."""
        return convert.version_message(await self._catalog.get_version(parse_version(request.name)))

    async def ListDatasetVersions(
        self, request: ListDatasetVersionsRequest, context: Context
    ) -> ListDatasetVersionsResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        project, dataset = parse_dataset(request.parent)
        asset = checks.asset_filter(request)
        found, token = await self._catalog.list_versions(page, project=project, dataset=dataset)
        if asset:
            found = [one for one in found if one.product and await self._items.holds(one, asset)]
        return ListDatasetVersionsResponse(dataset_versions=map(convert.version_message, found), next_page_token=token)

    async def DeleteDatasetVersion(self, request: DeleteDatasetVersionRequest, context: Context) -> Empty:
        """See the contract."""
        await self._catalog.delete_version(parse_version(request.name))
        return Empty()

    async def WatchDatasetVersion(
        self, request: WatchDatasetVersionRequest, context: Context
    ) -> AsyncIterator[DatasetVersion]:
        """See the contract."""
        name = parse_version(request.name)
        version = await self._catalog.get_version(name)
        states = watch_states(
            lambda: self._catalog.get_version(name),
            changed=self._changed,
            key=version.uid,
            until=_terminal,
            seen=lambda state: state.sequence <= request.after_sequence,
            draining=self._draining,
        )
        async for state in states:
            yield convert.version_message(state)

    async def ListDatasetItems(self, request: ListDatasetItemsRequest, context: Context) -> ListDatasetItemsResponse:
        """See the contract."""
        # What is told of each image may change from page to page, not which images are told.
        bound = {"parent": request.parent, "filter": request.filter}
        page = PageRequest.parse(request.page_size, request.page_token, bound)
        wanted = checks.items_wanted(request)
        version = await self._catalog.ready_version(parse_version(request.parent, "parent"))
        rows, token, total = await self._items.page(version, wanted, page)
        signed = [
            await self._signer.download(row) if request.sign_downloads and not wanted.inlines(row) else None
            for row in rows
        ]
        contents = await self._items.contents(rows, wanted)
        # A page may hold tens of thousands of shapes.
        items = await asyncio.to_thread(lambda: [*map(convert.item_message, rows, signed, contents)])
        return ListDatasetItemsResponse(items=items, next_page_token=token, total_size=total)

    async def CompareDatasetVersions(
        self, request: CompareDatasetVersionsRequest, context: Context
    ) -> CompareDatasetVersionsResponse:
        """See the contract."""
        name, other = checks.compared(request)
        version, against = await self._catalog.ready_version(name), await self._catalog.ready_version(other)
        return convert.comparison_message(version, against, await self._items.compare(version, against))

    async def ExportDatasetVersion(
        self, request: ExportDatasetVersionRequest, context: Context
    ) -> ExportDatasetVersionResponse:
        """See the contract."""
        name, export_format = parse_version(request.name), checks.export_format(request)
        version = await self._catalog.ready_version(name)
        exported = await self._exporter.export(version, export_format)
        archive = exported.archive
        file_name = f"{version.dataset}-{version.number}-{export_format}.zip"
        download = await self._signer.sign(archive.logical_key, file_name)
        return ExportDatasetVersionResponse(
            archive=convert.artifact(archive, role="export", media_type="application/zip", file_name=file_name),
            download=signed_message(download),
            losses=exported.losses,
        )

    async def ListReferences(self, request: ListReferencesRequest, context: Context) -> ListReferencesResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        found, token = await self._catalog.references(request.parent, page)
        return ListReferencesResponse(references=map(convert.reference_message, found), next_page_token=token)

    async def AcquireReference(self, request: AcquireReferenceRequest, context: Context) -> Reference:
        """See the contract."""
        name = parse_version(request.resource, "resource")
        checks.check_holder(request.holder, request.title)
        return convert.reference_message(await self._catalog.acquire(name, request.holder, request.title))

    async def ReleaseReference(self, request: ReleaseReferenceRequest, context: Context) -> Empty:
        """See the contract."""
        name = parse_version(request.resource, "resource")
        checks.check_holder(request.holder)
        await self._catalog.release(name, request.holder)
        return Empty()


def _terminal(version: Version) -> bool:
    return version.state is not State.BUILDING
