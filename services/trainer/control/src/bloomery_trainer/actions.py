"""What can be done about a job; `decide` chooses, `carry_out` does it."""

from dataclasses import dataclass

from bloomery_trainer.model import Reason


@dataclass(frozen=True)
class Wait:
    """Nothing to do."""


@dataclass(frozen=True)
class Note:
    """Show another reason."""

    reason: Reason | None


@dataclass(frozen=True)
class Hold:
    """Claim the job's inputs before anything is launched."""


@dataclass(frozen=True)
class Launch:
    """Write the next attempt, then launch it."""


@dataclass(frozen=True)
class Relaunch:
    """Launch the attempt that was written and never launched."""


@dataclass(frozen=True)
class Prepare:
    """The worker's process runs, in that incarnation if it is known."""

    incarnation: str


@dataclass(frozen=True)
class Requeue:
    """The worker was taken away; another one, of that incarnation if it is known, will take up the same attempt."""

    reason: Reason
    incarnation: str


@dataclass(frozen=True)
class Condemn:
    """The attempt is over, whatever its worker thinks; nothing that it says counts any more."""

    reason: Reason


@dataclass(frozen=True)
class Stop:
    """End what runs, after `grace` seconds."""

    grace: float


@dataclass(frozen=True)
class Remove:
    """Forget what has ended."""


@dataclass(frozen=True)
class Retry:
    """Wait `delay` seconds, then make another attempt."""

    reason: Reason
    delay: float
    infrastructure: bool


@dataclass(frozen=True)
class Fail:
    """Give up."""

    reason: Reason


@dataclass(frozen=True)
class Pause:
    """Nothing runs any more: the job is paused."""


@dataclass(frozen=True)
class Cancel:
    """Nothing runs any more: the job is cancelled."""


@dataclass(frozen=True)
class Adopt:
    """Take the result that the worker left without saying so; where there is none, do `otherwise`."""

    otherwise: "Retry | Fail | Pause"


Action = (
    Wait
    | Note
    | Hold
    | Launch
    | Relaunch
    | Prepare
    | Requeue
    | Condemn
    | Stop
    | Remove
    | Retry
    | Fail
    | Pause
    | Cancel
    | Adopt
)
