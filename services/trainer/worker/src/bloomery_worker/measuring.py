"""How fast a form of a model is and what memory it takes: measured in one way, whatever made it and runs it."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from bloomery.training.v1 import VariantLatency
from bloomery_worker import machine
from bloomery_worker.evaluate import Check, Size
from bloomery_worker.failures import ExportError

_LOOK_SECONDS = 0.2
_LONGEST = 500


def measure(runtime: str, path: Path, size: Size, *, threads: int, check: Check, device: str = "") -> VariantLatency:
    """Measures a model in a process of its own, and calls `check` meanwhile, which may raise to end it.

    Args:
        runtime: what loads it, see `runners.opener`.
        path: its file.
        size: of its input.
        threads: to compute with.
        check: is called often.
        device: what it computes on, for people; the processor by default.

    Raises:
        ExportError: it does not run by itself.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        "bloomery_worker.trial",
        runtime,
        str(path),
        str(threads),
        "x".join(map(str, size)),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            output, errors = _told(process, check)
        finally:
            process.kill()
    if process.returncode:
        raise ExportError(f"it cannot be measured: {errors.strip()[-_LONGEST:]}", hint="report it")
    return VariantLatency(**json.loads(output), threads=threads, device=device or machine.processor())


def _told(process: "subprocess.Popen[str]", check: Check) -> tuple[str, str]:
    while True:
        check()
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_LOOK_SECONDS)
