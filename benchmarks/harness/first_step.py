"""A job of a release on its way to its first step, and the same container that somebody starts by hand."""

import base64
import io
import json
import re
import shlex
import statistics
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bloomery import Client, DatasetVersion, Job
from harness.measure import Table, median_and_range
from harness.peer import Value, effective, milestones, pairs
from tests.cluster.conftest import Cluster

NAME = "by-hand"
SETTINGS: Mapping[str, Value] = {"epochs": 1, "imgsz": 160, "batch": 8}
SECONDS = 900.0
_BEGIN = "echo begun; cd /work && tar -xf /given/data.tar.gz && export YOLO_CONFIG_DIR=/tmp/settings YOLO_OFFLINE=true"
# In the words of its log, of the image and of the library.
_MARKS = {"begun": "begun", "started": "Starting training"}


@dataclass(frozen=True)
class Start:
    """Seconds from the order to what happened on the way to the first step."""

    marks: Mapping[str, float]
    first_step: float


def of_job(client: Client, version: DatasetVersion) -> tuple[Start, Job]:
    """Order a training, and read from its events when what began."""
    began = time.time()
    job = version.train("yolo-detect", base="scratch", cpus=1, memory=3 << 30, settings=dict(SETTINGS))
    events = list(client.job(job.name).watch())
    marks = {name: at - began for name, at in milestones(events).items()}
    return Start(marks, marks["first step"]), job.refresh()


def template(cluster: Cluster, job: Job) -> dict[str, Any]:
    """The pod of a job as its Job has it."""
    told = json.loads(cluster.kubectl("get", "job", f"bl-{job.proto.uid}-1", "-o", "json"))
    spec: dict[str, Any] = told["spec"]["template"]["spec"]
    return spec


def bring_data(cluster: Cluster, data: Path) -> None:
    """Let pods find an exported dataset version."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(data, "data")
    metadata = {"name": NAME}
    files = {"data.tar.gz": base64.b64encode(packed.getvalue()).decode()}
    cluster.kubectl(
        "create", "-f", "-", given={"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": files}
    )


def by_hand(cluster: Cluster, spec: dict[str, Any], job: Job) -> Start:
    """Start the pod of a job again, in which the library's command trains with the same arguments on the same data."""
    given = {**effective(job.proto), "model": "yolov8n.yaml", "data": "/work/data/data.yaml", "project": "/work"}
    train = shlex.join(["yolo", "detect", "train", *pairs({**given, "device": "cpu", "name": "run", "plots": False})])
    line = f"{_BEGIN} && {train}"
    (container,) = spec["containers"]
    container = {**container, "command": ["sh", "-c", line]}
    container["volumeMounts"] = [*container["volumeMounts"], {"name": NAME, "mountPath": "/given"}]
    pod = {**spec, "containers": [container]}
    pod["volumes"] = [*spec["volumes"], {"name": NAME, "configMap": {"name": NAME}}]
    began = time.time()
    cluster.kubectl(
        "create", "-f", "-", given={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME}, "spec": pod}
    )
    try:
        _end(cluster)
        marks = {name: at - began for name, at in _spoken(cluster).items()}
    finally:
        cluster.kubectl("delete", "pod", NAME, "--grace-period=1", "--wait=true")
    return Start(marks, marks["started"])


def _end(cluster: Cluster) -> None:
    phase, until = "", time.monotonic() + SECONDS
    while phase != "Succeeded":
        phase = cluster.kubectl("get", "pod", NAME, "-o", "jsonpath={.status.phase}")
        if phase == "Failed" or time.monotonic() > until:
            raise SystemExit(f"{phase}\n{cluster.kubectl('logs', NAME, '--tail=40')}")
        time.sleep(1)


def _spoken(cluster: Cluster) -> dict[str, float]:
    """When the log first said what."""
    found: dict[str, float] = {}
    for line in cluster.kubectl("logs", NAME, "--timestamps").splitlines():
        at, _, text = line.partition(" ")
        for name, words in _MARKS.items():
            if words in text and name not in found:
                # Nanoseconds are more than Python reads.
                found[name] = datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z", r"\1+00:00", at)).timestamp()
    return found


MEANING = {
    "QUEUED": "the reconciler makes the Job",
    "PREPARING": "pod and container run, the supervisor has begun the attempt",
    "preparing": "torch is loaded, the recipe begins",
    "preflight": "model and data loaders are ready, the preflight begins",
    "checked": "the preflight is done",
    "first step": "the first step is done",
}

BY_HAND = {"begun": "pod and container run", "started": "torch is loaded, model and data loaders are ready"}


def tables(jobs: Sequence[Start], hands: Sequence[Start], limit: float) -> list[Table]:
    """How much later a job begins, and where the seconds go."""
    later = [one.first_step - other.first_step for one, other in zip(jobs, hands, strict=True)]

    def row(name: str, values: Sequence[float], beside: Sequence[float]) -> tuple[str, ...]:
        return name, median_and_range(values, 1), median_and_range(beside, 1)

    rows = [
        row("`yolo train` in a pod made by hand", [one.first_step for one in hands], [0.0]),
        row("a job", [one.first_step for one in jobs], later),
    ]
    note = f"Limit: {limit:g} s later. The pod made by hand finds its data beside it."
    title = f"the first step of a training, {len(jobs)} interleaved rounds"
    return [Table(title, ("what", "first step (s)", "later (s)"), rows, note), _ways(jobs, hands)]


def _ways(jobs: Sequence[Start], hands: Sequence[Start]) -> Table:
    def row(who: str, what: str, mark: str, starts: Sequence[Start]) -> tuple[str, str]:
        return f"{who}: {what}", f"{statistics.median(one.marks[mark] for one in starts):.1f}"

    rows = [row("a job", text, mark, jobs) for mark, text in MEANING.items()]
    rows += [row("by hand", text, mark, hands) for mark, text in BY_HAND.items()]
    return Table("on the way to it", ("seconds after the order", "median"), rows)
