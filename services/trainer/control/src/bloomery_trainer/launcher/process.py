"""Workers as processes of this machine, each in a session and a folder of its own.

The folder is the truth: a worker records its own pid, start time and boot there before it becomes the worker, so a
server that dies in the middle of a launch finds it again, and one that launches twice starts one.
"""

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGPIPE, SIGTERM
from threading import Lock

from bloomery_trainer import reasons
from bloomery_trainer.launcher import (
    Launched,
    LaunchError,
    Order,
    Phase,
    Termination,
    environment,
    last_words,
    logfile,
    procfs,
)
from bloomery_trainer.launcher.machine import count, free_gpus
from bloomery_trainer.model import Reason, Resources
from bloomery_trainer.settings import ProcessLauncherSettings

# The link fails if there is one already, and is there as a whole or not at all.
_SHIM = (
    'cd "$1" || exit 70; { cat /proc/sys/kernel/random/boot_id "/proc/$$/stat" >"process.$$"'
    ' && ln "process.$$" process; } || exit 70; rm -f "process.$$"; shift; exec "$@"'
)
_LOG = "worker.log"
_SECOND_LOOK = 0.02


@dataclass(frozen=True)
class _Folder:
    path: Path
    job_uid: str
    attempt: int

    @property
    def key(self) -> tuple[str, int]:
        return self.job_uid, self.attempt

    @property
    def termination(self) -> Path:
        return self.path / "termination.json"

    @property
    def mark(self) -> str:
        """An entry of the environment that all processes of the attempt share and no other has."""
        return f"{environment.TERMINATION_FILE}={self.termination}"


