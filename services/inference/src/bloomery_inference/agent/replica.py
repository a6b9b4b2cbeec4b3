"""One replica: what its runtime has loaded, brought to what the newest plan asks for.

It is one loop, so that nothing else loads or unloads meanwhile: notice what the runtime has lost, load what is not
ready, and let go of what left the plan once everything in it is READY or FAILED. A plan that cannot be read changes
nothing.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from bloomery_inference.agent.model import Plan, PlannedModel, Report
from bloomery_inference.serving.model import LoadedModel, LoadState
from bloomery_kit.errors import Unavailable
from bloomery_kit.feeds import Subscription
from bloomery_kit.loops import guarded
from bloomery_kit.metrics import REGISTRY
from bloomery_kit.names import new_uid

if TYPE_CHECKING:
    from bloomery_inference.agent.loader import Loader

LOOP = "replica models"
PLAN_LOOP = "replica plan"
REPORT_LOOP = "replica reports"
MODELS = Gauge("bloomery_replica_models", "Models of this replica by state.", ("state",), registry=REGISTRY)
LOADS = Counter(
    "bloomery_replica_loads_total", "Tries to make a model ready, by what became of it.", ("state",), registry=REGISTRY
)
LOSSES = Counter(
    "bloomery_replica_losses_total", "Restarts of the runtime in which it lost its models.", registry=REGISTRY
)
_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
LOAD_SECONDS = Histogram(
    "bloomery_replica_load_seconds",
    "Time to fetch a model, load it and let it answer a sample, where that went well.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
CONVERGENCE_SECONDS = Histogram(
    "bloomery_replica_convergence_seconds",
    "From a plan that differs to all that it asks for being ready or failed.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
RUNTIME_UP = Gauge(
    "bloomery_replica_runtime_up",
    "1 while the runtime of this replica answers, 0 while not, NaN before it was asked.",
    registry=REGISTRY,
)
RUNTIME_UP.set(math.nan)
for _state in (LoadState.READY, LoadState.LOADING, LoadState.FAILED):
    LOADS.labels(_state)
for _state in LoadState:
    MODELS.labels(_state)
_SAMPLE_SECONDS = 30.0
_IDLE_SECONDS = 60.0
_FAILED_PAUSE = 30.0
"""Times the pause behind what may pass: what the runtime refuses it will most likely refuse again."""
_LONGEST = 20.0
"""Times the first pause."""


@dataclass
class _Wait:
    """When a model is tried again, and how long it waits if that fails, in seconds of the replica's own clock."""

    due: float
    pause: float


