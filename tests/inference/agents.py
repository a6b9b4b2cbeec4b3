"""What tests of replicas need: an object store behind signed URLs, and models that are planned from it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from pydantic import SecretStr

from bloomery_gateway.app import GatewayApp
from bloomery_gateway.settings import GatewaySettings
from bloomery_inference.agent.loader import StagedModels
from bloomery_inference.agent.model import Plan, PlannedFile, PlannedModel
from bloomery_inference.agent.replica import Replica
from bloomery_inference.agent.staging import Staging
from bloomery_inference.model import InputSpec
from bloomery_inference.runtime import ModelRuntime
from bloomery_inference.serving.model import LoadedModel, LoadState
from bloomery_kit.objects import FolderObjectStore
from bloomery_kit.settings import FolderStoreSettings
from real_parts.process import free_port
from tests.inference.models import one_box, write_model
from tests.inference.samples import files_in

KEY = "k" * 32
SIDE = 32
CLASSES = ("cat", "dog")


@dataclass
class Blobs:
    """An object store in a folder, whose gateway can be away."""

    root: Path
    port: int = field(default_factory=free_port)
    _gateway: GatewayApp | None = None

    def __post_init__(self) -> None:
        self.settings = FolderStoreSettings(
            root=self.root, base_url=f"http://127.0.0.1:{self.port}", signing_key=SecretStr(KEY)
        )
        self.objects = FolderObjectStore(self.root, base_url=self.settings.base_url, signing_key=KEY.encode())

    async def start(self) -> None:
        settings = GatewaySettings(object_store=self.settings, bind="127.0.0.1", http_port=self.port)
        self._gateway = await GatewayApp.open(settings, draining=asyncio.Event())
        await self._gateway.start()

    async def stop(self) -> None:
        if self._gateway is not None:
            await self._gateway.close()
            self._gateway = None

    async def planned(self, directory: Path) -> PlannedModel:
        """A model of a directory, whose files lie in the store."""
        uid, files = uuid4().hex, []
        for path in await asyncio.to_thread(files_in, directory):
            name = path.relative_to(directory).as_posix()
            key = f"models/{uid}/{name}"
            await self.objects.put(key, path.read_bytes())
            digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
            url = await self.objects.sign_get(key, expires=timedelta(hours=1))
            files.append(PlannedFile(name, digest, path.stat().st_size, url, {}))
        title = f"projects/pets/models/pets/versions/1/variants/{uid[:4]}"
        return PlannedModel(uid, title, tuple(files), CLASSES, InputSpec(SIDE, SIDE, "letterbox"), "yolo")

    async def damage(self, model: PlannedModel, content: bytes) -> None:
        """Let the store give other bytes for a model than those that were planned."""
        await self.objects.put(f"models/{model.uid}/1/model.onnx", content)

    async def lose(self, model: PlannedModel) -> None:
        """Delete a model's objects."""
        for file in model.files:
            await self.objects.delete(f"models/{model.uid}/{file.file_name}")


def good_model(folder: Path) -> Path:
    """The directory of a model that loads and sees a dog."""
    directory = write_model(folder / uuid4().hex, one_box(16, 16, 8, 4, [0.1, 0.9]), side=SIDE)
    with (directory / "config.pbtxt").open("a") as config:
        config.write("instance_group [{ kind: KIND_CPU count: 1 }]")
    return directory


def other_model(folder: Path, content: bytes) -> Path:
    """The directory of a model whose file holds other bytes than one."""
    directory = good_model(folder)
    (directory / "1" / "model.onnx").write_bytes(content)
    return directory


@dataclass
class Clock:
    """A steady clock that goes on as told."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    """A replica with its runtime, its folder and its store."""

    blobs: Blobs
    runtime: ModelRuntime
    staged: Path
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.staged.mkdir(exist_ok=True)
        self.staging = Staging(self.staged)
        self.replica = Replica(StagedModels(self.runtime, self.staging), look=1.0, probe=10.0, clock=self.clock)

    async def apply(self, generation: int, *models: PlannedModel) -> dict[str, LoadedModel]:
        """Let the replica do what it can now for a plan; what it says of its models."""
        self.replica.want(Plan(generation, models))
        return await self.work()

    async def work(self) -> dict[str, LoadedModel]:
        await self.replica.work()
        return self.told()

    def told(self) -> dict[str, LoadedModel]:
        return {model.uid: model for model in self.replica.report().models}

    def states(self) -> dict[str, LoadState]:
        return {uid: model.state for uid, model in self.told().items()}

    def folders(self) -> set[str]:
        """What lies on the disk for the replica."""
        return {path.name for path in self.staged.iterdir()}

    async def close(self) -> None:
        for uid in await self.runtime.loaded():
            await self.runtime.unload(uid)
        await self.runtime.close()
        await self.staging.close()


@asynccontextmanager
async def running_site(folder: Path, runtime: ModelRuntime, staged: Path | None = None) -> AsyncIterator[Site]:
    blobs = await asyncio.to_thread(Blobs, folder / "blobs")
    await blobs.start()
    site = Site(blobs, runtime, staged or folder / "staged")
    try:
        yield site
    finally:
        await site.close()
        await blobs.stop()


def with_digest(model: PlannedModel, digest: str) -> PlannedModel:
    """The same model, planned with another digest of its network."""
    files = (replace(file, digest=digest) if file.file_name.endswith(".onnx") else file for file in model.files)
    return replace(model, files=tuple(files))
