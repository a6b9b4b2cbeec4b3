"""A trainer service over a real socket, with an object store over real HTTP, both of which can be told to misbehave."""

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from bloomery.common.v1 import Artifact, SignedRequest, UploadPart
from bloomery.training.v1 import (
    DIRECTIVE_CONTINUE,
    ArtifactTarget,
    CheckpointFile,
    CompleteArtifactUploadsRequest,
    CompleteArtifactUploadsResponse,
    CompletedArtifact,
    Directive,
    FinishAttemptRequest,
    FinishAttemptResponse,
    Job,
    JobEvent,
    JobImage,
    PrepareArtifactUploadsRequest,
    PrepareArtifactUploadsResponse,
    ReadImagesRequest,
    ReadImagesResponse,
    Recipe,
    ReportProgressRequest,
    ReportProgressResponse,
    SignedInput,
    SignInputsRequest,
    SignInputsResponse,
    StartAttemptRequest,
    StartAttemptResponse,
    SuggestShapesRequest,
    SuggestShapesResponse,
    WorkerServiceServicer,
    add_WorkerServiceServicer_to_server,
)

TOKEN = "t0ken"
SECRET = "s3cret"
Call: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Blobs:
    """Keys and bytes behind HTTP. `broken` is how many of the next requests fail."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.broken = 0
        self.corrupt: set[str] = set()
        self.served: list[str] = []
        self.taken: list[str] = []

    def start(self) -> None:
        handler = type("Handler", (_Handler,), {"blobs": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def damaged(self, key: str, content: bytes) -> bytes:
        """The bytes, others where the key is corrupt."""
        return content[:-1] + b"?" if key in self.corrupt else content

    def sign(self, key: str) -> SignedRequest:
        return SignedRequest(url=f"http://127.0.0.1:{self._server.server_port}/{key}")


class _Handler(BaseHTTPRequestHandler):
    blobs: Blobs

    def do_GET(self) -> None:
        key = self.path[1:]
        self.blobs.served.append(key)
        if self._fails():
            return
        content = self.blobs.content[key]
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(self.blobs.damaged(key, content))

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        if self._fails():
            return
        self.blobs.content[self.path[1:]] = self.blobs.damaged(self.path[1:], content)
        self.blobs.taken.append(self.path[1:])
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def _fails(self) -> bool:
        if self.blobs.broken <= 0:
            return False
        self.blobs.broken -= 1
        self.send_response(503)
        self.send_header("content-length", "0")
        self.end_headers()
        return True

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass
class FakeTrainer(WorkerServiceServicer):
    """Keeps what it is told, by the rules of the contract.

    `away`: every call is UNAVAILABLE. `lose_replies`: so many of the next reports are stored, but their reply is lost.
    `superseded`: every call is ABORTED. `directive` and `force` go into each reply. Larger files than `part_bytes`
    come in parts of it.
    """

    job: Job
    recipe: Recipe
    manifest: Artifact | None
    classes: tuple[str, ...]
    blobs: Blobs = field(default_factory=Blobs)
    base: Artifact | None = None
    resume_from: Mapping[str, Artifact] = field(default_factory=dict)
    resume_epoch: int = 0
    interval: float = 0.1
    away: bool = False
    superseded: bool = False
    lose_replies: int = 0
    part_bytes: int = 1 << 40
    directive: Directive.ValueType = DIRECTIVE_CONTINUE
    force: bool = False
    events: list[JobEvent] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    stalled: list[bool] = field(default_factory=list)
    calls: int = 0
    kept: dict[str, Artifact] = field(default_factory=dict)
    finished: FinishAttemptRequest | None = None
    suggested: list[SuggestShapesRequest] = field(default_factory=list)
    unknown: frozenset[str] = frozenset()
    images: list[JobImage] = field(default_factory=list)
    target: str = ""
    incarnation: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def StartAttempt(self, request: StartAttemptRequest, context: Call) -> StartAttemptResponse:
        await self._misbehave(context)
        self.incarnation = request.incarnation
        if request.token != TOKEN:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown token")
        answer = StartAttemptResponse(
            secret=SECRET,
            job=self.job,
            recipe=self.recipe,
            attempt=1,
            resume_from=[CheckpointFile(path=path, input=self.signed(file)) for path, file in self.resume_from.items()],
            resume_epoch=self.resume_epoch,
            report_interval_seconds=self.interval,
            classes=self.classes,
        )
        answer.variant.extend(self.signed(file) for file in self.job.variant_artifacts)
        answer.archives.extend(self.signed(file) for file in self.job.folder_images.archives)
        for name, artifact in (("manifest", self.manifest), ("base", self.base)):
            if artifact is not None:
                getattr(answer, name).CopyFrom(self.signed(artifact))
        return answer

    async def ReadImages(self, request: ReadImagesRequest, context: Call) -> ReadImagesResponse:
        """A page of `images`, of which there are five with a call."""
        await self._misbehave(context)
        start = int(request.after or 0)
        more = start + 5 < len(self.images)
        return ReadImagesResponse(images=self.images[start : start + 5], after=str(start + 5) if more else "")

    async def SuggestShapes(self, request: SuggestShapesRequest, context: Call) -> SuggestShapesResponse:
        """`unknown` are digests of images that the project has not."""
        await self._misbehave(context)
        self.suggested.append(request)
        missing = Status(code=5, message="not there")
        missing.details.add().Pack(ErrorInfo(reason="NOT_FOUND"))
        results = [missing if image.digest in self.unknown else Status() for image in request.images]
        kept = [image for image in request.images if image.digest not in self.unknown]
        count = sum(len(image.shapes) for image in kept)
        return SuggestShapesResponse(results=results, shape_count=count, annotation_set="d-1")

    async def ReportProgress(self, request: ReportProgressRequest, context: Call) -> ReportProgressResponse:
        await self._misbehave(context)
        assert request.first_sequence <= len(self.events) + 1, "a gap in the worker's sequence"
        self.events.extend(request.events[len(self.events) + 1 - request.first_sequence :])
        self.stalled.append(request.stalled)
        if not self.phases or self.phases[-1] != request.phase:
            self.phases.append(request.phase)
        self.changed.set()
        if self.lose_replies:
            self.lose_replies -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the reply is lost")
        return ReportProgressResponse(
            acknowledged_sequence=len(self.events),
            directive=self.directive,
            next_interval_seconds=self.interval,
            force=self.force,
        )

    async def SignInputs(self, request: SignInputsRequest, context: Call) -> SignInputsResponse:
        await self._misbehave(context)
        return SignInputsResponse(gets=[self.blobs.sign(key) for key in request.logical_keys])

    async def PrepareArtifactUploads(
        self, request: PrepareArtifactUploadsRequest, context: Call
    ) -> PrepareArtifactUploadsResponse:
        await self._misbehave(context)
        return PrepareArtifactUploadsResponse(
            targets=[self._target(upload.artifact, in_parts=request.in_parts) for upload in request.uploads]
        )

    def _target(self, artifact: Artifact, *, in_parts: bool) -> ArtifactTarget:
        role, size, step = artifact.role, artifact.size_bytes, self.part_bytes
        if not (in_parts and size > step):
            return ArtifactTarget(role=role, put=self.blobs.sign(_key(role)))
        left = [offset for offset in range(0, size, step) if _key(role, offset) not in self.blobs.content]
        parts = [
            UploadPart(offset=offset, size_bytes=min(step, size - offset), put=self.blobs.sign(_key(role, offset)))
            for offset in left
        ]
        return ArtifactTarget(role=role, parts=parts)

    async def CompleteArtifactUploads(
        self, request: CompleteArtifactUploadsRequest, context: Call
    ) -> CompleteArtifactUploadsResponse:
        await self._misbehave(context)
        return CompleteArtifactUploadsResponse(results=[self._complete(one.artifact) for one in request.uploads])

    async def FinishAttempt(self, request: FinishAttemptRequest, context: Call) -> FinishAttemptResponse:
        await self._misbehave(context)
        for artifact in request.success.artifacts:
            assert self.kept[artifact.role].digest == artifact.digest
        self.finished = request
        self.changed.set()
        return FinishAttemptResponse()

    def signed(self, artifact: Artifact) -> SignedInput:
        return SignedInput(artifact=artifact, get=self.blobs.sign(artifact.logical_key))

    def content(self, role: str) -> bytes:
        """The bytes of an uploaded artifact."""
        return self.blobs.content[self.kept[role].logical_key]

    def successor(self, epoch: int) -> "FakeTrainer":
        """The service at the next attempt, which goes on from a checkpoint that this one was given."""
        files = json.loads(self.content(f"checkpoint-manifest/{epoch}"))["files"]
        following = FakeTrainer(self.job, self.recipe, self.manifest, self.classes, resume_epoch=epoch)
        following.blobs.content.update(self.blobs.content)
        following.resume_from = {file["path"]: self.kept[f"checkpoint/{epoch}/{file['path']}"] for file in files}
        return following

    def take_checkpoint(self, epoch: int, folder: Path) -> None:
        """Takes a checkpoint as if the worker had uploaded it: the last one may be overtaken by the result."""
        files = {f"checkpoint/{epoch}/{path.name}": path.read_bytes() for path in folder.iterdir()}
        listed = [{"path": role.rpartition("/")[2]} for role in files]
        files[f"checkpoint-manifest/{epoch}"] = json.dumps({"files": listed}).encode()
        for role, content in files.items():
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            self.blobs.content[_key(role)] = content
            self.kept[role] = Artifact(
                role=role, digest=digest, size_bytes=len(content), logical_key=_key(role), file_name=role
            )

    async def until(self, seen: "Callable[[FakeTrainer], bool]", *, seconds: float = 120.0) -> None:
        """Waits until `seen` says yes."""
        async with asyncio.timeout(seconds):
            while not seen(self):
                await self.changed.wait()
                self.changed.clear()

    def of_kind(self, kind: str) -> list[JobEvent]:
        return [event for event in self.events if event.WhichOneof("event") == kind]

    def _complete(self, artifact: Artifact) -> CompletedArtifact:
        parts = [_key(artifact.role, offset) for offset in range(0, artifact.size_bytes, self.part_bytes)]
        if artifact.size_bytes > self.part_bytes and self.blobs.content.keys() >= set(parts):
            self.blobs.content[_key(artifact.role)] = b"".join(self.blobs.content.pop(part) for part in parts)
        content = self.blobs.content.get(_key(artifact.role), b"")
        result = CompletedArtifact(artifact=artifact)
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != artifact.digest:
            result.status.code = grpc.StatusCode.NOT_FOUND.value[0]
            result.status.message = "not there"
            return result
        result.artifact.logical_key = _key(artifact.role)
        self.kept[artifact.role] = result.artifact
        return result

    async def _misbehave(self, context: Call) -> None:
        self.calls += 1
        self.changed.set()
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        if self.superseded:
            await context.abort(grpc.StatusCode.ABORTED, "superseded")


def _key(role: str, offset: int | None = None) -> str:
    return f"p0/jobs/j0/1/{role}" if offset is None else f"p0/jobs/j0/1/staging/{role}.{offset}"


@asynccontextmanager
async def serving(trainer: FakeTrainer, blobs: Mapping[str, bytes]) -> AsyncIterator[FakeTrainer]:
    """Runs a trainer with these objects in its store."""
    trainer.blobs.content.update(blobs)
    server = grpc.aio.server()
    add_WorkerServiceServicer_to_server(trainer, server)
    trainer.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    trainer.blobs.start()
    await server.start()
    try:
        yield trainer
    finally:
        await server.stop(grace=0)
        trainer.blobs.stop()
