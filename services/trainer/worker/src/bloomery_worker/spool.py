"""Events that the service has not acknowledged, on disk, so that its absence costs neither memory nor events.

The service wants consecutive numbers and drops what it has. So a number is given when an event is first handed out, and
what was handed out stays as it is until it is acknowledged; what waits behind may be thinned.
"""

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bloomery.training.v1 import JobEvent

MAX_WAITING = 20_000
BATCH_BYTES = 8 << 20
"""Of one report at most: a message of more than 16 MiB is never taken."""
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, thinnable INTEGER NOT NULL, content BLOB NOT NULL);
"""
_INSERT = "INSERT INTO events (thinnable, content) VALUES (?, ?)"
_SIZES = "SELECT id, length(content) FROM events ORDER BY id LIMIT ?"
_CONTENTS = "SELECT content FROM events WHERE id <= ? ORDER BY id"
_THIN = """
DELETE FROM events WHERE id IN (
  SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM events WHERE thinnable) WHERE place % 2 = 0
)
"""

_LOG = logging.getLogger(__name__)


class Spool:
    """The queue of one attempt's events. A new one begins empty."""

    def __init__(self, path: Path, *, max_waiting: int = MAX_WAITING) -> None:
        path.unlink(missing_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(_SCHEMA)
        self._acknowledged = 0
        self._max_waiting = max_waiting
        self._handed_out: list[JobEvent] = []
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting + len(self._handed_out)

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def append(self, event: JobEvent) -> None:
        """Puts an event at the end. Of more than `max_waiting`, every other measurement or log line goes."""
        self._do(_INSERT, (_thinnable(event), event.SerializeToString()))
        self._waiting += 1
        if self._waiting > self._max_waiting:
            self._thin()

    def batch(self, limit: int) -> tuple[int, Sequence[JobEvent]]:
        """The sequence of the first event that is not acknowledged, and up to `limit` events, or fewer large ones.

        The same again until something is acknowledged.
        """
        if not self._handed_out:
            self._hand_out(limit)
        return self._acknowledged + 1, list(self._handed_out)

    def acknowledge(self, sequence: int) -> None:
        """Drops what is stored. A number that is older than the last one, or was never handed out, changes nothing."""
        done = sequence - self._acknowledged
        if 0 < done <= len(self._handed_out):
            self._handed_out = self._handed_out[done:]
            self._acknowledged = sequence

    def discard_batch(self) -> None:
        """Drops what was handed out and not stored, because the service will never take it."""
        self._handed_out = []

    def _hand_out(self, limit: int) -> None:
        size = last = 0
        for number, length in self._do(_SIZES, (limit,)):
            size += length
            if last and size > BATCH_BYTES:
                break
            last = number
        self._handed_out = [JobEvent.FromString(content) for (content,) in self._do(_CONTENTS, (last,))]
        self._do("DELETE FROM events WHERE id <= ?", (last,))
        self._waiting -= len(self._handed_out)

    def _thin(self) -> None:
        self._do(_THIN)
        ((self._waiting,),) = self._do("SELECT count(*) FROM events")

    def _do(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Runs a statement; without the file in memory, because a full or broken disk must not cost what says so."""
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error:
            _LOG.exception("the spool goes on in memory")
            self._move_to_memory()
            return self._database.execute(statement, values).fetchall()

    def _move_to_memory(self) -> None:
        memory = _in_memory()
        try:
            self._database.backup(memory)
        except sqlite3.Error:
            # Nothing of the file can be read any more.
            memory.close()
            memory = _in_memory()
            memory.executescript(_SCHEMA)
            self._waiting = 0
        self._database.close()
        self._database = memory


def _in_memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def _thinnable(event: JobEvent) -> bool:
    """Lifecycle, checkpoints, ends of epochs and warnings are never thinned."""
    match event.WhichOneof("event"):
        case "metrics":
            return not event.metrics.epoch_end
        case "progress" | "system":
            return True
        case "log":
            return event.log.level < event.log.LEVEL_WARNING
        case _:
            return False
