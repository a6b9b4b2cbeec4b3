"""Server processes that are ready when the block begins and gone when it ends."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

LEASH = Path(__file__).with_name("leash.py")
_PORTS = range(10000, 20000)


class ServerFailedError(Exception):
    """A server ended, or was not ready in time; the message ends with the last lines of its log."""


def free_port() -> int:
    """Return a TCP port of the loopback interface that nothing uses, and that no outgoing connection is given."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def answers(url: str) -> bool:
    """Tell whether a GET of `url` succeeds now."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def leashed(command: list[str], *, stop: signal.Signals, uid: int = 0) -> list[str]:
    """Return a command that runs `command` as `uid` (0: as it is) and dies with this process by the signal `stop`."""
    return [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(stop)), str(uid), *command]


@contextmanager
def running(
    command: list[str],
    *,
    log: Path,
    ready: Callable[[], bool],
    environment: Mapping[str, str],
    uid: int = 0,
    stop: signal.Signals = signal.SIGTERM,
    patience: float = 30.0,
) -> Iterator[None]:
    """Run `command` for the length of the block, its output in `log`.

    Raises:
        ServerFailedError: when the command ends or is not `ready` within `patience` seconds.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            leashed(command, stop=stop, uid=uid),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd="/",
        )
    try:
        wait_ready(process, log=log, ready=ready, patience=patience)
        yield
    finally:
        end(process, stop)


def wait_ready(process: subprocess.Popen[bytes], *, log: Path, ready: Callable[[], bool], patience: float) -> None:
    """Return once `ready` holds; raise `ServerFailedError` when it will not."""
    deadline = time.monotonic() + patience
    while not ready():
        if process.poll() is not None:
            raise ServerFailedError(f"{process.args!r} ended with {process.returncode}:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise ServerFailedError(f"{process.args!r} is not ready after {patience:.0f} s:\n{tail(log)}")
        time.sleep(0.02)


def end(process: subprocess.Popen[bytes], stop: signal.Signals, *, patience: float = 10.0) -> None:
    """Stop the process, by force when it does not listen."""
    process.send_signal(stop)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tail(log: Path, lines: int = 30) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
