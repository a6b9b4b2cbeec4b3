"""Peers: environments of their own, and Ultralytics as its users run it, by the `yolo` command of the worker's."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from bloomery import Event
from bloomery.training.v1 import Job
from harness.measure import ROOT
from real_parts.uv import ensure_uv

COMMAND = ROOT / ".venv-worker" / "bin" / "yolo"
Value = str | float | bool


def installed(folder: Path, requirement: str) -> Path:
    """The Python of a new environment with a package."""
    uv = ensure_uv()
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, requirement], check=True)
    return python


def threads() -> int:
    """How many threads it computes with on a CPU, whatever it is told: all cores but one, at most 8."""
    return min(8, max(1, (os.cpu_count() or 1) - 1))


@dataclass(frozen=True)
class Line:
    """What it printed, and when by the monotonic clock."""

    at: float
    text: str


class Yolo:
    """The command, kept off the network and out of the user's settings."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            **os.environ,
            "YOLO_CONFIG_DIR": str(folder / "settings"),
            "YOLO_OFFLINE": "true",
            "YOLO_AUTOINSTALL": "false",
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, *words: str, **arguments: Value) -> Iterator[Line]:
        """Run it and yield its lines as they come. Exit with them if it fails."""
        given = {"device": "cpu", "project": str(self._folder), "exist_ok": True, **arguments}
        seen: list[Line] = []
        with subprocess.Popen(
            [COMMAND, *words, *pairs(given)],
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for text in process.stdout:
                seen.append(Line(time.monotonic(), text))
                yield seen[-1]
        if process.returncode:
            raise SystemExit("".join(line.text for line in seen[-30:]))


def pairs(arguments: Mapping[str, Value]) -> Sequence[str]:
    """Arguments as the command takes them."""
    return [f"{name}={value}" for name, value in arguments.items()]


OURS = (
    "adapter", "augment", "best_by", "export", "keep", "lora_control", "lora_dropout", "lora_targets", "method",
    "multi_label", "sample_predictions", "save_every",
)  # fmt: skip
"""Parameters that the library does not know."""


def effective(job: Job) -> dict[str, Value]:
    """The effective parameters of a training as arguments of the command."""
    told = MessageToDict(job.effective_parameters)
    given = {name: plain(value) for name, value in told.items() if name not in OURS}
    if given.get("cache") == "none":
        given["cache"] = False
    return given


def plain(value: Value) -> Value:
    """A number without needless decimals: a message knows only real ones."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_NAMED = {"preflight": "checked", "metrics": "first step"}


def milestones(events: Iterable[Event]) -> dict[str, float]:
    """When each state and phase of a job was first seen, by the clock of the machine."""
    found: dict[str, float] = {}
    for event in events:
        name = event.state or event.proto.progress.phase or _NAMED.get(event.kind or "", "")
        if name:
            found.setdefault(name, event.time.timestamp())
    return found
