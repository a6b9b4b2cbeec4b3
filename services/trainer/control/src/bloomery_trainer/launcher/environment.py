"""The environment of a worker's processes: a contract between the trainer, its launchers and the worker.

The trainer gives with each order:

    BLOOMERY_TRAINER_TARGET    host:port of WorkerService
    BLOOMERY_ATTEMPT_TOKEN     secret: what StartAttempt exchanges for the attempt's own secret

The launcher adds what only it knows:

    BLOOMERY_WORK_DIR          a folder of the attempt's own, in which the launcher may keep files too
    BLOOMERY_CACHE_DIR         blobs by digest, shared by the workers of a machine
    BLOOMERY_TERMINATION_FILE  where the worker's last words go, at most 4 KiB of JSON
    BLOOMERY_CPUS              cores that the attempt may use, a decimal number
    BLOOMERY_MEMORY_BYTES      memory that it may use
    OMP_NUM_THREADS            the same cores as a whole number, at least 1
    OMP_WAIT_POLICY            PASSIVE: threads that wait for others leave their core to whoever else has work
    CUDA_VISIBLE_DEVICES       indices of its GPUs with commas; empty for none
    BLOOMERY_INCARNATION       what `observe` calls this worker, as the uid of its pod; left out by a launcher that
                               starts one worker for each attempt

Whoever runs the installation may set on the server what workers inherit: proxies, certificates, what any
program is told (PATH, HOME, LANG, LC_ALL, TMPDIR, TZ, LD_LIBRARY_PATH), and

    BLOOMERY_TRAINER_CA        absolute path of the PEM file for TLS to WorkerService; plain text without
    BLOOMERY_WEIGHTS           folder of base weights
    BLOOMERY_CACHE_BYTES       size above which the longest unused blobs of the cache go
    BLOOMERY_STALL_AFTER       seconds without a step after which the work counts as stalled
    BLOOMERY_STOP_GRACE        seconds that a worker that is told to stop takes for its last checkpoint

Nothing else of the server's environment reaches a worker.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bloomery_trainer.model import Resources

TRAINER_TARGET = "BLOOMERY_TRAINER_TARGET"
ATTEMPT_TOKEN = "BLOOMERY_ATTEMPT_TOKEN"  # noqa: S105 - the name of a variable
INCARNATION = "BLOOMERY_INCARNATION"
TERMINATION_FILE = "BLOOMERY_TERMINATION_FILE"
TERMINATION_BYTES = 4 << 10
"""Of a worker's last words; what a cluster keeps of a container's."""
_INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "LD_LIBRARY_PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "BLOOMERY_TRAINER_CA",
    "BLOOMERY_WEIGHTS",
    "BLOOMERY_CACHE_BYTES",
    "BLOOMERY_STALL_AFTER",
    "BLOOMERY_STOP_GRACE",
)


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """What of a server's own environment its workers get; the rest holds secrets."""
    return {name: environment[name] for name in _INHERITED if name in environment}


def of_machine(
    *, work_dir: Path, cache_dir: Path, termination: Path, room: Resources, gpus: Sequence[int]
) -> dict[str, str]:
    """What a launcher adds on one machine; `room` is what the attempt may use of it, `gpus` its devices."""
    return {
        "BLOOMERY_WORK_DIR": str(work_dir),
        "BLOOMERY_CACHE_DIR": str(cache_dir),
        TERMINATION_FILE: str(termination),
        "BLOOMERY_CPUS": f"{room.cpus:g}",
        "BLOOMERY_MEMORY_BYTES": str(room.memory_bytes),
        "OMP_NUM_THREADS": str(max(1, int(room.cpus))),
        # Threads that spin while they wait make a training beside another one three times as long.
        "OMP_WAIT_POLICY": "PASSIVE",
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)),
    }
