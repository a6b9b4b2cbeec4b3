"""Trainings on a dataset version: one, a grid of them, or a search."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from bloomery import errors
from bloomery._aio.base import AsyncHandle
from bloomery._aio.group import AsyncJobGroup, get_job_group
from bloomery._aio.job import AsyncJob
from bloomery._fields import DatasetVersionFields
from bloomery._jobs import Parameter, checkpoint_of, struct
from bloomery._names import MODEL_VERSION, parent_of
from bloomery._resolve import Resolver
from bloomery._results import Estimate, Progress, Step, unseen
from bloomery._search import Space, best, ranked, rounds, trials
from bloomery._versions import get_model_version
from bloomery.dataset import v1 as dataset
from bloomery.training import v1 as training

_OF_JOBS = frozenset({"model", "base", "priority", "deadline", "labels", "cpus", "memory", "gpus"})
"""What a training takes beside its parameters."""


class AsyncTrainings(AsyncHandle[dataset.DatasetVersion], DatasetVersionFields):
    """An immutable choice of images and labels, to train on."""

    async def train(
        self,
        /,
        recipe: str,
        *,
        model: str = "",
        base: str = "",
        name: str = "",
        validate_only: bool = False,
        priority: int = 0,
        deadline: float = 0,
        labels: Mapping[str, str] | None = None,
        group: str = "",
        cpus: float = 0,
        memory: int = 0,
        gpus: int = 0,
        settings: Mapping[str, Parameter] | None = None,
        **parameters: Parameter,
    ) -> AsyncJob:
        """Start a training job on it.

        Args:
            recipe: such as "yolo-detect".
            model: the model to publish under; by default the one with the dataset's id.
            base: weights to start from: as the recipe names them, "scratch", a version of ours such as "cells-v@1", or
                a checkpoint of another job, such as "jobs/JOB/checkpoints/7" or "jobs/JOB/checkpoints/best".
            name: id of the job; made by the server by default.
            validate_only: check and fill in everything, but start nothing.
            priority: larger goes first.
            deadline: seconds that it may take, all attempts together; 0 for no limit.
            labels: for filtering lists of jobs.
            group: id of the group that it belongs to, of which all jobs are listed and cancelled together.
            cpus: processor cores; here and below, 0 for the recipe's default.
            memory: bytes.
            gpus: how many.
            settings: parameters of the recipe, also such as have a name that is taken here.
            parameters: parameters of the recipe, such as `epochs=5`.

        Raises:
            InvalidArgument: lists every wrong parameter with its limits.
        """
        project = parent_of(self.name, 2)
        job = training.Job(
            kind=training.JOB_KIND_TRAIN,
            recipe=recipe if recipe.startswith("recipes/") else f"recipes/{recipe}",
            dataset_version=self.name,
            parameters=struct({**(settings or {}), **parameters}),
            model=f"{project}/models/{model}" if model and "/" not in model else model,
            priority=priority,
            deadline_seconds=math.ceil(deadline),
            labels=labels,
            group=group,
            resources=training.Resources(cpus=cpus, memory_bytes=memory, gpus=gpus),
        )
        await self._start_from(job, base, project)
        request = training.CreateJobRequest(parent=project, job_id=name, job=job, validate_only=validate_only)
        return AsyncJob(self._session, await self._session.call(self._session.jobs.CreateJob, request))

    async def estimate(
        self,
        /,
        recipe: str,
        *,
        base: str = "",
        cpus: float = 0,
        memory: int = 0,
        gpus: int = 0,
        settings: Mapping[str, Parameter] | None = None,
        **parameters: Parameter,
    ) -> Estimate:
        """What a training would take, from earlier ones of the project that are alike; starts nothing.

        Args:
            recipe: here and below, as `train` takes it.
            base: weights to start from.
            cpus: processor cores.
            memory: bytes.
            gpus: how many.
            settings: parameters of the recipe.
            parameters: parameters of the recipe.

        Raises:
            InvalidArgument: lists every wrong parameter with its limits.
        """
        project = parent_of(self.name, 2)
        job = training.Job(
            kind=training.JOB_KIND_TRAIN,
            recipe=recipe if recipe.startswith("recipes/") else f"recipes/{recipe}",
            dataset_version=self.name,
            parameters=struct({**(settings or {}), **parameters}),
            resources=training.Resources(cpus=cpus, memory_bytes=memory, gpus=gpus),
        )
        await self._start_from(job, base, project)
        request = training.EstimateJobRequest(parent=project, job=job)
        found = await self._session.call(self._session.jobs.EstimateJob, request)
        return Estimate(
            training.JobEstimate.Source.Name(found.source).removeprefix("SOURCE_"),
            tuple(found.earlier_jobs),
            found.seconds,
            found.least_seconds,
            found.most_seconds,
            found.memory_bytes,
            tuple(found.warnings),
        )

    async def train_grid(
        self, /, recipe: str, grid: Mapping[str, Sequence[Parameter]], *, group: str, **common: Any
    ) -> AsyncJobGroup:
        """Start a training for every combination of parameter values, and return their group.

        All are checked before the first one starts.

        Args:
            recipe: such as "yolo-detect".
            grid: the values of each parameter that differs, such as `{"lr0": [0.001, 0.01], "imgsz": [320, 640]}`.
            group: id of the group.
            common: what all have in common, as `train` takes it.

        Raises:
            InvalidArgument: a combination is refused; lists every wrong parameter with its limits.
        """
        settings = common.pop("settings", None) or {}
        combinations = [{**settings, **dict(zip(grid, values, strict=True))} for values in product(*grid.values())]
        for validate_only in (True, False):
            for each in combinations:
                await self.train(recipe, group=group, settings=each, validate_only=validate_only, **common)
        return await get_job_group(self._session, f"{parent_of(self.name, 2)}/jobGroups/{group}")

    async def train_search(
        self, /, recipe: str, space: Space, count: int, *, group: str, seed: int = 0, **common: Any
    ) -> AsyncJobGroup:
        """Start a training for each of `count` random trials, and return their group; `JobGroup.best` is the best.

        All are checked before the first one starts. They are called `GROUP-001` and so on, and are the same for the
        same seed: a call that was interrupted is repeated as it was, and starts those that are missing; with a larger
        `count`, more of them.

        Args:
            recipe: such as "yolo-detect".
            space: what is tried, such as `{"lr0": "log:1e-4..1e-2", "imgsz": [320, 640]}`: ranges ("1..5" of whole
                numbers, "0.1..0.9", "log:..." with their logarithms evenly spread) and lists of values.
            count: how many trials.
            group: id of the group.
            seed: of the draws.
            common: what all have in common, as `train` takes it.

        Raises:
            InvalidArgument: a trial is refused, or a range is none; lists every wrong parameter with its limits.
            AlreadyExists: another job is called as a trial would be.
        """
        drawn = {f"{group}-{number:03}": one for number, one in enumerate(trials(space, count, seed), 1)}
        await self._run_trials(recipe, drawn, group=group, common=common)
        return await get_job_group(self._session, f"{parent_of(self.name, 2)}/jobGroups/{group}")

    async def train_halving(
        self,
        /,
        recipe: str,
        space: Space,
        count: int,
        *,
        group: str,
        epochs: int,
        by: str = "",
        seed: int = 0,
        progress: Progress = unseen,
        **common: Any,
    ) -> AsyncJobGroup:
        """Try `count` random trials for few epochs, train the better third anew for three times as many, and so on.

        The last round has one job, which trains for all `epochs`: the best. Each round's jobs are trainings from the
        beginning, as a schedule depends on its length. Waits for each round; a call that was interrupted is repeated
        as it was, and goes on where it stopped. Trials are called `GROUP-ROUND-001` and so on.

        Args:
            recipe: such as "yolo-detect".
            space: as of `train_search`.
            count: trials of the first round.
            group: id of the group.
            epochs: of the last round.
            by: by which measurement, as of `JobGroup.best`.
            seed: of the draws.
            progress: told which round goes on.
            common: what all have in common, as `train` takes it.

        Raises:
            InvalidArgument: a trial is refused, or a range is none; lists every wrong parameter with its limits.
            AlreadyExists: another job is called as a trial would be.
            NotFound: no trial of a round has succeeded with that measurement.
        """
        drawn = trials(space, count, seed)
        plan = rounds(count, epochs)
        left = list(range(count))
        for number, (many, length) in enumerate(plan, 1):
            left = left[:many]
            progress(Step(f"round {number} of {len(plan)}: {many} x {length} epochs"))
            named = {f"{group}-{number}-{trial + 1:03}": {**drawn[trial], "epochs": length} for trial in left}
            jobs = await self._run_trials(recipe, named, group=group, common=common)
            for job in jobs:
                async for _ in job.watch(after=job.proto.last_sequence):
                    pass
            best(jobs, by, group)
            left = [left[place] for place in ranked(jobs, by)]
        return await get_job_group(self._session, f"{parent_of(self.name, 2)}/jobGroups/{group}")

    async def _run_trials(
        self, recipe: str, named: Mapping[str, Mapping[str, Parameter]], *, group: str, common: Mapping[str, Any]
    ) -> list[AsyncJob]:
        """Start those that are not there yet, after all were checked."""
        rest = {key: value for key, value in common.items() if key in _OF_JOBS}
        parameters = {
            key: value for key, value in common.items() if key not in {*_OF_JOBS, "settings", "validate_only"}
        }
        given = {name: {**(common.get("settings") or {}), **parameters, **trial} for name, trial in named.items()}
        checked = {
            name: await self.train(recipe, group=group, settings=each, validate_only=True, **rest)
            for name, each in given.items()
        }
        if common.get("validate_only"):
            return []
        return [await self._trial(name, job.proto, given[name], rest) for name, job in checked.items()]

    async def _trial(
        self, name: str, checked: training.Job, settings: Mapping[str, Parameter], rest: Mapping[str, Any]
    ) -> AsyncJob:
        """The trial, or the job that an interrupted call has started as it."""
        try:
            return await self.train(checked.recipe, name=name, group=checked.group, settings=settings, **rest)
        except errors.AlreadyExists:
            full = f"{parent_of(self.name, 2)}/jobs/{name}"
            job = await self._session.call(self._session.jobs.GetJob, training.GetJobRequest(name=full))
            if _trained(job) != _trained(checked):
                raise
            return AsyncJob(self._session, job)

    async def _start_from(self, job: training.Job, base: str, project: str) -> None:
        if "@" not in base and not MODEL_VERSION.matches(base):
            job.base = f"{project}/{base}" if base.startswith("jobs/") else base
            return
        version = await get_model_version(
            self._session, await Resolver(self._session, project).find(MODEL_VERSION, base)
        )
        job.base_artifact.CopyFrom(checkpoint_of(version))
        job.base = version.name


def _trained(job: training.Job) -> tuple[object, ...]:
    """What makes two trainings of a search the same one, as the server has resolved it."""
    return job.group, job.recipe, job.dataset_version, job.base, job.model, job.parameters
