"""Uploads checkpoints while training goes on: the newest one first, each with its manifest last."""

import asyncio
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from bloomery.training.v1 import CheckpointSaved, JobEvent
from bloomery_worker.client import FencedError
from bloomery_worker.events import checkpoint_event, log_event
from bloomery_worker.messages import CheckpointNote, FileNote, LogNote
from bloomery_worker.uploads import Uploads

_LOG = logging.getLogger(__name__)


class Checkpoints:
    """Takes folders from the trainer process. One that waits gives way to a newer one, which goes further.

    Those that people asked for stay, and the best one until there is a better.

    Attributes:
        epoch: epochs that the newest one that is uploaded holds.
        every: people asked for those of each so-many-th epoch; 0 for none.
        keep: of these, the newest so many; 0 for all.
    """

    def __init__(self, uploads: Uploads, add: Callable[[JobEvent], None]) -> None:
        self._uploads, self._add = uploads, add
        self._waiting: list[CheckpointNote] = []
        self._sending: CheckpointNote | None = None
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.epoch = self.every = self.keep = 0

    def put(self, note: CheckpointNote) -> None:
        """Takes a checkpoint over."""
        before = self._waiting
        asked = [one for one in before if self.every and one.epoch % self.every == 0][-self.keep :]
        self._waiting = [one for one in before if one in asked or (one.best and not note.best)] + [note]
        for one in before:
            if one not in self._waiting:
                shutil.rmtree(one.folder, ignore_errors=True)
        self._idle.clear()
        self._wake.set()

    async def turn(self) -> None:
        """Waits for a checkpoint and uploads it."""
        await self._wake.wait()
        self._wake.clear()
        try:
            while self._waiting:
                self._sending = self._waiting.pop()
                await self._keep(self._sending)
                self._sending = None
        finally:
            self._idle.set()

    async def settle(self, seconds: float) -> None:
        """Waits until everything that was put is uploaded, for up to `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            for note in (*self._waiting, *filter(None, [self._sending])):
                self._tell_lost(note, "it was not uploaded in time")

    async def _keep(self, note: CheckpointNote) -> None:
        try:
            self._add(checkpoint_event(await self._upload(note)))
            self.epoch = max(self.epoch, note.epoch)
        except FencedError:
            raise
        except Exception as problem:  # noqa: BLE001 - the next one may arrive, and people see how far a retry goes back
            _LOG.exception("the checkpoint of epoch %d is lost", note.epoch)
            self._tell_lost(note, f"{type(problem).__name__}: {problem}")
        await asyncio.to_thread(shutil.rmtree, note.folder, ignore_errors=True)

    def _tell_lost(self, note: CheckpointNote, why: str) -> None:
        told = f"the checkpoint of epoch {note.epoch} is lost: {why}"
        self._add(log_event(LogNote(logging.WARNING, told), source="supervisor"))

    async def _upload(self, note: CheckpointNote) -> CheckpointSaved:
        files = await asyncio.to_thread(_files, note)
        kept = await self._uploads.send(files)
        listed: list[dict[str, str | int]] = [
            {"path": file.file_name, "digest": artifact.digest, "size_bytes": artifact.size_bytes}
            for file, artifact in zip(files, kept, strict=True)
        ]
        last = FileNote(
            path=str(await asyncio.to_thread(_write_manifest, note, listed)),
            role=f"checkpoint-manifest/{note.epoch}",
            file_name="manifest.json",
            media_type="application/json",
        )
        (sealed,) = await self._uploads.send([last])
        size = sum(artifact.size_bytes for artifact in kept)
        return CheckpointSaved(epoch=note.epoch, logical_key=sealed.logical_key, size_bytes=size, best=note.best)


def _files(note: CheckpointNote) -> list[FileNote]:
    folder = Path(note.folder)
    inside = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    return [
        FileNote(path=str(folder / name), role=f"checkpoint/{note.epoch}/{name}", file_name=name) for name in inside
    ]


def _write_manifest(note: CheckpointNote, files: list[dict[str, str | int]]) -> Path:
    path = Path(note.folder) / "manifest.json"
    path.write_text(json.dumps({"format": 1, "epoch": note.epoch, "files": files}), encoding="utf-8")
    return path
