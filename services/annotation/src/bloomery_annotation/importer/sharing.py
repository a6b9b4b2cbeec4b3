"""Reading parts of an import beside other replicas, and saving each once all before it is saved."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bloomery_annotation.importer.parsing import Entry, Prepared
from bloomery_annotation.importer.turns import Turns
from bloomery_annotation.model import ImportState
from bloomery_kit.feeds import Notifier
from bloomery_kit.tasks import beside

_POLL, _SLOW_POLL = 0.05, 0.5
_READ, _ROOM = "read", "room"


@dataclass(frozen=True)
class Batch:
    """Entries from a place on; not prepared where labels must be made first, which goes by the order of entries."""

    place: int
    entries: Sequence[Entry]
    prepared: Sequence[Prepared] | None

    @property
    def stop(self) -> int:
        """The place behind them."""
        return self.place + len(self.entries)


class Sharing:
    """What one replica reads and saves of the images of an import: while it saves a part, it reads the next one.

    `save` tells the state of the import after a batch, None where another one has saved it; `cancel` ends it.
    """

    def __init__(
        self,
        turns: Turns,
        read: Callable[[range], Awaitable[Batch]],
        save: Callable[[Batch], Awaitable[ImportState | None]],
        cancel: Callable[[], Awaitable[ImportState]],
    ) -> None:
        self._turns, self._read, self._save, self._cancel = turns, read, save, cancel
        self._mine: dict[int, tuple[range, Batch]] = {}
        self._news = Notifier()

    async def run(self) -> ImportState:
        """The state of the import when all its images are saved, or when it has ended. Raise LeaseLost."""
        try:
            return await beside(self._save_all(), self._read_all())
        finally:
            await self._turns.leave()

    async def _save_all(self) -> ImportState:
        read = self._news.listen(_READ)
        while (progress := await self._turns.progress()).place < self._turns.stop:
            if progress.cancel_requested:
                return await self._cancel()
            self._mine = {place: its for place, its in self._mine.items() if place >= progress.place}
            if its := self._mine.pop(progress.place, None):
                self._news.notify(_ROOM)
                if (state := await self._save_one(*its)) is not ImportState.RUNNING:
                    return state
            else:
                await read.wait(_POLL)
        return ImportState.RUNNING

    async def _save_one(self, part: range, batch: Batch) -> ImportState:
        state = await self._save(batch) or ImportState.RUNNING
        if rest := part[len(batch.entries) :]:
            self._mine[rest.start] = rest, await self._read(rest)
        elif state is ImportState.RUNNING:
            await self._turns.forget(part)
        return state

    async def _read_all(self) -> ImportState:
        room = self._news.listen(_ROOM)
        while True:
            if part := await self._turns.take(ahead=not self._mine):
                self._mine[part.start] = part, await self._read(part)
                self._news.notify(_READ)
            else:
                await room.wait(_SLOW_POLL)
