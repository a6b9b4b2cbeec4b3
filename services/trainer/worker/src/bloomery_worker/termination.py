"""A worker's last words: its exit code, and a file that says the reason even when the network is gone.

A launcher may keep no more than 4 KiB of the file, as clusters do: longer texts are cut.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path

from bloomery_worker.failures import Failure

LARGEST = 4 << 10
"""Bytes of the file."""


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
    """Writes the file in its place, which a cluster has made and which no other can be put into.

    It is read once nothing of the worker runs any more; what is not whole by then says nothing.
    """
    with path.open("w", encoding="utf-8") as stream:
        stream.write(_fitting(words))
        stream.flush()
        os.fsync(stream.fileno())


def _fitting(words: LastWords) -> str:
    longest = LARGEST
    while len(text := _text(words, longest)) > LARGEST:
        longest = longest * 3 // 4
    return text


def _text(words: LastWords, longest: int) -> str:
    reason = {key: value[:longest] if isinstance(value, str) else value for key, value in _fields(words.reason)}
    content = {"exit_code": int(words.exit_code), "finished": words.finished, "epoch": words.epoch}
    return json.dumps({**content, "reason": reason or None})


def _fields(reason: Failure | None) -> Iterable[tuple[str, object]]:
    return asdict(reason).items() if reason else ()
