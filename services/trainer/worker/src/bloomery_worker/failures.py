"""Why work could not be done: one value, and the exceptions that recipes raise for it."""

import errno
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SMALLER = "choose a smaller batch or image size"
_LISTED = 5
_GPU_MEMORY = re.compile(r"CUDA out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDA error: out of memory", re.IGNORECASE)
_CHILD_KILLED = re.compile(r"DataLoader worker \(pid.*killed by signal: Killed|exited unexpectedly", re.IGNORECASE)
_SHARED_MEMORY = re.compile(r"Bus error|unable to allocate shared memory|No space left on device \(28\).*shm")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, for people.

    Attributes:
        code: stable, upper snake case, such as "OOM_GPU".
        message: what happened.
        hint: what to do about it.
        retriable: whether another attempt is worth it.
    """

    code: str
    message: str
    hint: str = ""
    retriable: bool = False


def some(items: Sequence[str], separator: str = ", ") -> str:
    """The first few of many items, and how many more there are."""
    more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return separator.join(items[:_LISTED]) + more


class WorkError(Exception):
    """Work that cannot be done, for a reason that is known."""

    code = "USER_CODE"
    retriable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class DataError(WorkError):
    """The dataset cannot be used. `items` name what is wrong in it."""

    code = "DATA_ERROR"

    def __init__(self, message: str, *, hint: str = "", items: Sequence[str] = ()) -> None:
        super().__init__(f"{message}: {some(items, '; ')}" if items else message, hint=hint)


class ConfigError(WorkError):
    """The parameters or the base weights cannot be used."""

    code = "CONFIG_ERROR"


class UnsafeFileError(ConfigError):
    """A file that people gave would run code where it is opened. None of it was run."""

    code = "UNSAFE_FILE"


class HostMemoryError(WorkError):
    """The work would take more memory than the machine has."""

    code = "OOM_HOST"


class GpuMemoryError(WorkError):
    """The work takes more memory than the GPU has."""

    code = "OOM_GPU"


class TransferError(WorkError):
    """Bytes that did not arrive, and may arrive when it is tried again."""

    code = "WORKER_LOST"
    retriable = True


class TrustError(TransferError):
    """The worker and the trainer service do not agree about TLS."""

    def __init__(self, told: str) -> None:
        super().__init__(
            f"the worker does not trust the trainer's certificate: {told}",
            hint="set BLOOMERY_TRAINER_CA on the server to the PEM file of the authority that signed it, for the host "
            "in BLOOMERY_WORKER_TARGET; without TLS on that port, leave it out",
        )


class DiskFullError(WorkError):
    """Files do not fit on the disk, now or, where it is not `retriable`, ever."""

    code = "DISK_FULL"

    def __init__(self, message: str, *, hint: str, retriable: bool) -> None:
        super().__init__(message, hint=hint)
        self.retriable = retriable


class ExportError(WorkError):
    """A model cannot be exported, or its export does not give the same answers."""

    code = "EXPORT_FAILED"


def batch_hint(batch: int, largest: int) -> str:
    """What to do where memory ran out with `batch` images a step; `largest` fit as far as is known, 0 for unknown."""
    if not largest:
        return SMALLER
    if largest < batch:
        return f"choose a batch of at most {largest}, or a smaller image size"
    return f"choose a batch smaller than {batch}: {largest} seemed to fit, so that something else takes memory as well"


def classify(problem: BaseException, *, smaller: str = SMALLER) -> Failure:
    """The reason for an exception that ended the work; `smaller` is the hint where memory ran out."""
    if isinstance(problem, WorkError):
        return Failure(problem.code, str(problem), problem.hint, problem.retriable)
    return _known(problem, smaller) or Failure(
        "USER_CODE",
        f"{type(problem).__name__}: {problem}",
        "the job's log shows where; if the parameters are right, report it",
    )


def killed(signal_number: int, *, out_of_memory: bool, log_tail: str = "", smaller: str = SMALLER) -> Failure:
    """The reason for a trainer process that a signal ended; `smaller` is the hint where memory ran out."""
    if out_of_memory or _SHARED_MEMORY.search(log_tail):
        return _host_memory("the trainer process was killed because the machine ran out of memory", smaller)
    return lost(f"the trainer process was killed by signal {signal_number}")


def lost(message: str) -> Failure:
    """The reason where a part of the worker is gone, for no fault of the work."""
    return Failure("WORKER_LOST", message, "another attempt goes on from the last checkpoint", retriable=True)


def crashed(exit_code: int) -> Failure:
    """The reason for a trainer process that ended by itself without saying why."""
    message = f"the trainer process ended with exit code {exit_code} and no result"
    return Failure("USER_CODE", message, "the job's log shows its last lines")


def _known(problem: BaseException, smaller: str) -> Failure | None:
    text = " ".join(str(one) for one in _chain(problem))
    if _GPU_MEMORY.search(text):
        return Failure("OOM_GPU", _first_line(problem), smaller)
    if any(isinstance(one, MemoryError) for one in _chain(problem)) or _CHILD_KILLED.search(text):
        return _host_memory(_first_line(problem), smaller)
    if any(isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT) for one in _chain(problem)):
        return Failure("DISK_FULL", _first_line(problem), "free disk space on the worker's machine", retriable=True)
    return None


def _host_memory(message: str, smaller: str) -> Failure:
    return Failure("OOM_HOST", message, f"{smaller}, or give the job more memory", retriable=True)


def _chain(problem: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = problem
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _first_line(problem: BaseException) -> str:
    lines = str(problem).strip().splitlines()
    return lines[0] if lines else type(problem).__name__