class ProcessLauncher:
    """A `Launcher` of local processes in `jobs_dir`/<job uid>/<attempt>."""

    def __init__(
        self,
        settings: ProcessLauncherSettings,
        *,
        inherited: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs_dir = settings.jobs_dir.absolute()
        self._cache_dir = settings.cache_dir.absolute()
        self._python = settings.worker_python
        self._capacity = count(settings.machine)
        self._inherited = environment.inherited(inherited)
        self._clock = clock
        self._children: dict[tuple[str, int], int] = {}
        self._exit_codes: dict[tuple[str, int], int] = {}
        self._deadlines: dict[tuple[str, int], float] = {}
        self._deserted: set[tuple[str, int]] = set()
        self._launching = Lock()
        for folder in (self._jobs_dir, self._cache_dir):
            folder.mkdir(parents=True, exist_ok=True)

    def capacity(self) -> Resources:
        """What the machine has."""
        return self._capacity

    async def launch(self, order: Order) -> None:
        """Start the worker's process."""
        await asyncio.to_thread(self._launch, order)

    async def observe(self) -> Sequence[Launched]:
        """Look at every folder."""
        return await asyncio.to_thread(self._observe)

    async def stop(self, job_uid: str, attempt: int, *, grace: float) -> None:
        """SIGTERM for the supervisor, then SIGKILL for everything in its session."""
        await asyncio.to_thread(self._stop, self._folder(job_uid, attempt), grace)

    async def remove(self, job_uid: str, attempt: int) -> None:
        """Delete the folder, with the job's when it is the last in there."""
        await asyncio.to_thread(self._remove, self._folder(job_uid, attempt))

    async def logs(self, job_uid: str, attempt: int, *, tail: int, follow: bool = False) -> AsyncIterator[str]:
        """What is in worker.log."""
        folder = self._folder(job_uid, attempt)

        async def ended() -> bool:
            return not follow or not await asyncio.to_thread(self._runs, folder)

        async for line in logfile.lines(folder.path / _LOG, tail=tail, ended=ended):
            yield line

    async def free_bytes(self) -> int:
        """Space on the disk of the folders."""
        return (await asyncio.to_thread(shutil.disk_usage, self._jobs_dir)).free

    async def follow(self, tell: Callable[[], None]) -> None:  # noqa: ARG002 - of the seam
        """Never: the next look comes soon enough."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Nothing is open."""

    def _folder(self, job_uid: str, attempt: int) -> _Folder:
        return _Folder(self._jobs_dir / job_uid / str(attempt), job_uid, attempt)

    def _launch(self, order: Order) -> None:
        # One at a time: each sees which devices the one before has taken.
        with self._launching:
            self._launch_alone(order)

    def _launch_alone(self, order: Order) -> None:
        if not os.access(self._python, os.X_OK):
            raise LaunchError(_no_interpreter(self._python))
        folder = self._folder(order.job.uid, order.attempt)
        if (folder.path / "process").exists() or folder.key in self._children:
            return
        try:
            self._spawn(folder, order)
        except OSError as error:
            raise LaunchError(reasons.launch_failed(f"the worker's process could not be started: {error}")) from error

    def _spawn(self, folder: _Folder, order: Order) -> None:
        folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        gpus = self._assign_gpus(folder, order.job.resources.gpus)
        command = ("/bin/sh", "-c", _SHIM, "sh", str(folder.path), str(self._python), "-P", "-m", "bloomery_worker")
        log = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # A Popen object would complain about a worker that outlives this server.
        self._children[folder.key] = os.posix_spawn(
            command[0],
            command,
            self._worker_environment(folder, order, gpus),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(folder.path / _LOG), log, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigdef=(SIGINT, SIGTERM, SIGPIPE),
            setsigmask=(),
        )

    def _assign_gpus(self, folder: _Folder, count: int) -> Sequence[int]:
        """Devices that no other attempt has; the same ones where a launch of this attempt is repeated."""
        if not count:
            return ()
        if len(known := self._gpus_of(folder)) == count:
            return known
        taken = [index for other in self._folders() if other != folder for index in self._gpus_of(other)]
        chosen = free_gpus(self._capacity.gpus, taken)[:count]
        if len(chosen) < count:
            raise LaunchError(reasons.launch_failed(f"{len(chosen)} of {count} GPUs are free"))
        (folder.path / "gpus.json").write_text(json.dumps({"boot": procfs.boot_id(), "gpus": chosen}))
        return chosen

    def _gpus_of(self, folder: _Folder) -> list[int]:
        """The devices that an attempt holds: from its launch on, before its process has written itself down."""
        process = self._process(folder)
        if process is None and folder.key in self._exit_codes:
            return []
        return [] if process is not None and not procfs.is_alive(process) else _recorded_gpus(folder)

    def _worker_environment(self, folder: _Folder, order: Order, gpus: Sequence[int]) -> dict[str, str]:
        cpus = min(order.job.resources.cpus, self._capacity.cpus) or self._capacity.cpus
        added = environment.of_machine(
            work_dir=folder.path,
            cache_dir=self._cache_dir,
            termination=folder.termination,
            room=Resources(cpus, self._capacity.memory_bytes, len(gpus)),
            gpus=gpus,
        )
        return {**self._inherited, **added, **order.environment, **order.secrets}

    def _folders(self) -> list[_Folder]:
        found = [path for job in _subfolders(self._jobs_dir) for path in _subfolders(job)]
        return [_Folder(path, path.parent.name, int(path.name)) for path in found if path.name.isdigit()]

    def _observe(self) -> list[Launched]:
        folders = self._folders()
        for folder in folders:
            self._reap(folder.key)
        return [launched for folder in folders if (launched := self._look(folder))]

    def _look(self, folder: _Folder) -> Launched | None:
        process = self._process(folder)
        if process is None and folder.key in self._children:
            return Launched(*folder.key, Phase.WAITING)
        if process is None and folder.key not in self._exit_codes:
            # A server died in the middle of a launch; launching again starts one worker, whoever comes first.
            return None
        if process is not None and (procfs.is_alive(process) or self._has_survivors(folder, process)):
            return Launched(*folder.key, Phase.RUNNING)
        termination = _read_termination(folder.termination)
        exit_code = termination.exit_code if termination else self._exit_codes.get(folder.key)
        return Launched(*folder.key, Phase.ENDED, exit_code, termination)

    def _runs(self, folder: _Folder) -> bool:
        launched = self._look(folder)
        return launched is not None and launched.phase is not Phase.ENDED

    def _process(self, folder: _Folder) -> procfs.Identity | None:
        try:
            return procfs.parse((folder.path / "process").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _has_survivors(self, folder: _Folder, leader: procfs.Identity) -> bool:
        # Nothing outlives its supervisor. Once nothing did, the session's number may become a stranger's.
        if folder.key in self._deserted:
            return False
        survivors = list(procfs.kin(leader, folder.mark))
        if not survivors:
            # A process that was just starting another program had no environment to know it by.
            time.sleep(_SECOND_LOOK)
            survivors = list(procfs.kin(leader, folder.mark))
        for pid in survivors:
            procfs.signal(pid, SIGKILL)
        if not survivors:
            self._deserted.add(folder.key)
        return bool(survivors)

    def _reap(self, key: tuple[str, int]) -> None:
        pid = self._children.get(key)
        if pid is None:
            return
        try:
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            del self._children[key]
            return
        if found:
            self._exit_codes[key] = os.waitstatus_to_exitcode(status)
            del self._children[key]

    def _stop(self, folder: _Folder, grace: float) -> None:
        process = self._process(folder)
        deadline = self._deadlines.get(folder.key)
        if deadline is None and grace > 0 and process is not None:
            self._deadlines[folder.key] = self._clock() + grace
            if procfs.is_alive(process):
                procfs.signal(process.pid, SIGTERM)
        elif grace <= 0 or process is None or deadline is None or self._clock() >= deadline:
            self._kill(folder)

    def _kill(self, folder: _Folder) -> None:
        if (process := self._process(folder)) is None:
            return
        if procfs.is_alive(process):
            procfs.signal(process.pid, SIGKILL)
        self._has_survivors(folder, process)

    def _remove(self, folder: _Folder) -> None:
        shutil.rmtree(folder.path, ignore_errors=True)
        with suppress(OSError):
            folder.path.parent.rmdir()
        self._exit_codes.pop(folder.key, None)
        self._deadlines.pop(folder.key, None)
        self._deserted.discard(folder.key)


def _subfolders(folder: Path) -> list[Path]:
    """The folders in a folder; none where it is gone. What cannot be read raises: it must not look deleted."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        return [folder / entry.name for entry in entries if entry.is_dir()]
    return []


def _no_interpreter(python: Path) -> Reason:
    return reasons.config_error(
        f"there is no worker environment at {python}",
        "make it with `make setup`, or name another interpreter in BLOOMERY_LAUNCHER__WORKER_PYTHON",
    )


def _recorded_gpus(folder: _Folder) -> list[int]:
    try:
        recorded = json.loads((folder.path / "gpus.json").read_text())
        return list(map(int, recorded["gpus"])) if recorded["boot"] == procfs.boot_id() else []
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _read_termination(path: Path) -> Termination | None:
    try:
        if path.stat().st_size > environment.TERMINATION_BYTES:
            return None
        return last_words(path.read_bytes())
    except OSError:
        return None
