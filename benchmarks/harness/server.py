"""`bloomery up` as a user starts it, on a folder of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bloomery import Client
from harness.measure import peak_resident_bytes

SCRIPTS = Path(sys.executable).parent
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Ran:
    """Seconds that a command took, and the most resident memory in bytes; 0 where nobody looked."""

    seconds: float
    peak: int


class Server:
    """A server in `folder` with `settings` in its environment, and the command line, of the checkout with `scripts`."""

    def __init__(self, folder: Path, settings: Mapping[str, str], scripts: Path = SCRIPTS) -> None:
        self.folder = folder
        self._command = scripts / "bloomery"
        self.environment = {**os.environ, "BLOOMERY_DATA": str(folder), "NO_COLOR": "1", **settings}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def endpoint(self) -> str:
        """`host:port` for clients."""
        return str(self._about()["endpoint"])

    @property
    def token(self) -> str:
        """The owner's token."""
        return str(self._about()["token"])

    @property
    def metrics_url(self) -> str:
        """Where its own metrics are."""
        identity = json.loads((self.folder / "identity.json").read_text())
        return f"http://127.0.0.1:{identity['metrics_port']}/metrics"

    def start(self) -> float:
        """Start it, and return the seconds until clients can find it. Exit with its words if it does not come up."""
        started = time.monotonic()
        log = self.folder.with_suffix(".log")
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._command, "up", "--stop-jobs"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        while not (self.folder / "server.json").exists():
            if self._process.poll() is not None or time.monotonic() > started + _START_SECONDS:
                raise SystemExit(log.read_text())
            time.sleep(0.005)
        return time.monotonic() - started

    def stop(self) -> None:
        """End it with its jobs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(_START_SECONDS)

    def client(self) -> Client:
        """A client of it."""
        return Client(self.endpoint, token=self.token)

    def bloomery(self, *arguments: str | Path) -> float:
        """Run the command line and return the seconds that it took. Exit with its words if it fails."""
        return self.measured(*arguments, every=None).seconds

    def measured(self, *arguments: str | Path, every: float | None = 0.05) -> Ran:
        """Run the command line, its memory looked at every so many seconds. Exit with its words if it fails."""
        started, peak = time.monotonic(), 0
        with tempfile.TemporaryFile() as words:
            process = subprocess.Popen(
                [self._command, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
            )
            while not _ended(process, every):
                # What the system tells of an ended process counts its parent's memory, which it shared at first.
                with suppress(ValueError):
                    peak = peak_resident_bytes(process.pid)
            if process.returncode:
                words.seek(0)
                raise SystemExit(words.read().decode())
        return Ran(time.monotonic() - started, peak)

    def _about(self) -> Mapping[str, object]:
        about: Mapping[str, object] = json.loads((self.folder / "server.json").read_text())
        return about


def _ended(process: subprocess.Popen[bytes], seconds: float | None) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that goes away, also when something still writes into it."""
    folder = Path(tempfile.mkdtemp(prefix="bloomery-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_server(
    folder: Path, settings: Mapping[str, str] | None = None, *, scripts: Path = SCRIPTS
) -> Iterator[Server]:
    """A running server whose data are in `folder`/server; another checkout's by its `scripts`."""
    data = folder / "server"
    data.mkdir(exist_ok=True)
    server = Server(data, settings or {}, scripts)
    server.start()
    try:
        yield server
    finally:
        server.stop()
