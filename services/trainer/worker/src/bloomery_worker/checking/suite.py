"""The checks, one after the other, on the same small data."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from bloomery_worker.blobs import digest_of
from bloomery_worker.checking import running, samples
from bloomery_worker.checking.running import Outcome, Spawn
from bloomery_worker.checking.samples import Version
from bloomery_worker.checking.subject import Subject
from bloomery_worker.messages import (
    FailedNote,
    JobSpec,
    MetricsNote,
    Note,
    ProgressNote,
    ResultNote,
    StoppedNote,
    Value,
)

_MANY_EPOCHS = 1000
"""Of a training that is stopped: more than it can do before it hears of it."""

MENDABLE = ("DATA_ERROR", "CONFIG_ERROR")
"""Reasons that tell people what to do."""


class _FoundError(Exception):
    """Something is not as it has to be."""


class _NotHereError(Exception):
    """The recipe does not do what is checked, which is no fault."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out of a check: whether all is well, None where there is nothing to check, and why."""

    check: str
    passed: bool | None
    why: str = ""


class Suite:
    """Tries a recipe.

    Args:
        subject: the recipe.
        folder: for what it makes; need not be there.
        spawn: starts trainer processes.
        parameters: of its jobs, in the place of those that make them small.
    """

    def __init__(self, subject: Subject, folder: Path, spawn: Spawn, parameters: Mapping[str, Value]) -> None:
        self._subject, self._folder, self._spawn, self._parameters = subject, folder, spawn, parameters
        self._cache = folder / "cache"
        self._version = samples.make(self._cache, subject.content["task"])
        self._straight: Outcome | None = None
        self._jobs = 0

    async def run(self, only: Sequence[str] = ()) -> AsyncIterator[Verdict]:
        """The verdict of each check, or of those that are named, as it ends."""
        for name, check in self.checks.items():
            if only and name not in only:
                continue
            try:
                yield Verdict(name, True, await check() or "")
            except _NotHereError as told:
                yield Verdict(name, None, str(told))
            except TimeoutError:
                yield Verdict(name, False, "it took too long")
            except _FoundError as told:
                yield Verdict(name, False, str(told))
            except Exception as problem:  # noqa: BLE001 - recipes fail in all ways, and the other checks are still told
                yield Verdict(name, False, f"{type(problem).__name__}: {problem}")

    @property
    def checks(self) -> Mapping[str, Callable[[], Awaitable[str | None]]]:
        """By name, in their order."""
        return {
            "declares": self._declares,
            "trains": self._trains,
            "resumes": self._resumes,
            "stops": self._stops,
            "evaluates": self._evaluates,
            "predicts": self._predicts,
            "exports": self._exports,
            "one-image": self._one_image,
            "one-class": self._one_class,
            "no-validation": self._no_validation,
        }

    async def _declares(self) -> str | None:
        """All that is wrong with the declaration, at once."""
        if problems := list(self._subject.problems()):
            raise _FoundError("; ".join(problems))
        return f"{len(self._subject.content.get('parameters', ()))} parameters"

    async def _trains(self) -> str | None:
        outcome, result = await self._trained()
        if result.model is None:
            raise _FoundError("the result has no `model`: nobody would know how to use it")
        if tuple(result.model.classes) != self._version.classes:
            raise _FoundError(f"the model has the classes {list(result.model.classes)}, not the dataset's")
        if odd := [name for name, value in result.metrics.items() if not math.isfinite(value)]:
            raise _FoundError(f"measurements are no numbers: {', '.join(odd)}")
        _check_progress(outcome)
        return f"{len(result.metrics)} measurements"

    async def _resumes(self) -> str | None:
        """Killed after its first checkpoint and gone on with, it ends as if nothing had happened."""
        _, straight = await self._trained()
        broken = await self._do(self._job("TRAIN"), kill_at=running.is_checkpoint)
        if broken.checkpoint is None:
            raise _NotHereError("it hands over no checkpoint: an interrupted job begins anew")
        folder, epoch = broken.checkpoint
        resumed = await self._do(replace(self._job("TRAIN"), resume_dir=str(folder), resume_epoch=epoch))
        result = _result(resumed)
        if again := [note.epoch for note in resumed.of(MetricsNote) if note.epoch_end and note.epoch <= epoch]:
            raise _FoundError(f"epochs that the checkpoint holds were done again: {again}")
        if different := [name for name, value in straight.metrics.items() if result.metrics.get(name) != value]:
            raise _FoundError(f"resumed after epoch {epoch}, it measures something else: {', '.join(different)}")
        if _digest(result) != _digest(straight):
            raise _FoundError(f"resumed after epoch {epoch}, it publishes other bytes as its checkpoint")
        return f"killed after epoch {epoch}, it ends with the same bits"

    async def _stops(self) -> str | None:
        job = self._job("TRAIN")
        long = self._subject.within({"epochs": _MANY_EPOCHS, "patience": 0})
        outcome = await self._do(replace(job, parameters={**job.parameters, **long}), stop_at=running.is_training)
        if isinstance(outcome.last, ResultNote):
            if "epochs" not in long:
                raise _NotHereError("it ended before it could be stopped, and has no `epochs` to make it longer")
            raise _FoundError(f"asked to stop at its first sign, it trained all of its {long['epochs']} epochs")
        if not isinstance(outcome.last, StoppedNote):
            raise _FoundError(f"asked to stop, {outcome.why()}")
        kept = outcome.checkpoint[1] if outcome.checkpoint else 0
        if outcome.last.epoch != kept:
            raise _FoundError(f"it says that {outcome.last.epoch} epochs are kept, and its last checkpoint has {kept}")
        return f"with {kept} epochs kept"

    async def _evaluates(self) -> str | None:
        """Its own measurements are those of an EVALUATE job of the published model."""
        result = _result(await self._do(await self._applying("EVALUATE", split="test")))
        _, trained = await self._trained()
        shared = [name for name in result.metrics if name in trained.metrics]
        if not shared:
            raise _FoundError("training and evaluation share no measurement")
        if different := [name for name in shared if abs(result.metrics[name] - trained.metrics[name]) > 1e-9]:
            name = different[0]
            told = f"{name} is {result.metrics[name]}, and training published {trained.metrics[name]}"
            raise _FoundError(f"{len(different)} of {len(shared)} measurements differ: {told}")
        return f"{len(shared)} measurements are those that were published"

    async def _predicts(self) -> str | None:
        result = _result(await self._do(await self._applying("PREDICT", split="test")))
        if "predictions" not in {file.role for file in result.files}:
            raise _FoundError("the result has no file of the role `predictions`")
        return None

    async def _exports(self) -> str | None:
        """The form that the training made, or else an OPTIMIZE job's, answers as the original."""
        _, result = await self._trained()
        variants = list(result.variants)
        if not variants:
            variants = list(_result(await self._do(await self._applying("OPTIMIZE"))).variants)
        for variant in variants:
            if variant.failure or not variant.parity.passed:
                raise _FoundError(f"{variant.id}: {variant.failure or 'without a proof of how it answers'}")
        return ", ".join(f"{one.id} within {one.parity.max_score_error:.1g}" for one in variants)

    async def _one_image(self) -> str | None:
        return await self._copes(splits={"train": 1, "val": 1, "test": 0})

    async def _one_class(self) -> str | None:
        return await self._copes(classes=samples.CLASSES[:1])

    async def _no_validation(self) -> str | None:
        return await self._copes(splits={"train": 6, "val": 0, "test": 0})

    async def _copes(
        self, *, splits: Mapping[str, int] = samples.SPLITS, classes: Sequence[str] = samples.CLASSES
    ) -> str | None:
        """With data that is hard to learn from it comes to its end, or says what people can mend."""
        version = samples.make(self._cache, self._subject.content["task"], splits=splits, classes=classes)
        outcome = await self._do(self._job("TRAIN", version))
        match outcome.last:
            case ResultNote():
                return "it trains"
            case FailedNote(failure) if failure.code in MENDABLE and failure.hint:
                return f"it refuses: {failure.message}"
            case _:
                raise _FoundError(outcome.why())

    async def _trained(self) -> tuple[Outcome, ResultNote]:
        """A training that nothing interrupts, which all checks share."""
        if self._straight is None:
            self._straight = await self._do(self._job("TRAIN"))
        return self._straight, _result(self._straight)

    async def _applying(self, kind: str, **parameters: Value) -> JobSpec:
        if not self._subject.does(kind):
            raise _NotHereError(f"it does no {kind} jobs")
        _, result = await self._trained()
        (checkpoint,) = (file for file in result.files if file.role == "checkpoint")
        job = self._job(kind)
        known = {name: value for name, value in parameters.items() if name in job.parameters}
        file = Path(checkpoint.path)
        return replace(
            job,
            parameters={**job.parameters, **known},
            base_file=str(file),
            base_digest=digest_of(file),
            model_version="projects/checked/models/m/versions/1",
        )

    def _job(self, kind: str, version: Version | None = None) -> JobSpec:
        content, chosen = self._subject.content, version or self._version
        self._jobs += 1
        return JobSpec(
            name="projects/checked/jobs/j",
            uid="j",
            kind=kind,
            attempt=1,
            recipe=content["name"],
            recipe_version=str(content["version"]),
            recipe_license=content["license"],
            module=content["module"],
            task=content["task"],
            parameters=self._subject.parameters(kind, self._parameters),
            classes=chosen.classes,
            dataset_version="projects/checked/datasets/d/versions/1",
            manifest=str(chosen.manifest),
            base="scratch" if "scratch" in content.get("bases", ()) and kind == "TRAIN" else "",
            bases=tuple(content.get("bases", ())),
            cache_dir=str(self._cache),
            work_dir=str(self._folder / f"{self._jobs}-{kind.lower()}"),
            cpus=1,
        )

    async def _do(self, job: JobSpec, **moments: Callable[[Note], bool]) -> Outcome:
        return await running.run(job, self._spawn, **moments)


def _result(outcome: Outcome) -> ResultNote:
    if not isinstance(outcome.last, ResultNote):
        raise _FoundError(outcome.why())
    return outcome.last


def _digest(result: ResultNote) -> str:
    return next((digest_of(Path(file.path)) for file in result.files if file.role == "checkpoint"), "")


def _check_progress(outcome: Outcome) -> None:
    """Progress tells how far the work is, and never goes back."""
    told = [note for note in outcome.of(ProgressNote) if note.phase == "training"]
    if not told:
        raise _FoundError("it does not tell how far it is: no progress in the phase `training`")
    if back := [one for one, other in pairwise(told) if other.fraction < one.fraction]:
        raise _FoundError(f"its progress goes back after epoch {back[0].epoch}, step {back[0].step}")
    epochs = [note.epoch for note in outcome.of(MetricsNote) if note.epoch_end]
    if epochs != sorted(set(epochs)):
        raise _FoundError(f"its epochs are not told in their order, once each: {epochs}")