class Replica:
    """Keeps the models of a plan loaded.

    Every `look` seconds it asks the runtime what is loaded there, and every `probe` seconds each model answers its
    sample. What may pass is tried again after `retry` seconds and then with longer pauses, what is FAILED less often.
    """

    def __init__(
        self,
        models: Loader,
        *,
        look: float,
        probe: float,
        retry: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._look_again = look
        self._probe = probe
        self._retry = retry
        self._clock = clock
        self._plan: Plan | None = None
        self._planned = clock()
        self._states: dict[str, LoadedModel] = {}
        self._waits: dict[str, _Wait] = {}
        self._served: set[str] = set()
        self._probed = clock()
        self._away = ""
        self._observed: int | None = None
        self._incarnation = new_uid()
        self._sequence = 0
        self._news = Subscription()
        self.changed = Subscription()
        """Woken by each change of what `report` tells."""

    @property
    def plan(self) -> Plan | None:
        """The newest one, None before there is any."""
        return self._plan

    def want(self, plan: Plan) -> None:
        """Take a plan, or the same one with requests that are signed anew, as soon as the present model is through."""
        if not plan.is_same(self._plan):
            self._planned = self._clock()
            self._news.wake()
        self._plan = plan

    def report(self) -> Report:
        """All that it has now; nothing is READY in a runtime that does not answer."""
        self._sequence += 1
        known = dict(self._states)
        if self._away:
            wanted = self._plan.uids if self._plan else []
            waiting = [uid for uid in {*wanted, *known} if uid not in known or _is_ready(known[uid])]
            known |= {uid: LoadedModel(uid, LoadState.LOADING, self._away) for uid in waiting}
        models = tuple(known[uid] for uid in sorted(known))
        return Report(self._incarnation, self._sequence, self._observed or 0, models)

    def check_ready(self) -> None:
        """Raise Unavailable REPLICA_NOT_READY: the runtime is away, a model was lost, or no plan is applied yet."""
        lost = [f"{uid}: {self._states[uid].reason}" for uid in sorted(self._served) if not self._is_ready(uid)]
        if why := self._away or "; ".join(lost) or ("" if self._observed is not None else "no plan is applied yet"):
            raise Unavailable("REPLICA_NOT_READY", why)

    async def work(self) -> None:
        """One pass. Raise Unavailable where the runtime does not answer."""
        if (plan := self._plan) is None:
            return
        await self._look()
        await self._probe_all(plan)
        for model in [model for model in plan.models if self._is_due(model.uid)]:
            with guarded(LOOP, model=model.uid):
                await self._bring(model)
            if not plan.is_same(self._plan):
                return
        if all(map(self._is_settled, plan.uids)):
            await self._let_go(plan)

    async def pause(self) -> None:
        """Until there is something to do."""
        planned = set(self._plan.uids) if self._plan else set()
        due = [wait.due for uid, wait in self._waits.items() if uid in planned]
        probe = self._probed + self._probe if self._plan else math.inf
        wait = max(0.0, min([probe, *due]) - self._clock())
        await self._news.wait(min(wait, self._look_again, _IDLE_SECONDS))

    async def _look(self) -> None:
        """Notice what the runtime has lost. Raise Unavailable where it does not answer."""
        try:
            loaded = await self._models.loaded()
        except Unavailable as error:
            self._see(away=error.message)
            raise
        self._see(away="")
        if lost := {uid for uid in self._states if self._is_ready(uid)} - loaded:
            LOSSES.inc()
            self._incarnation, self._sequence = new_uid(), 0
            for uid in lost:
                self._set(LoadedModel(uid, LoadState.LOADING, "the runtime has lost it, as by a restart"))

    async def _probe_all(self, plan: Plan) -> None:
        """Now and then let all models that are READY answer; one that does not is freed, so that it is loaded anew."""
        if self._clock() < self._probed + self._probe:
            return
        self._probed = self._clock()
        for model in [model for model in plan.models if self._is_ready(model.uid)]:
            with guarded(LOOP, model=model.uid):
                await self._check(model)

    async def _check(self, model: PlannedModel) -> None:
        try:
            await self._try_out(model)
        except Unavailable:
            # Too busy, or away, which the next look tells.
            raise
        except Exception as error:
            self._set(LoadedModel(model.uid, LoadState.LOADING, str(error)))
            raise

    async def _bring(self, model: PlannedModel) -> None:
        """Load a model, and let it answer a sample before it is called READY."""
        if model.uid not in self._states:
            self._set(LoadedModel(model.uid, LoadState.LOADING))
        began = self._clock()
        try:
            await self._models.load(model)
            await self._try_out(model)
        except Exception as error:
            self._fail(model.uid, error)
            raise
        self._waits.pop(model.uid, None)
        self._served.add(model.uid)
        seconds = self._clock() - began
        self._set(LoadedModel(model.uid, LoadState.READY, load_ms=seconds * 1000))
        LOADS.labels(LoadState.READY).inc()
        LOAD_SECONDS.observe(seconds)

    async def _try_out(self, model: PlannedModel) -> None:
        """Let a model answer its sample, and free one that does not. Raise Unavailable where nobody can say."""
        # Tensors take numpy, which a replica without models need not load.
        from bloomery_inference.agent.sampling import check_answer, sample

        try:
            async with asyncio.timeout(_SAMPLE_SECONDS):
                tensors = await self._models.infer(model.uid, sample(model.input))
            check_answer(model, tensors)
        except TimeoutError as error:
            raise Unavailable("SAMPLE_UNANSWERED", f"no answer to a sample for {_SAMPLE_SECONDS:.0f} s") from error
        except Unavailable:
            raise
        except Exception:
            await self._models.unload(model.uid)
            raise

    def _fail(self, uid: str, error: Exception) -> None:
        passing = isinstance(error, Unavailable)
        was_failed = uid in self._states and self._states[uid].state is LoadState.FAILED
        state = LoadState.LOADING if passing and not was_failed else LoadState.FAILED
        self._set(LoadedModel(uid, state, str(error)))
        LOADS.labels(state).inc()
        first = self._retry if passing else self._retry * _FAILED_PAUSE
        known = self._waits.get(uid)
        pause = min(max(first, 2 * known.pause if known else 0.0), first * _LONGEST)
        self._waits[uid] = _Wait(self._clock() + pause, pause)

    async def _let_go(self, plan: Plan) -> None:
        """Free what is not in a plan that is applied otherwise."""
        for uid in sorted((await self._models.known() | self._states.keys()) - set(plan.uids)):
            with guarded(LOOP, model=uid):
                await self._free(uid)
        if self._observed != plan.generation:
            self._observed = plan.generation
            CONVERGENCE_SECONDS.observe(self._clock() - self._planned)
            self.changed.wake()

    async def _free(self, uid: str) -> None:
        if uid in self._states:
            self._set(LoadedModel(uid, LoadState.UNLOADING))
        self._served.discard(uid)
        await self._models.remove(uid)
        self._states.pop(uid, None)
        self._waits.pop(uid, None)
        self._tell()

    def _is_ready(self, uid: str) -> bool:
        return uid in self._states and _is_ready(self._states[uid])

    def _is_settled(self, uid: str) -> bool:
        return uid in self._states and self._states[uid].state in (LoadState.READY, LoadState.FAILED)

    def _is_due(self, uid: str) -> bool:
        wait = self._waits.get(uid)
        return not self._is_ready(uid) and (wait is None or wait.due <= self._clock())

    def _see(self, *, away: str) -> None:
        RUNTIME_UP.set(not away)
        if away != self._away:
            self._away = away
            self.changed.wake()

    def _set(self, model: LoadedModel) -> None:
        if self._states.get(model.uid) != model:
            self._states[model.uid] = model
            self._tell()

    def _tell(self) -> None:
        for state in LoadState:
            MODELS.labels(state).set(sum(model.state is state for model in self._states.values()))
        self.changed.wake()


def _is_ready(model: LoadedModel) -> bool:
    return model.state is LoadState.READY
