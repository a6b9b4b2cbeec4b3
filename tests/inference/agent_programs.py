"""The agent as the program that runs beside a Triton server, and deployments for it to load."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from bloomery.inference.v1 import ListModelVersionsRequest, ModelVersion
from bloomery_inference.serving.model import Deployment, Replica
from bloomery_inference.store import deployments, models, replicas
from bloomery_inference.store.tables import DEPLOYMENTS
from bloomery_kit.names import new_uid
from real_parts.process import leashed
from real_parts.triton import TritonServer
from tests.inference.conftest import TOKEN, Service
from tests.inference.samples import trained, with_facts, with_variant

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Agent:
    """An agent beside a Triton server, which can be killed and started again."""

    target: str
    triton: TritonServer
    log: Path
    id: str = "first"
    settings: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, *program: str) -> None:
        """Start it, or another program in its place."""
        environment = {
            **os.environ,
            "BLOOMERY_INFERENCE_TARGET": self.target,
            "BLOOMERY_TOKEN": TOKEN,
            "BLOOMERY_TRITON_TARGET": self.triton.grpc_url,
            "BLOOMERY_REPOSITORY": str(self.triton.repository),
            "BLOOMERY_REPLICA_ID": self.id,
            "BLOOMERY_ENDPOINT": self.triton.grpc_url,
            "BLOOMERY_BIND": "127.0.0.1",
            "BLOOMERY_PORT": "0",
            "BLOOMERY_RETRY": "0.1",
            "PYTHONPATH": str(ROOT),
            **self.settings,
        }
        command = [sys.executable, *(program or ("-m", "bloomery_inference.agent"))]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                leashed(command, stop=signal.SIGKILL),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait(self, seconds: float = 120.0) -> int:
        """Wait until it has ended; its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid


async def ready_variant(service: Service, directory: Path, *, model: str = "pets") -> ModelVersion:
    """Record a version of a model whose variant has these files."""
    item = with_facts(trained(len(service.trainer.feed) + 1, model=model))
    service.trainer.feed.append(await with_variant(item, service.objects, directory))
    async with asyncio.timeout(120):
        while True:
            request = ListModelVersionsRequest(parent=f"projects/pets/models/{model}")
            versions = (await service.models.ListModelVersions(request)).model_versions
            if len(versions) == 1:
                return versions[0]
            await asyncio.sleep(0.02)


async def plan(service: Service, runtime: str, *versions: ModelVersion) -> int:
    """Let the plan of a runtime be the variants of these versions; its generation."""
    now = datetime.now(UTC)
    async with service.app._db.write() as tx:
        await tx.execute(sa.delete(DEPLOYMENTS).where(DEPLOYMENTS.c.runtime == runtime))
        for number, version in enumerate(versions):
            model = await models.get_model(tx, "pets", version.name.split("/")[3])
            assert model is not None
            deployment = Deployment(
                uid=new_uid(), project="pets", id=f"{runtime}-{number}", model_uid=model.uid, model=model.id,
                runtime=runtime, alias="", target=version.name, variant="", labels={}, traffic=100, shadow=False,
                paused=False, serving=version.variants[0].uid, candidate="", previous="", drained=None, generation=1,
                observed=0, sequence=1, failure="", updater="", create_time=now, update_time=now, revision=1,
            )  # fmt: skip
            assert await deployments.create(tx, deployment)
        await deployments.change_plan(tx, runtime)
        return await deployments.plan_generation(tx, runtime)


async def reported(
    service: Service, runtime: str, holds: Callable[[Sequence[Replica]], bool], *, seconds: float = 120.0
) -> Sequence[Replica]:
    """What the replicas of a runtime have told once that holds."""
    async with asyncio.timeout(seconds):
        while True:
            async with service.app._db.read() as tx:
                found = await replicas.of_runtime(tx, runtime, 60.0)
            if holds(found):
                return found
            await asyncio.sleep(0.05)
