"""Trainer processes that have torch before they begin: forked from a process that has loaded it, once for all tests.

A trainer process spends most of a short job's processor time on imports. How one is started by exec is tested by the
workers of `harness.running`; tests of what a recipe does with its job need not pay for it each time.
"""

import asyncio
import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO

from bloomery_worker import trainer_main
from bloomery_worker.messages import LONGEST
from bloomery_worker.process import LOG_FILE, TrainerProcess

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.worker.preloaded"])


class Forked:
    """What `TrainerProcess` needs of a process, of one that the fork server has made."""

    def __init__(self, process: BaseProcess, stdin: IO[bytes]) -> None:
        assert process.pid is not None
        self.pid, self.stdin = process.pid, stdin
        self._process = process
        # More than one waits for the end, which can be read only once.
        self._ended = asyncio.ensure_future(asyncio.to_thread(process.join))

    async def wait(self) -> int:
        await asyncio.shield(self._ended)
        self.stdin.close()
        assert self._process.exitcode is not None
        return self._process.exitcode


async def fork_trainer(work_dir: Path, environment: Mapping[str, str]) -> TrainerProcess:
    """Starts a trainer process as `TrainerProcess.spawn` does, but for the exec."""
    directives, directing = _PROCESSES.Pipe(duplex=False)
    noted, notes = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=_be_trainer, args=(work_dir, dict(environment), directives, notes))
    process.start()
    directives.close()
    notes.close()
    forked = Forked(process, os.fdopen(os.dup(directing.fileno()), "wb", buffering=0))
    directing.close()
    while os.getpgid(forked.pid) != forked.pid:  # noqa: ASYNC110 - a process tells nobody that it leads a group
        await asyncio.sleep(0.002)
    return TrainerProcess(forked, await _reader(noted), work_dir / LOG_FILE)  # type: ignore[arg-type]


async def _reader(noted: Connection) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=LONGEST)
    pipe = os.fdopen(os.dup(noted.fileno()), "rb")
    noted.close()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


def _be_trainer(work_dir: Path, environment: Mapping[str, str], directives: Connection, notes: Connection) -> None:
    log = os.open(work_dir / LOG_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number, descriptor in enumerate((directives.fileno(), log, log)):
        os.dup2(descriptor, number)
    sys.stdin = os.fdopen(0, closefd=False)
    os.setpgid(0, 0)
    # The fork server says nothing where it could not load what it was told to.
    assert "torch" in sys.modules, "tests.worker.preloaded cannot be loaded"
    os.chdir(work_dir)
    os.environ.clear()
    os.environ.update(environment)
    sys.exit(trainer_main.main([str(os.dup(notes.fileno())), str(os.getppid())]))
