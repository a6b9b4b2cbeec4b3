"""A real server with the service on it, and what a client does to put files into a project."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from PIL import Image
from pydantic import SecretStr

from bloomery.annotation.v1 import (
    AnnotationServiceStub,
    AnnotationSet,
    Asset,
    BatchCreateAssetsRequest,
    BlobContent,
    CreateImportRequest,
    CreateLabelRequest,
    CreateProjectRequest,
    Import,
    ImportFile,
    Project,
    UpdateAnnotationSetRequest,
    UploadBlobsRequest,
    WatchImportRequest,
)
from bloomery.vision.v1 import Box, Shape
from bloomery_annotation.app import AnnotationApp
from bloomery_annotation.contents import Contents
from bloomery_annotation.settings import AnnotationSettings
from bloomery_kit.auth import OwnerToken, Principal, Role, service_token
from bloomery_kit.clients import channel
from bloomery_kit.errors import NotFound
from bloomery_kit.objects import ObjectStore, open_object_store
from bloomery_kit.server import ServerOptions, ServiceHost
from bloomery_kit.settings import FolderStoreSettings, S3StoreSettings
from real_parts.minio import MinioServer

OWNER = "owner-token"
AS_SERVICE = (("authorization", f"Bearer {service_token(OWNER)}"),)
"""Metadata of a call that another service makes."""
STUB = AnnotationServiceStub


class Tokens:
    """The owner, and people who are known by the token `role:name`."""

    def __init__(self) -> None:
        self._owner = OwnerToken(OWNER)

    async def authenticate(self, token: str) -> Principal:
        role, colon, name = token.partition(":")
        return Principal(name, Role[role]) if colon else await self._owner.authenticate(token)

    again = authenticate


@dataclass
class Server:
    """A replica of the service, a client of the owner, and the store behind it."""

    app: AnnotationApp
    host: ServiceHost
    stub: Any
    objects: ObjectStore
    address: str

    async def project(self, project_id: str = "p") -> Project:
        project: Project = await self.stub.CreateProject(CreateProjectRequest(project_id=project_id))
        return project

    async def label(self, label_id: str, parent: str = "projects/p") -> None:
        await self.stub.CreateLabel(CreateLabelRequest(parent=parent, label_id=label_id))

    async def upload(self, contents: Sequence[bytes], project: Project) -> list[str]:
        """Send small blobs as a client does, many with a call; return their digests."""
        blobs = [BlobContent(digest=digest_of(content), content=content) for content in contents]
        for some in bundles(blobs):
            done = await self.stub.UploadBlobs(UploadBlobsRequest(parent=project.name, blobs=some))
            assert all(result.status.code == 0 for result in done.results), done
        return [blob.digest for blob in blobs]

    async def has_bytes(self, project: Project, content: bytes) -> bool:
        """Whether these bytes are kept, in the database or in the object store."""
        with suppress(NotFound):
            found = await Contents(self.app._db, self.objects).get_all(project.uid, [digest_of(content)])
            assert found == {digest_of(content): content}
            return True
        return False

    async def assets(self, project: Project, contents: Sequence[bytes], **fields: Any) -> list[Asset]:
        """Upload images and make assets of them."""
        digests = await self.upload(contents, project)
        wanted = [Asset(digest=digest, **fields) for digest in digests]
        answer = await self.stub.BatchCreateAssets(BatchCreateAssetsRequest(parent=project.name, assets=wanted))
        assert all(result.status.code == 0 for result in answer.results), answer
        return [result.asset for result in answer.results]

    async def start_import(self, project: Project, files: Mapping[str, bytes], **fields: Any) -> Import:
        """Upload a folder's files and begin to import them."""
        digests = await self.upload(list(files.values()), project)
        listed = [ImportFile(path=path, digest=digest) for path, digest in zip(files, digests, strict=True)]
        wanted = Import(files=listed, **fields)
        request = CreateImportRequest(parent=project.name, **{"import": wanted})  # type: ignore[arg-type]
        started: Import = await self.stub.CreateImport(request)
        return started

    async def finish(self, name: str) -> Import:
        """The end of an import."""
        last = Import()
        while last.state not in (Import.STATE_SUCCEEDED, Import.STATE_FAILED, Import.STATE_CANCELLED):
            async for state in self.stub.WatchImport(WatchImportRequest(name=name)):
                last = state
        return last

    async def run_import(self, project: Project, files: Mapping[str, bytes], **fields: Any) -> Import:
        """Import a folder's files."""
        return await self.finish((await self.start_import(project, files, **fields)).name)

    async def save(
        self, asset: Asset, shapes: Sequence[Shape], *, set_id: str = "main", etag: str = ""
    ) -> AnnotationSet:
        """Save shapes on an asset."""
        wanted = AnnotationSet(name=f"{asset.name}/annotationSets/{set_id}", shapes=shapes, etag=etag)
        request = UpdateAnnotationSetRequest(annotation_set=wanted, allow_missing=True)
        saved: AnnotationSet = await self.stub.UpdateAnnotationSet(request)
        return saved

    @asynccontextmanager
    async def as_user(self, token: str) -> AsyncIterator[Any]:
        """A client of somebody else."""
        async with channel(self.address, token=token) as other:
            yield STUB(other)


