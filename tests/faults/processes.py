"""Servers as processes that are hit and come back, and the workers that they started."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import grpc
import psutil

from real_parts.process import leashed, tail
from tests.faults.faults import Target

_START_SECONDS = 120.0
T = TypeVar("T")


class Server:
    """A command that can be killed, stopped and started again; it dies with this process."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, ready: Callable[[], bool]
    ) -> None:
        self._command, self._environment, self._log, self._ready = command, environment, log, ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.begin()
        self.wait_until_ready()

    def begin(self) -> None:
        """Start it. It dies with the thread that calls this."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                leashed(list(self._command), stop=signal.SIGKILL),
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def wait_until_ready(self) -> None:
        """Wait until it answers. Raise RuntimeError where it does not."""
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._command} does not start:\n{tail(self._log)}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it without a word."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def wait(self, seconds: float) -> int:
        """Wait until it has ended; its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def end(self) -> None:
        """Ask it to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


class Part:
    """PostgreSQL or MinIO, which come back on the data that they had."""

    def __init__(self, run: Callable[[], AbstractContextManager[object]]) -> None:
        self._run, self._stack = run, ExitStack()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self._stack.enter_context(self._run())

    def kill(self) -> None:
        """End it at once."""
        self._stack.close()


@contextmanager
def refusing(port: int) -> Iterator[list[str]]:
    """An HTTP server at a port of this machine that answers everybody with 503; the methods that it was asked."""
    asked: list[str] = []

    class Refusal(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            asked.append(self.command)
            self.close_connection = True
            self.send_response(503)
            self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = refuse  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Refusal) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,))
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


def answers(target: str) -> bool:
    """Whether a gRPC server listens at `host:port`."""
    with grpc.insecure_channel(target) as channel, suppress(grpc.FutureTimeoutError):
        grpc.channel_ready_future(channel).result(0.2)
        return True
    return False


def workers(jobs_dir: Path) -> Iterator[tuple[Target, psutil.Process]]:
    """The processes of all attempts in a folder."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("BLOOMERY_WORK_DIR", "").startswith(str(jobs_dir)):
                words = process.cmdline()
                # Before it becomes the worker it is a shell, and when it has ended it has no words.
                if "bloomery_worker" in words:
                    yield Target.SUPERVISOR, process
                elif "bloomery_worker.trainer_main" in words:
                    yield Target.TRAINER, process


def eventually(look: Callable[[], T], holds: Callable[[T], bool], *, seconds: float) -> T:
    """Look until what is seen holds; what was seen last when it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds(seen := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return seen
