"""Services as processes of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import grpc

from real_parts.process import end, free_port, wait_ready

_START_SECONDS = 60.0


@contextmanager
def running_service(
    module: str, place: Path, settings: Mapping[str, str], *, cores: Collection[int] = ()
) -> Iterator[tuple[str, int]]:
    """`python -m module` with these settings; yields where it listens and its process.

    It has a folder of blobs in `place`, and its log there; it runs on some cores only where `cores` are given.
    """
    port = free_port()
    environment = {
        **os.environ,
        "BLOOMERY_BIND": "127.0.0.1",
        "BLOOMERY_PORT": str(port),
        "BLOOMERY_OBJECT_STORE__KIND": "folder",
        "BLOOMERY_OBJECT_STORE__ROOT": str(place / "blobs"),
        "BLOOMERY_OBJECT_STORE__BASE_URL": "http://127.0.0.1:1",
        "BLOOMERY_OBJECT_STORE__SIGNING_KEY": "k" * 32,
        **settings,
    }
    log = place / f"{module}-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    if cores:
        # Before it has started a thread: threads inherit it.
        os.sched_setaffinity(process.pid, cores)
    target = f"127.0.0.1:{port}"
    try:
        with grpc.insecure_channel(target) as channel:
            wait_ready(process, log=log, ready=partial(_answers, channel), patience=_START_SECONDS)
        yield target, process.pid
    finally:
        end(process, signal.SIGTERM, patience=30)


def _answers(channel: grpc.Channel) -> bool:
    with suppress(grpc.FutureTimeoutError):
        grpc.channel_ready_future(channel).result(0.2)
        return True
    return False
