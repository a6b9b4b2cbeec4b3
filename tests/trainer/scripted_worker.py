"""A worker without torch that speaks the real protocol and does what the job's `script` parameter says."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
from google.protobuf import json_format

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import (
    DIRECTIVE_CANCEL,
    DIRECTIVE_PAUSE,
    ArtifactUpload,
    AttemptFailure,
    AttemptStopped,
    AttemptSuccess,
    CheckpointSaved,
    CompleteArtifactUploadsRequest,
    FinishAttemptRequest,
    JobEvent,
    LogLine,
    MetricsReported,
    ModelFacts,
    ModelInput,
    PrepareArtifactUploadsRequest,
    Reason,
    ReportProgressRequest,
    StartAttemptRequest,
    WorkerServiceStub,
)
from bloomery.vision.v1 import TASK_TYPE_DETECT

# As the worker's own.
OPTIONS = (("grpc.max_reconnect_backoff_ms", 5_000), ("grpc.dns_min_time_between_resolutions_ms", 1_000))
_TRIES = 100
OUTLIVER = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.setsid(); time.sleep(600)"


class Told(Exception):  # noqa: N818
    """The service wants the worker to stop."""


class Worker:
    """One attempt."""

    def __init__(self) -> None:
        self.folder = Path(os.environ["BLOOMERY_WORK_DIR"])
        # Beside the folders of all jobs, or in a pod's own.
        shared = self.folder.parents[2] if len(self.folder.parents) > 2 else self.folder
        self.gate = shared / "gate"
        self.stub = WorkerServiceStub(self._channel(os.environ["BLOOMERY_TRAINER_TARGET"]))
        request = StartAttemptRequest(
            token=os.environ.pop("BLOOMERY_ATTEMPT_TOKEN"),
            worker_id=uuid4().hex,
            host="here",
            process_id=os.getpid(),
            incarnation=os.environ.get("BLOOMERY_INCARNATION", ""),
        )
        self.start = self._begin(request)
        self.metadata = (("authorization", f"Bearer {self.start.secret}"),)
        self.sequence = 0
        self.stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self.stop.set())

    def _channel(self, target: str) -> grpc.Channel:
        if authority := os.environ.get("BLOOMERY_TRAINER_CA"):
            return grpc.secure_channel(target, grpc.ssl_channel_credentials(Path(authority).read_bytes()), OPTIONS)
        return grpc.insecure_channel(target, OPTIONS)

    def _begin(self, request: StartAttemptRequest) -> Any:
        """Begin once the former worker of the attempt is known to be gone."""
        while True:
            try:
                return self.stub.StartAttempt(request, wait_for_ready=True, timeout=60)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                time.sleep(0.1)

    def call(self, method: Callable[..., Any], request: object) -> Any:
        """Call until the service is there again."""
        while True:
            try:
                return method(request, metadata=self.metadata, timeout=10)
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAUTHENTICATED):
                    self.leave(43)
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                time.sleep(0.1)

    def report(self, *events: JobEvent, phase: str = "training", obey: bool = True) -> None:
        request = ReportProgressRequest(first_sequence=self.sequence + 1, events=events, phase=phase)
        reply = self.call(self.stub.ReportProgress, request)
        self.sequence += len(events)
        if obey and (self.stop.is_set() or reply.directive in (DIRECTIVE_CANCEL, DIRECTIVE_PAUSE)):
            raise Told

    def upload(self, role: str, content: bytes) -> Artifact:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        artifact = Artifact(role=role, digest=digest, size_bytes=len(content), file_name=role.rpartition("/")[2])
        uploads = [ArtifactUpload(artifact=artifact)]
        for _ in range(_TRIES):
            prepared = self.call(self.stub.PrepareArtifactUploads, PrepareArtifactUploadsRequest(uploads=uploads))
            if not prepared.targets[0].present:
                put = urllib.request.Request(prepared.targets[0].put.url, data=content, method="PUT")
                # An object store that is away is waited for, as the real worker does.
                with suppress(OSError):
                    urllib.request.urlopen(put, timeout=30).close()
            done = self.call(self.stub.CompleteArtifactUploads, CompleteArtifactUploadsRequest(uploads=uploads))
            if not done.results[0].status.code:
                kept: Artifact = done.results[0].artifact
                return kept
            time.sleep(0.5)
        raise RuntimeError(f"the object store does not take {role}")

    def checkpoint(self, epoch: int) -> None:
        file = self.upload(f"checkpoint/{epoch}/weights.bin", f"weights {epoch}".encode() * 100)
        entry = {"path": "weights.bin", "digest": file.digest, "size_bytes": file.size_bytes}
        manifest = json.dumps({"format": 1, "epoch": epoch, "files": [entry]}).encode()
        kept = self.upload(f"checkpoint-manifest/{epoch}", manifest)
        saved = CheckpointSaved(epoch=epoch, logical_key=kept.logical_key, size_bytes=file.size_bytes, best=epoch == 1)
        self.report(JobEvent(checkpoint=saved), obey=False)

    def success(self) -> AttemptSuccess:
        artifacts = [self.upload("checkpoint", b"best"), self.upload("metrics", b"epoch,loss\n")]
        model = ModelFacts(
            task=TASK_TYPE_DETECT,
            classes=self.start.classes,
            input=ModelInput(height=64, width=64, resize="letterbox"),
            decoder="yolo",
            license="Apache-2.0",
            base="scratch",
        )
        metrics, versions = {"test/map50": 0.5}, {"python": sys.version}
        return AttemptSuccess(artifacts=artifacts, metrics=metrics, versions=versions, model=model)

    def finish(self, **end: Any) -> None:
        self.call(self.stub.FinishAttempt, FinishAttemptRequest(**end))

    def leave(self, code: int, *, finished: bool = False, reason: dict[str, object] | None = None) -> None:
        words = {"exit_code": code, "finished": finished, "reason": reason, "epoch": 0}
        Path(os.environ["BLOOMERY_TERMINATION_FILE"]).write_text(json.dumps(words))
        os._exit(code)


def train(worker: Worker, *, each: Callable[[int], None] = lambda _: None) -> None:
    parameters = json_format.MessageToDict(worker.start.job.effective_parameters)
    epochs, gate, pace = int(parameters["epochs"]), int(parameters["gate"]), float(parameters["pace"])
    worker.report(phase="downloading")
    line = LogLine(level=LogLine.LEVEL_INFO, source="trainer", message=f"start at {worker.start.resume_epoch}")
    worker.report(JobEvent(log=line))
    for epoch in range(worker.start.resume_epoch + 1, epochs + 1):
        time.sleep(pace)
        metrics = MetricsReported(epoch=epoch, step=epoch * 10, values={"train/loss": 1 / epoch}, epoch_end=True)
        event = JobEvent(metrics=metrics)
        event.time.GetCurrentTime()
        try:
            worker.report(event)
            while epoch == gate and not worker.gate.exists():
                worker.report()
                time.sleep(0.05)
        except Told:
            worker.checkpoint(epoch)
            worker.finish(stopped=AttemptStopped(epoch=epoch))
            worker.leave(44, finished=True)
        worker.checkpoint(epoch)
        each(epoch)
    worker.finish(success=worker.success())
    worker.leave(0, finished=True)


def crash_once(worker: Worker) -> None:
    def crash(epoch: int) -> None:
        if worker.start.attempt == 1 and epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    train(worker, each=crash)


def fail(worker: Worker) -> None:
    worker.report()
    reason = Reason(code="DATA_ERROR", message="three images are broken", hint="look at them")
    worker.finish(failure=AttemptFailure(reason=reason, log_tail="line one\nline two", exit_code=42))
    worker.leave(42, finished=True)


def give_up_offline(worker: Worker) -> None:
    worker.report()
    worker.leave(42, reason={"code": "OOM_GPU", "message": "too large", "hint": "batch=4 fits", "retriable": False})


def forget(worker: Worker) -> None:
    worker.report()
    worker.leave(0)


def leave_manifest(worker: Worker) -> None:
    worker.report()
    worker.upload("result-manifest", json_format.MessageToJson(worker.success()).encode())
    worker.leave(0)


def deaf(worker: Worker) -> None:
    """Ignores every request to stop, and has a child that left the session."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", OUTLIVER])
    (worker.folder / "child").write_text(str(child.pid))
    while True:
        worker.report(obey=False)
        time.sleep(0.05)


SCRIPTS: dict[str, Callable[[Worker], None]] = {
    "finish": train,
    "crash-once": crash_once,
    "fail": fail,
    "give-up-offline": give_up_offline,
    "forget": forget,
    "leave-manifest": leave_manifest,
    "deaf": deaf,
}


def main(_arguments: Sequence[str]) -> None:
    worker = Worker()
    SCRIPTS[str(worker.start.job.effective_parameters["script"])](worker)


if __name__ == "__main__":
    main(sys.argv)
