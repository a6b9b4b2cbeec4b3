"""Tools of the tests that move everything by hand: the reconciler's passes, the clock, and what workers say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import (
    ArtifactUpload,
    AttemptSuccess,
    CheckpointSaved,
    CompleteArtifactUploadsRequest,
    CompleteArtifactUploadsResponse,
    FinishAttemptRequest,
    Job,
    JobEvent,
    JobState,
    LogLine,
    MetricsReported,
    ModelFacts,
    ModelInput,
    PrepareArtifactUploadsRequest,
    ReportProgressRequest,
    ReportProgressResponse,
    StartAttemptRequest,
    StartAttemptResponse,
)
from bloomery.vision.v1 import TASK_TYPE_DETECT
from bloomery_kit.times import utc_now
from bloomery_trainer.core import Core
from bloomery_trainer.housekeeping import Housekeeping
from bloomery_trainer.leadership import Leadership
from bloomery_trainer.reconcile import Reconciler
from bloomery_trainer.settings import Policy
from tests.trainer.bench import Trainer, World, running_trainer
from tests.trainer.fake_launcher import FakeLauncher

if TYPE_CHECKING:
    from bloomery.training.v1.worker_service_pb2_grpc import WorkerServiceAsyncStub

POLICY = Policy()
_LOOK_SECONDS = 30.0


@dataclass
class Clock:
    """A clock that only the test moves, and a system clock that it may shift."""

    seconds: float = 1000.0
    shift: timedelta = field(default_factory=timedelta)

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return utc_now() + timedelta(seconds=self.seconds - 1000.0) + self.shift


@dataclass
class FakeWorker:
    """Says to the trainer whatever a test wants a worker to say."""

    stub: WorkerServiceAsyncStub
    start: StartAttemptResponse
    sequence: int = 0

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.start.secret}"),)

    async def report(
        self, *events: JobEvent, phase: str = "training", first: int | None = None, stalled: bool = False
    ) -> ReportProgressResponse:
        first = self.sequence + 1 if first is None else first
        request = ReportProgressRequest(first_sequence=first, events=events, phase=phase, stalled=stalled)
        reply = await self.stub.ReportProgress(request, metadata=self.metadata)
        self.sequence = max(self.sequence, reply.acknowledged_sequence)
        return reply

    async def upload(self, core: Core, role: str, content: bytes) -> Artifact:
        """Put bytes where the signed URL would, and complete them."""
        artifact = artifact_of(role, content)
        if key := await self.target(artifact):
            await core.objects.put(key, content)
        return (await self.complete(artifact)).results[0].artifact

    async def target(self, artifact: Artifact) -> str:
        """Where the signed URL puts it; nowhere if it is kept already."""
        request = PrepareArtifactUploadsRequest(uploads=[ArtifactUpload(artifact=artifact)])
        target = (await self.stub.PrepareArtifactUploads(request, metadata=self.metadata)).targets[0]
        return "" if target.present else key_of(target.put.url)

    async def complete(self, *artifacts: Artifact) -> CompleteArtifactUploadsResponse:
        uploads = [ArtifactUpload(artifact=artifact) for artifact in artifacts]
        request = CompleteArtifactUploadsRequest(uploads=uploads)
        return await self.stub.CompleteArtifactUploads(request, metadata=self.metadata)

    async def checkpoint(self, core: Core, epoch: int, *, best: bool = False) -> CheckpointSaved:
        """Upload a whole checkpoint and announce it."""
        content = f"weights {epoch} of {self.start.attempt}".encode()
        file = await self.upload(core, f"checkpoint/{epoch}/weights.pt", content)
        entry = {"path": "weights.pt", "digest": file.digest, "size_bytes": file.size_bytes}
        manifest = json.dumps({"format": 1, "epoch": epoch, "files": [entry]}).encode()
        kept = await self.upload(core, f"checkpoint-manifest/{epoch}", manifest)
        saved = CheckpointSaved(epoch=epoch, logical_key=kept.logical_key, size_bytes=file.size_bytes, best=best)
        await self.report(JobEvent(checkpoint=saved))
        return saved

    async def success(self, core: Core) -> AttemptSuccess:
        artifact = await self.upload(core, "checkpoint", b"best weights")
        return AttemptSuccess(
            artifacts=[artifact], metrics={"test/map50": 0.9}, versions={"torch": "2"}, model=model_facts()
        )

    async def finish(self, **end: Any) -> JobState.ValueType:
        return (await self.stub.FinishAttempt(FinishAttemptRequest(**end), metadata=self.metadata)).state


@dataclass
class Hand:
    """A trainer in which nothing moves by itself."""

    trainer: Trainer
    launcher: FakeLauncher
    clock: Clock
    leadership: Leadership
    reconciler: Reconciler
    housekeeping: Housekeeping

    @property
    def core(self) -> Core:
        return self.trainer.app.core

    def follow_clock(self) -> None:
        """Make the test's clock the system clock of everything here."""
        object.__setattr__(self.core, "clock", self.clock.now)

    async def run_pass(self) -> None:
        """What the leader's loops do at each turn."""
        await self.reconcile(1)
        assert self.leadership.lease is not None
        await self.housekeeping.run(self.leadership.lease)

    async def reconcile(self, passes: int) -> None:
        """Passes of the reconciler alone."""
        for _ in range(passes):
            assert self.leadership.lease is not None
            await self.reconciler.run_pass(self.leadership.lease)

    async def settle(self, passes: int = 4) -> None:
        """Reconcile until nothing is left to do."""
        for _ in range(passes):
            await self.run_pass()

    async def bury(self, passes: int = 1) -> None:
        """Tidy up, and again when nothing can be claimed any more for the jobs that were deleted."""
        self.follow_clock()
        await self.settle(passes)
        self.clock.shift += timedelta(hours=2)
        await self.settle(passes)

    async def after(self, seconds: float) -> None:
        """Let time pass, and reconcile now and then, at last at its end."""
        while seconds > _LOOK_SECONDS:
            seconds -= _LOOK_SECONDS
            await self.unseen(_LOOK_SECONDS)
        await self.unseen(seconds)

    async def unseen(self, seconds: float) -> None:
        """Let time pass in which nobody looks, then reconcile once."""
        self.clock.seconds += seconds
        await self.run_pass()

    async def queued(self, **fields: Any) -> Job:
        """A job whose first attempt is launched, not yet seen running."""
        job = await self.trainer.create(**fields)
        await self.run_pass()
        return await self.trainer.get(job.name)

    async def worker(self, worker_id: str = "w1", incarnation: str = "") -> FakeWorker:
        """The worker of the last launched attempt."""
        token = self.launcher.orders[-1].secrets["BLOOMERY_ATTEMPT_TOKEN"]
        request = StartAttemptRequest(token=token, worker_id=worker_id, host="here", incarnation=incarnation)
        started = await self.trainer.workers.StartAttempt(request)
        return FakeWorker(self.trainer.workers, started)

    async def running(self, **fields: Any) -> tuple[Job, FakeWorker]:
        """A job at work, with its worker."""
        job = await self.queued(**fields)
        worker = await self.worker()
        await worker.report(log("begin"))
        await self.run_pass()
        return await self.trainer.get(job.name), worker


