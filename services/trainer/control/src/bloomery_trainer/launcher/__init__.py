"""The seam between jobs and whatever runs their workers: processes of this machine, or a cluster."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bloomery_trainer.model import Reason, Resources, Termination


class Phase(enum.Enum):
    """Where a launched thing is."""

    WAITING = enum.auto()
    """Known to the launcher, nothing runs yet; `reason` says why."""
    RUNNING = enum.auto()
    SUSPENDED = enum.auto()
    """An admission controller has stopped it; it will run again by itself."""
    ENDED = enum.auto()
    """Nothing of it runs any more."""


@dataclass(frozen=True)
class Launched:
    """What a launcher sees of one attempt. `exit_code` is negative for a signal, None where nobody saw it."""

    job_uid: str
    attempt: int
    phase: Phase
    exit_code: int | None = None
    termination: Termination | None = None
    reason: Reason | None = None


@dataclass(frozen=True)
class Order:
    """What to launch: one attempt, what it takes, and the environment that its worker alone needs."""

    job_uid: str
    attempt: int
    resources: Resources
    environment: Mapping[str, str]


class LaunchError(Exception):
    """Nothing was launched, for `reason`."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.message)
        self.reason = reason


class Launcher(Protocol):
    """Starts and stops workers. Every call is idempotent, because nothing fences the launcher's own world."""

    def capacity(self) -> Resources | None:
        """What there is to hand out in all; None where somebody else keeps count."""
        ...

    async def launch(self, order: Order) -> None:
        """Start an attempt, once: one that is launched already stays as it is. Raise LaunchError."""
        ...

    async def observe(self) -> Sequence[Launched]:
        """Everything that was launched and not removed."""
        ...

    async def stop(self, job_uid: str, attempt: int, *, grace: float) -> None:
        """Ask it to end, and end it `grace` seconds after it was first asked; to be called until it has ended."""
        ...

    async def remove(self, job_uid: str, attempt: int) -> None:
        """Forget something that ended, with the files that it left."""
        ...

    async def log_tail(self, job_uid: str, attempt: int, *, lines: int) -> Sequence[str]:
        """The last lines that the worker's process wrote; empty when there are none."""
        ...

    async def free_bytes(self) -> int | None:
        """Space left for workers; None where somebody else keeps count."""
        ...