@asynccontextmanager
async def serving(settings: AnnotationSettings) -> AsyncIterator[Server]:
    """A replica on a free port."""
    draining = asyncio.Event()
    host = ServiceHost(ServerOptions(drain_wait=0), authenticator=Tokens(), draining=draining)
    app = await AnnotationApp.open(settings, draining=draining)
    app.register(host)
    await app.start()
    address = f"127.0.0.1:{await host.start()}"
    try:
        async with channel(address, token=OWNER) as owner:
            yield Server(app, host, STUB(owner), open_object_store(settings.object_store), address)
    finally:
        await host.drain(0)
        await app.close()


def settings_for(database_url: str, store: FolderStoreSettings | S3StoreSettings, **fields: Any) -> AnnotationSettings:
    """Settings with short times."""
    defaults: dict[str, Any] = {"import_lease_seconds": 60.0, "import_poll_seconds": 0.2, "reserved_bytes": 0}
    return AnnotationSettings(
        database_url=database_url, object_store=store, token=SecretStr(OWNER), **{**defaults, **fields}
    )


def folder_store(root: Path) -> FolderStoreSettings:
    """A store in a folder, whose URLs nobody serves."""
    return FolderStoreSettings(root=root, base_url="http://127.0.0.1:1", signing_key=SecretStr("k" * 32))


def bucket_store(minio: MinioServer, bucket: str) -> S3StoreSettings:
    """A store in a bucket of a running MinIO."""
    endpoint = f"http://{minio.endpoint}"
    return S3StoreSettings(
        endpoint=endpoint,
        public_endpoint=endpoint,
        bucket=bucket,
        access_key=SecretStr(minio.access_key),
        secret_key=SecretStr(minio.secret_key),
    )


def bundles(blobs: Sequence[BlobContent], size: int = 50) -> list[Sequence[BlobContent]]:
    return [blobs[start : start + size] for start in range(0, len(blobs), size)]


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def png(seed: int = 0, size: tuple[int, int] = (64, 48)) -> bytes:
    """A small image that differs with the seed."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (seed % 256, seed // 256 % 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def box(label: str, x: float = 1, y: float = 2, width: float = 10, height: float = 8) -> Shape:
    return Shape(label=label, box=Box(x=x, y=y, width=width, height=height))


def folder_files(root: Path) -> dict[str, bytes]:
    """A folder's files by relative path, hidden ones left out."""
    paths = (path for path in sorted(root.rglob("*")) if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


async def status_of(call: Any) -> status_pb2.Status:
    """The status of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    status: status_pb2.Status | None = rpc_status.from_call(failure.value)  # type: ignore[arg-type]
    assert status is not None, failure.value
    return status


def reason_of(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


def fields_of(status: status_pb2.Status) -> list[str]:
    """The dotted paths of all violations."""
    bad = error_details_pb2.BadRequest()
    found = next(detail for detail in status.details if detail.Is(bad.DESCRIPTOR))
    found.Unpack(bad)
    return [violation.field for violation in bad.field_violations]
