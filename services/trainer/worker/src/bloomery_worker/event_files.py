"""Uploads files of TensorBoard's events while training goes on."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path

from bloomery_worker.client import FencedError
from bloomery_worker.messages import EventsNote, FileNote
from bloomery_worker.uploads import Uploads

_LOG = logging.getLogger(__name__)


class EventFiles:
    """Takes files from the trainer process, in their order. One that cannot be uploaded is told, and left out.

    Attributes:
        resume_epoch: epochs that were done before this worker: its files have names of their own beside those of a
            worker of the same attempt that was taken away.
    """

    def __init__(self, uploads: Uploads, warn: Callable[[str], None]) -> None:
        self._uploads, self._warn = uploads, warn
        self._waiting: deque[EventsNote] = deque()
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self.resume_epoch = 0

    def put(self, note: EventsNote) -> None:
        """Takes a file over."""
        self._waiting.append(note)
        self._idle.clear()
        self._wake.set()

    async def turn(self) -> None:
        """Waits for files and uploads them."""
        await self._wake.wait()
        self._wake.clear()
        try:
            while self._waiting:
                await self._keep(self._waiting.popleft())
        finally:
            self._idle.set()

    async def settle(self, seconds: float) -> None:
        """Waits until all files are uploaded, for up to `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    async def _keep(self, note: EventsNote) -> None:
        path = Path(note.path)
        role = f"tensorboard/{self.resume_epoch:06}/{note.number:06}"
        try:
            await self._uploads.send([FileNote(path=note.path, role=role, file_name=path.name)])
        except FencedError:
            raise
        except Exception as problem:  # noqa: BLE001 - the next one may arrive
            _LOG.exception("the events of %s are lost", path.name)
            self._warn(f"a part of what TensorBoard shows is lost: {type(problem).__name__}: {problem}")
        await asyncio.to_thread(path.unlink, missing_ok=True)
