"""The seam between jobs and whatever runs their workers: processes of this machine, or a cluster."""

import enum
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from bloomery_trainer.model import Kind, Reason, Resources


class Phase(enum.Enum):
    """Where a launched thing is."""

    WAITING = enum.auto()
    """Known to the launcher, nothing runs yet; `reason` says why."""
    RUNNING = enum.auto()
    SUSPENDED = enum.auto()
    """An admission controller has stopped it; it will run again by itself.

    Said once nothing of its worker runs any more: until then, while it saves what it has, it is RUNNING.
    """
    ENDED = enum.auto()
    """Nothing of it runs any more."""


@dataclass(frozen=True)
class Termination:
    """A worker's last words: its exit code, whether the service knows the end already, and why it ended.

    They fit `environment.TERMINATION_BYTES` as JSON.
    """

    exit_code: int
    finished: bool = False
    reason: Reason | None = None
    epoch: int = 0


_TERMINATION = TypeAdapter(Termination)


def last_words(text: str | bytes) -> Termination | None:
    """What a worker's last words say; None where they make no sense."""
    try:
        return _TERMINATION.validate_json(text)
    except ValidationError:
        return None


@dataclass(frozen=True)
class Launched:
    """What a launcher sees of one attempt. `exit_code` is negative for a signal, None where nobody saw it.

    An attempt that was RUNNING and is WAITING or SUSPENDED has lost its worker; another may take up the same attempt.

    `incarnation` tells the workers apart that follow each other in one attempt, as the uid of a pod does: it names the
    one that is there or about to be, and is empty where there is none, or where the launcher never starts another.
    Each knows its own by `BLOOMERY_INCARNATION`. So a worker that was taken away and followed by another is noticed
    also where nobody looked between them.
    """

    job_uid: str
    attempt: int
    phase: Phase
    exit_code: int | None = None
    termination: Termination | None = None
    reason: Reason | None = None
    incarnation: str = ""


def follows(incarnation: str, known: str) -> bool:
    """Whether a worker of `incarnation` is another one than that which is known; nobody knows where one is not told."""
    return bool(incarnation and known) and incarnation != known


@dataclass(frozen=True)
class JobFacts:
    """What a launcher may sort, route, label or show by; `deadline_seconds` is what is left of it, 0 for no limit."""

    uid: str
    project: str
    name: str
    kind: Kind
    recipe: str
    priority: int
    deadline_seconds: int
    resources: Resources


@dataclass(frozen=True)
class Order:
    """What to launch: one attempt of a job.

    `environment` and `secrets` are variables of its worker alone, as `launcher.environment` describes them; secrets are
    to be stored nowhere that others can read.
    """

    job: JobFacts
    attempt: int
    environment: Mapping[str, str]
    secrets: Mapping[str, str] = field(default_factory=dict)


class LaunchError(Exception):
    """Nothing was launched, for `reason`."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.message)
        self.reason = reason


class Launcher(Protocol):
    """Starts and stops workers. Every call is idempotent, because nothing fences the launcher's own world.

    A launcher may take a worker away, and start another one for the same attempt once nothing of the former runs any
    more: in a new incarnation, with the same order and an empty folder. What ended by itself stays ENDED, because
    whether it is worth another try is for the trainer to say.
    """

    def capacity(self) -> Resources | None:
        """What there is to hand out in all; None where somebody else keeps count."""
        ...

    async def launch(self, order: Order) -> None:
        """Start an attempt, once: one that is launched already stays as it is. Raise LaunchError."""
        ...

    async def observe(self) -> Sequence[Launched]:
        """Everything that was launched and not removed.

        A consistent read: what any call to `launch` or `remove` has done before this one began is in it, and the
        incarnation of any worker that had begun by then, or a later one. A cache that may be older than that is none.
        Only the phase may lag behind: WAITING of an incarnation that has called the trainer is taken for RUNNING.
        """
        ...

    async def stop(self, job_uid: str, attempt: int, *, grace: float) -> None:
        """Ask it to end, and end it `grace` seconds after it was first asked; to be called until it has ended."""
        ...

    async def remove(self, job_uid: str, attempt: int) -> None:
        """Forget something that ended, with the files that it left."""
        ...

    def logs(self, job_uid: str, attempt: int, *, tail: int, follow: bool = False) -> AsyncIterator[str]:
        """The last `tail` lines that the worker's process wrote, without newlines; none where nothing is known of it.

        With `follow` also those that it goes on to write, until it has ended.
        """
        ...

    async def free_bytes(self) -> int | None:
        """Space left for workers; None where somebody else keeps count."""
        ...

    async def follow(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever `observe` may have more to say, for some time; to be called again and again.

        It may be too often or never: whoever looks, looks anyway.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; workers go on."""
        ...
