"""A worker's last words: its exit code, and a file that says the reason even when the network is gone."""

import json
import os
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path

from bloomery_worker.failures import Failure


class ExitCode(IntEnum):
    """How the supervisor ends. Any other number is a crash."""

    FINISHED = 0
    RETRIABLE = 1
    USER_ERROR = 42
    FENCED = 43
    STOPPED = 44


@dataclass(frozen=True, slots=True)
class LastWords:
    """The end of an attempt.

    Attributes:
        exit_code: of the supervisor.
        finished: whether the service has acknowledged the end, so that nothing is left to do.
        reason: why, where it failed.
        epoch: epochs that the last complete checkpoint holds.
    """

    exit_code: ExitCode
    finished: bool
    reason: Failure | None = None
    epoch: int = 0


def write_last_words(path: Path, words: LastWords) -> None:
    """Writes the file in one step, so that a reader sees all of it or nothing."""
    part = path.with_name(f"{path.name}.part")
    content = {
        "exit_code": int(words.exit_code),
        "finished": words.finished,
        "reason": asdict(words.reason) if words.reason else None,
        "epoch": words.epoch,
    }
    with part.open("w", encoding="utf-8") as stream:
        json.dump(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
