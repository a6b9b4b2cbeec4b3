"""The trainer process as the supervisor sees it: started by exec, spoken to by pipes, ended with all its children."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from bloomery_worker.messages import LONGEST, Directive, Note, decode_note, encode

LOG_FILE = "trainer.log"
_TAIL_BYTES = 16 << 10


class TrainerProcess:
    """One trainer process. It is killed when its supervisor dies, however that dies.

    Attributes:
        log: the file that it prints into.
    """

    def __init__(self, process: asyncio.subprocess.Process, notes: asyncio.StreamReader, log: Path) -> None:
        self._process, self._notes = process, notes
        self.log = log

    @classmethod
    async def spawn(cls, work_dir: Path, environment: Mapping[str, str]) -> "TrainerProcess":
        """Starts it. It loads torch at once and then waits for `Start`."""
        reading, writing = os.pipe()
        log = work_dir / LOG_FILE
        with log.open("ab") as output, os.fdopen(writing, "wb"):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "bloomery_worker.trainer_main", str(writing), str(os.getpid()),
                stdin=asyncio.subprocess.PIPE, stdout=output, stderr=output,
                cwd=work_dir, env=dict(environment), pass_fds=[writing], process_group=0,
            )  # fmt: skip
        notes = asyncio.StreamReader(limit=LONGEST)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(notes), os.fdopen(reading, "rb"))
        return cls(process, notes, log)

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its group."""
        return self._process.pid

    def send(self, directive: Directive) -> None:
        """Tells it something; nothing happens where it has ended."""
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._process.stdin.write(encode(directive))

    async def notes(self) -> AsyncIterator[Note]:
        """What it says, until it ends or closes the pipe."""
        while line := await self._notes.readline():
            if not line.endswith(b"\n"):
                return  # it died in the middle of a word
            yield decode_note(line)

    async def wait(self) -> int:
        """Waits for its end and returns its exit code, or the negative number of the signal that killed it."""
        return await self._process.wait()

    async def kill(self) -> None:
        """Ends it and all its children at once, and waits until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()

    def log_tail(self) -> str:
        """The last lines that it printed."""
        with self.log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return stream.read().decode(errors="replace")
