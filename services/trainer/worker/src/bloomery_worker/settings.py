"""What the launcher tells a worker, by environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TARGET = "BLOOMERY_TRAINER_TARGET"
_TOKEN = "BLOOMERY_ATTEMPT_TOKEN"  # noqa: S105 - the name of a variable
_WORK = "BLOOMERY_WORK_DIR"
_CACHE = "BLOOMERY_CACHE_DIR"
_TERMINATION = "BLOOMERY_TERMINATION_FILE"


class MissingSettingError(Exception):
    """The launcher left something out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Where to work and whom to ask.

    Attributes:
        target: `host:port` of the trainer's worker service.
        token: exchanged for the worker's secret.
        work_dir: this attempt's own folder.
        cache_dir: blobs by digest, shared by the workers of a machine.
        cache_bytes: the size above which the longest unused blobs of the cache are removed.
        termination_file: where the last words go.
        incarnation: what the launcher calls this worker among those of its attempt; empty where it starts one only.
        root_certificates: PEM file for TLS; None for plain text.
        cpus: cores given to the job; 0 for all of the machine.
        memory_bytes: of the machine or the container; 0 for what this machine has.
        stop_grace: seconds from a signal to the supervisor's end; launchers kill soon after.
        settle_grace: seconds that the last checkpoint and the last words may take otherwise.
        stall_after: seconds without a sign of the trainer process after which it counts as stalled.
    """

    target: str
    token: str
    work_dir: Path
    cache_dir: Path
    termination_file: Path
    incarnation: str = ""
    root_certificates: Path | None = None
    cache_bytes: int = 50 << 30
    cpus: float = 0.0
    memory_bytes: int = 0
    stop_grace: float = 15.0
    settle_grace: float = 45.0
    stall_after: float = 600.0


def read_settings(environment: Mapping[str, str] = os.environ) -> WorkerSettings:
    """Reads the settings from the environment.

    Raises:
        MissingSettingError: names every variable that is missing.
    """
    needed = (_TARGET, _TOKEN, _WORK, _CACHE, _TERMINATION)
    missing = [name for name in needed if not environment.get(name)]
    if missing:
        raise MissingSettingError(f"set {', '.join(missing)}: a launcher starts workers, people do not")
    authority = environment.get("BLOOMERY_TRAINER_CA")
    return WorkerSettings(
        target=environment[_TARGET],
        token=environment[_TOKEN],
        work_dir=Path(environment[_WORK]),
        cache_dir=Path(environment[_CACHE]),
        termination_file=Path(environment[_TERMINATION]),
        incarnation=environment.get("BLOOMERY_INCARNATION", ""),
        root_certificates=Path(authority) if authority else None,
        cache_bytes=int(environment.get("BLOOMERY_CACHE_BYTES", 50 << 30)),
        cpus=float(environment.get("BLOOMERY_CPUS") or 0),
        memory_bytes=int(environment.get("BLOOMERY_MEMORY_BYTES") or 0),
        stop_grace=float(environment.get("BLOOMERY_STOP_GRACE", 15.0)),
        stall_after=float(environment.get("BLOOMERY_STALL_AFTER", 600.0)),
    )


def forget_token() -> None:
    """Takes the token out of the environment, so that no child process sees it."""
    os.environ.pop(_TOKEN, None)
