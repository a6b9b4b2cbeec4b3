"""One attempt from its token to its end: all that talks to the network, and the watch over the trainer process."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from functools import cached_property
from uuid import uuid4

import httpx

from bloomery.training.v1 import StartAttemptRequest, StartAttemptResponse
from bloomery_worker import failures, logfile
from bloomery_worker.blobs import http_client
from bloomery_worker.cache import BlobCache
from bloomery_worker.checkpoints import Checkpoints
from bloomery_worker.client import FencedError, WorkerClient
from bloomery_worker.ending import Conclusion, Ended, Failed, Stopped, with_energy
from bloomery_worker.energy import MILLI, Counter, EnergyMeter, processor_counters
from bloomery_worker.event_files import EventFiles
from bloomery_worker.events import (
    log_event,
    metrics_event,
    preflight_event,
    progress_event,
    samples_event,
    system_event,
)
from bloomery_worker.gpus import VISIBLE, Gpus
from bloomery_worker.inputs import Inputs
from bloomery_worker.kernel import out_of_memory_kills
from bloomery_worker.load import LoadMeter
from bloomery_worker.loops import Loops
from bloomery_worker.messages import (
    CheckpointNote,
    EventsNote,
    FailedNote,
    LogNote,
    MetricsNote,
    Note,
    PreflightNote,
    ProgressNote,
    ResultNote,
    SamplesNote,
    Start,
    Stop,
    StoppedNote,
)
from bloomery_worker.preparation import Preparation
from bloomery_worker.process import TrainerProcess
from bloomery_worker.reporter import Order, Reporter
from bloomery_worker.settings import WorkerSettings, forget_token
from bloomery_worker.spool import Spool
from bloomery_worker.suggesting import Suggesting
from bloomery_worker.tasks import task
from bloomery_worker.termination import ExitCode, LastWords
from bloomery_worker.uploads import Uploads

WATCH_INTERVAL = 10.0
REPORT_INTERVAL = 2.0
LAST_WORD_SECONDS = 3.0
CHECKPOINT_SECONDS = 600.0
"""For those that wait where training has ended: people asked for them, and the work took longer."""

_LOG = logging.getLogger(__name__)


async def supervise(settings: WorkerSettings) -> LastWords:
    """Runs the attempt to its end."""
    forget_token()
    client = WorkerClient(settings.target, root_certificates=settings.root_certificates)
    # The trainer process loads torch while the service and the object store are asked.
    trainer = await TrainerProcess.spawn(settings.work_dir, os.environ)
    try:
        async with http_client() as http:
            return await Attempt(settings, client, http, trainer).run()
    except FencedError as fenced:
        _LOG.warning("fenced: %s", fenced)
        return LastWords(ExitCode.FENCED, finished=False)
    finally:
        await trainer.kill()
        await client.close()


class Attempt:
    """What happens between StartAttempt and FinishAttempt."""

    def __init__(
        self, settings: WorkerSettings, client: WorkerClient, http: httpx.AsyncClient, trainer: TrainerProcess
    ) -> None:
        self._settings, self._client, self._http, self._trainer = settings, client, http, trainer
        self._cache = BlobCache(settings.cache_dir)
        self._spool = Spool(settings.work_dir / "spool.db")
        self._reporter = Reporter(client, self._spool, interval=REPORT_INTERVAL, obey=self._obey)
        self._uploads = Uploads(client, http)
        self._checkpoints = Checkpoints(self._uploads, self._reporter.add)
        self._event_files = EventFiles(self._uploads, self._warn)
        self._order, self._ordered, self._ordered_at = Order(), asyncio.Event(), 0.0
        self._loops = Loops(warn=self._warn, fenced=lambda: self._obey(Order(fenced=True)), ended=self._ordered.set)
        self._loops.add("reporter", self._reporter.turn)
        self._loops.add("checkpoint uploader", self._checkpoints.turn)
        self._loops.add("uploader of events", self._event_files.turn)
        self._loops.add("watch over the trainer process", self._watch)
        self._trainer_busy = False
        self._last_sign = time.monotonic()
        self._memory_kills = out_of_memory_kills()
        self._smaller = failures.SMALLER
        self._gpus = Gpus(os.environ.get(VISIBLE))
        self._energy = EnergyMeter([*processor_counters(), Counter(self._gpus.millijoules, MILLI)])

    async def run(self) -> LastWords:
        """Runs it. Raises FencedError."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._obey, Order(stop=True, urgent=True))
        try:
            start = await self._bind()
            if start is None:
                return LastWords(ExitCode.STOPPED, finished=False)
            self._checkpoints.epoch = self._event_files.resume_epoch = start.resume_epoch
            asked = start.job.effective_parameters.fields
            self._checkpoints.every, self._checkpoints.keep = (
                int(asked[name].number_value) if name in asked else 0 for name in ("save_every", "keep")
            )
            async with self._loops.running():
                return await self._work_and_conclude(start)
        finally:
            self._spool.close()
            self._cache.close()

    async def _bind(self) -> StartAttemptResponse | None:
        """The answer to StartAttempt; None where a signal came first."""
        request = StartAttemptRequest(
            token=self._settings.token,
            worker_id=uuid4().hex,
            host=socket.gethostname(),
            process_id=os.getpid(),
            incarnation=self._settings.incarnation,
        )
        async with task(self._client.start(request)) as start:
            await self._done_or_ordered(start)
            return start.result() if start.done() else None

    async def _work_and_conclude(self, start: StartAttemptResponse) -> LastWords:
        async with task(self._work(start)) as work:
            ended = with_energy(await self._until_ended(work), self._energy.read())
        if not (self._order.force or self._loops.lost):
            patient = isinstance(ended, ResultNote) and not self._order.stop
            await self._checkpoints.settle(CHECKPOINT_SECONDS if patient else self._seconds_left())
        if not (self._order.force or self._loops.lost):
            await self._event_files.settle(self._seconds_left())
        conclusion = Conclusion(self._client, self._uploads, self._reporter, patience=self._seconds_left())
        return await conclusion.conclude(ended, epoch=self._checkpoints.epoch)

    def _seconds_left(self) -> float:
        """What is left of the grace; enough for a last word in any case."""
        grace = self._settings.stop_grace if self._order.urgent else self._settings.settle_grace
        waited = time.monotonic() - self._ordered_at if self._order.stop else 0.0
        return max(grace - waited, LAST_WORD_SECONDS)

    async def _work(self, start: StartAttemptResponse) -> Ended:
        try:
            inputs = Inputs(self._cache, self._client, self._http)
            job = await Preparation(self._settings, self._client, self._cache, inputs, self._take_progress).run(start)
            self._trainer_busy = True
            self._trainer.send(Start(job))
            ended = await self._listen()
            if start.job.suggest and isinstance(ended, ResultNote):
                return await Suggesting(self._client, self._take_progress, self._warn).suggested(ended)
            return ended
        except FencedError:
            raise
        except Exception as problem:  # noqa: BLE001 - every reason must reach people, also that of a fault of our own
            _LOG.exception("the work cannot be done")
            return Failed(failures.classify(problem))

    async def _listen(self) -> Ended:
        async for note in self._trainer.notes():
            self._last_sign = time.monotonic()
            ended = self._take(note)
            if ended is not None:
                return ended
        return self._died(await self._trainer.wait())

    def _take(self, note: Note) -> Ended | None:
        match note:
            case ProgressNote():
                self._take_progress(note)
            case MetricsNote():
                self._reporter.add(metrics_event(note))
            case PreflightNote():
                self._smaller = note.smaller
                self._reporter.add(preflight_event(note))
            case SamplesNote():
                self._reporter.add(samples_event(note))
            case LogNote():
                self._reporter.add(log_event(note))
            case CheckpointNote() | EventsNote():
                self._keep(note)
            case ResultNote():
                return note
            case StoppedNote(epoch):
                return Stopped(epoch)
            case FailedNote(failure):
                return Failed(failure, self._trainer.log_tail())
        return None

    def _keep(self, note: CheckpointNote | EventsNote) -> None:
        if isinstance(note, CheckpointNote):
            self._checkpoints.put(note)
        else:
            self._event_files.put(note)

    def _take_progress(self, note: ProgressNote) -> None:
        self._reporter.enter(note.phase)
        self._reporter.add(progress_event(note))

    def _died(self, exit_code: int) -> Failed:
        tail = self._trainer.log_tail()
        if exit_code >= 0:
            return Failed(failures.crashed(exit_code), tail, exit_code)
        out_of_memory = exit_code == -signal.SIGKILL and out_of_memory_kills() > self._memory_kills
        failure = failures.killed(-exit_code, out_of_memory=out_of_memory, log_tail=tail, smaller=self._smaller)
        return Failed(failure, tail, exit_code)

    def _obey(self, order: Order) -> None:
        before = self._order
        self._order = before | order
        if not before.stop:
            self._ordered_at = time.monotonic()
        if self._order != before:
            self._ordered.set()

    async def _until_ended(self, work: asyncio.Task[Ended]) -> Ended:
        """Waits for the work, and sees to it that it ends when it is ordered to."""
        if self._order == Order() and not self._loops.lost:
            await self._done_or_ordered(work)
        if work.done():
            return work.result()
        if self._order.fenced:
            raise FencedError("the attempt was superseded")
        if self._loops.lost:
            return await self._lost()
        if not self._trainer_busy:
            return Stopped(self._checkpoints.epoch)
        self._trainer.send(Stop())
        return await self._until_stopped(work)

    async def _until_stopped(self, work: asyncio.Task[Ended]) -> Ended:
        with contextlib.suppress(TimeoutError):
            while not (work.done() or self._order.force or self._order.fenced or self._loops.lost):
                # Each order may leave less time than the one before.
                async with asyncio.timeout(self._seconds_left()):
                    await self._done_or_ordered(work)
        if self._order.fenced:
            raise FencedError("the attempt was superseded")
        if work.done():
            return work.result()
        await self._trainer.kill()
        return Stopped(self._checkpoints.epoch)

    async def _lost(self) -> Failed:
        """Nobody would hear of the work any more, or of its checkpoints."""
        await self._trainer.kill()
        return Failed(failures.lost(f"the worker's {self._loops.lost} has ended"))

    async def _done_or_ordered(self, work: asyncio.Task[Ended] | asyncio.Task[StartAttemptResponse]) -> None:
        async with task(self._ordered.wait()) as ordered:
            await asyncio.wait({work, ordered}, return_when=asyncio.FIRST_COMPLETED)
        self._ordered.clear()

    def _warn(self, message: str) -> None:
        self._reporter.add(log_event(LogNote(logging.WARNING, message), source="supervisor"))

    @cached_property
    def _load(self) -> LoadMeter:
        return LoadMeter(self._trainer.pid, self._gpus)

    async def _watch(self) -> None:
        # Made before the pause, or its first window were the moment between two lines of code.
        load = await asyncio.to_thread(lambda: self._load)
        await asyncio.sleep(min(WATCH_INTERVAL, self._settings.stall_after / 4))
        silent = time.monotonic() - self._last_sign
        self._reporter.stalled = self._trainer_busy and silent > self._settings.stall_after
        self._reporter.add(system_event(await asyncio.to_thread(load.read)))
        # Its counters begin again every few minutes at full power.
        await asyncio.to_thread(self._energy.read)
        for log in (self._trainer.log, logfile.OWN):
            await asyncio.to_thread(logfile.shorten, log)
