"""The data folder of an embedded installation: one server at a time, and what must stay the same between starts."""

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

SERVER_FILE = "server.json"
IDENTITY_FILE = "identity.json"
_LOCK_FILE = "lock"
_LOOPBACK = "127.0.0.1"
_PORTS = range(20000, 32768)
"""What is drawn from: below what the system gives to outgoing connections, which would take a stopped server's port."""
_JOURNAL_BYTES = 8 << 20
"""Of a database: twice what SQLite writes to a journal before it begins it anew."""


class FolderInUseError(Exception):
    """Another server holds the folder."""


class AddressInUseError(Exception):
    """Somebody else listens on a port that was asked for."""


class DamagedFolderError(Exception):
    """A file of the folder is not what a server wrote."""


@dataclass(frozen=True)
class Identity:
    """Secrets and ports that persist, so that signed URLs, clients and running workers outlive a restart."""

    token: str
    signing_key: str
    port: int
    worker_port: int
    http_port: int
    metrics_port: int
    triton_port: int = 0
    agent_port: int = 0

    @classmethod
    def fresh(cls) -> Self:
        """New secrets; ports are chosen when they are needed."""
        return cls(secrets.token_urlsafe(32), secrets.token_hex(32), 0, 0, 0, 0)


class DataFolder:
    """A locked data folder."""

    def __init__(self, root: Path, lock: int) -> None:
        self.root = root
        self._lock = lock

    @classmethod
    def open(cls, root: Path) -> Self:
        """Create the folder where it is missing and lock it. Raise FolderInUseError while another server holds it."""
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(root / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise FolderInUseError(str(root)) from error
        return cls(root, lock)

    def close(self) -> None:
        """Say that no server runs here any more, and unlock."""
        (self.root / SERVER_FILE).unlink(missing_ok=True)
        os.close(self._lock)

    def identity(self, *, port: int) -> Identity:
        """The persistent identity, with ports that are free now; `port` (0 for any) is where clients connect.

        Raise AddressInUseError where `port` is taken, DamagedFolderError where what was kept cannot be read.
        """
        path = self.root / IDENTITY_FILE
        stored = read_identity(path) if path.exists() else Identity.fresh()
        taken: set[int] = set()
        identity = replace(
            stored,
            port=_wanted_port(port, taken) if port else _free_port(stored.port, taken),
            worker_port=_free_port(stored.worker_port, taken),
            http_port=_free_port(stored.http_port, taken),
            metrics_port=_free_port(stored.metrics_port, taken),
            triton_port=_free_port(stored.triton_port, taken),
            agent_port=_free_port(stored.agent_port, taken),
        )
        if identity != stored:
            _write_private(path, asdict(identity))
        return identity

    def keep_room(self, databases: Iterable[Path]) -> None:
        """Let the journals of open databases take the room that one needs to free some on a full disk."""
        # Imported here, so that `bloomery --help` stays quick.
        import sqlite3

        for file in databases:
            with suppress(sqlite3.Error), closing(sqlite3.connect(file, isolation_level=None)) as database:
                # What the cache cannot hold goes to the journal, which stays as long when nothing of it is kept.
                database.execute("PRAGMA cache_size = 1")
                database.execute("BEGIN IMMEDIATE")
                database.execute("CREATE TABLE room (filler)")
                database.execute("INSERT INTO room VALUES (zeroblob(?))", (_JOURNAL_BYTES,))
                database.execute("ROLLBACK")

    def announce(self, identity: Identity) -> None:
        """Tell clients of this user where the server is and how to be let in."""
        about = {"endpoint": f"{_LOOPBACK}:{identity.port}", "token": identity.token, "pid": os.getpid()}
        _write_private(self.root / SERVER_FILE, about)


def read_identity(path: Path) -> Identity:
    """The identity that a server wrote. Raise DamagedFolderError."""
    try:
        return Identity(**json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise DamagedFolderError(f"{path} is damaged") from error


def _wanted_port(port: int, taken: set[int]) -> int:
    if _free_port(port, taken) != port:
        raise AddressInUseError(f"port {port} is taken")
    return port


def _free_port(wanted: int, taken: set[int]) -> int:
    while not wanted or wanted in taken or not _is_free(wanted):
        wanted = secrets.choice(_PORTS)
    taken.add(wanted)
    return wanted


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


def _write_private(path: Path, content: Mapping[str, object]) -> None:
    partial = path.with_suffix(".part")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump(content, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
