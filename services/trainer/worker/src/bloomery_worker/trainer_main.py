"""The trainer process: loads torch while the supervisor still fetches data, then runs one recipe and says how it ended.

Started as `python -P -m bloomery_worker.trainer_main EVENTS_FD PARENT_PID`; directives come by standard input.
"""

import json
import logging
import math
import os
import queue
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from bloomery_worker.context import Context, StopRequestedError
from bloomery_worker.failures import classify, some
from bloomery_worker.kernel import die_with_parent
from bloomery_worker.messages import (
    FailedNote,
    JobSpec,
    LastNote,
    LogNote,
    Note,
    ProgressNote,
    ResultNote,
    Start,
    StoppedNote,
    decode_directive,
    encode,
)
from bloomery_worker.recipe import Result, load_recipe

_OURS = "bloomery"


class Outbox:
    """Writes notes, one whole line at a time, from any thread of this process; children that it forks say nothing."""

    def __init__(self, descriptor: int) -> None:
        self._stream = os.fdopen(descriptor, "wb", buffering=0)
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._fall_silent)

    def send(self, note: Note) -> None:
        """Writes a note; waits while the supervisor is behind."""
        line = memoryview(encode(note))
        with self._lock:
            while line:
                line = line[self._stream.write(line) :]

    def _fall_silent(self) -> None:
        # Another thread may have held the lock at that moment, and lines of two processes would mix.
        self._lock = threading.Lock()
        self._stream = os.fdopen(os.open(os.devnull, os.O_WRONLY), "wb", buffering=0)


class Inbox:
    """Listens for directives in a thread of its own."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stop = threading.Event()
        self._started: queue.SimpleQueue[JobSpec | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(stream,), daemon=True).start()

    def wait_for_start(self) -> JobSpec | None:
        """The job; None where the supervisor has gone."""
        return self._started.get()

    def _listen(self, stream: BinaryIO) -> None:
        try:
            for line in stream:
                directive = decode_directive(line)
                if isinstance(directive, Start):
                    self._started.put(directive.job)
                else:
                    self.stop.set()
        finally:
            # Whoever can no longer be told to stop stops now.
            self.stop.set()
            self._started.put(None)


class _Forward(logging.Handler):
    """Puts our own lines, and warnings of libraries, into the job's log."""

    def __init__(self, send: Callable[[Note], None]) -> None:
        super().__init__(logging.INFO)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING or record.name.startswith(_OURS):
            self._send(LogNote(record.levelno, self.format(record)))


def main(arguments: list[str]) -> int:
    """Runs the process."""
    descriptor, parent = (int(argument) for argument in arguments)
    die_with_parent(parent)
    # The recipe's own children have no business with this pipe.
    os.set_inheritable(descriptor, False)
    outbox, inbox = Outbox(descriptor), Inbox(_own_input())
    logging.basicConfig(level=logging.INFO)
    logging.getLogger().addHandler(_Forward(outbox.send))
    warnings.simplefilter("default")
    _load_torch()
    job = inbox.wait_for_start()
    if job is not None:
        outbox.send(_run(job, outbox.send, inbox.stop))
    return 0


def _own_input() -> BinaryIO:
    """Standard input under another descriptor; what took its place is empty."""
    # A child that is forked while a thread reads `sys.stdin` waits for ever for the lock, because it closes it first.
    own = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    return own


def _load_torch() -> None:
    import torch  # noqa: F401 - takes seconds, which pass while the data is fetched


def _run(job: JobSpec, send: Callable[[Note], None], stop: threading.Event) -> LastNote:
    context = Context(job, send, stop)
    try:
        context.progress(ProgressNote(phase="preparing"))
        recipe = load_recipe(job.module)
        recipe.preflight(context)
        note = _result_note(recipe.run(context), context)
        if job.kind == "TRAIN":
            context.board.parameters(job.parameters, note.metrics)
        return note
    except StopRequestedError as stopped:
        return StoppedNote(stopped.epoch)
    except Exception as problem:  # noqa: BLE001 - whatever a recipe raises becomes the reason that people see
        # The log may be what has no room left.
        with suppress(OSError):
            traceback.print_exc()
        return FailedNote(classify(problem, smaller=context.smaller))
    finally:
        context.board.hand_over(last=True)


def _result_note(result: Result, context: Context) -> ResultNote:
    """What is published; what is no number has no place in it."""
    metrics = {name: value for name, value in result.metrics.items() if math.isfinite(value)}
    if odd := [name for name in result.metrics if name not in metrics]:
        context.log.warning("measurements that are no numbers are left out: %s", some(odd))
    details = json.loads(json.dumps(result.details), parse_constant=lambda _: None)
    return ResultNote(
        files=result.files,
        metrics=metrics,
        details=details,
        versions=result.versions,
        model=result.model,
        variants=result.variants,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