@asynccontextmanager
async def by_hand(world: World, *, launcher: FakeLauncher | None = None, **settings: Any) -> AsyncIterator[Hand]:
    """A trainer that leads, whose passes the test makes."""
    clock, fake = Clock(), launcher or FakeLauncher()
    async with running_trainer(world, launcher=fake, reconcile=False, **{"policy": POLICY} | settings) as trainer:
        core = trainer.app.core
        leadership = Leadership(core)
        await leadership.campaign()
        reconciler = Reconciler(core, clock=clock.monotonic)
        yield Hand(trainer, fake, clock, leadership, reconciler, Housekeeping(core))


def model_facts() -> ModelFacts:
    return ModelFacts(
        task=TASK_TYPE_DETECT,
        classes=["rbc", "wbc"],
        input=ModelInput(height=64, width=64, resize="letterbox"),
        decoder="yolo",
        license="Apache-2.0",
        base="small.pt",
    )


def log(text: str, level: LogLine.Level.ValueType = LogLine.LEVEL_INFO) -> JobEvent:
    return JobEvent(log=LogLine(level=level, source="trainer", message=text))


def metrics(epoch: int, *, step: int = 0, epoch_end: bool = False, at: float = 0.0, **values: float) -> JobEvent:
    event = JobEvent(metrics=MetricsReported(epoch=epoch, step=step, epoch_end=epoch_end, values=values))
    event.time.FromMilliseconds(round((1_700_000_000 + at) * 1000))
    return event


def artifact_of(role: str, content: bytes) -> Artifact:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Artifact(role=role, digest=digest, size_bytes=len(content), file_name=role.rpartition("/")[2])


def key_of(url: str) -> str:
    """The object key in a signed URL."""
    return url.partition("/blobs/")[2].partition("?")[0]
