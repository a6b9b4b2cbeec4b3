"""Deleting a project with all that was made from it, in the order in which things hold each other."""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from bloomery import errors
from bloomery._aio.base import AsyncHandle
from bloomery._aio.dataset import AsyncDataset, list_datasets
from bloomery._aio.deployment import AsyncDeployment, list_deployments
from bloomery._aio.job import AsyncJob, list_jobs
from bloomery._aio.model import AsyncModel, list_models
from bloomery._concurrency import in_order
from bloomery._names import counted, enumerated, short
from bloomery._results import Contents, Progress, Step
from bloomery._session import Session
from bloomery.annotation import v1 as annotation

T = TypeVar("T")

_AT_ONCE = 8
_PAUSE = 0.5
_PATIENCE = 120.0
"""Seconds for jobs to stop, and for services to give back what they held for what is gone."""
_PASSING = frozenset({"STILL_REFERENCED", "NOT_TERMINAL"})


@dataclass(frozen=True)
class Tree:
    """What hangs under a project."""

    jobs: Sequence[AsyncJob]
    deployments: Sequence[AsyncDeployment]
    models: Sequence[AsyncModel]
    datasets: Sequence[AsyncDataset]

    @property
    def active(self) -> Sequence[AsyncJob]:
        """The jobs that are not over."""
        return [job for job in self.jobs if not job.is_terminal]


async def tree(session: Session, project: str) -> Tree:
    """Read what hangs under a project now."""
    return Tree(
        [job async for job in list_jobs(session, project)],
        [one async for one in list_deployments(session, project)],
        [model async for model in list_models(session, project)],
        [one async for one in list_datasets(session, project)],
    )


async def contents(session: Session, project: str) -> Contents:
    """What would be deleted with a project, as people name it."""
    found = await tree(session, project)
    models = [(model, [version async for version in model.versions(inactive=True)]) for model in found.models]
    return Contents(
        jobs=_short(found.jobs),
        active_jobs=_short(found.active),
        deployments=_short(found.deployments),
        model_versions=[name for model, versions in models for name in _names(model, versions)],
        dataset_versions=[name for one in found.datasets for name in _names(one, [v async for v in one.versions()])],
    )


def _names(line: AsyncModel | AsyncDataset, versions: Sequence[AsyncHandle[Any]]) -> list[str]:
    """Of its versions, or its own where it has none: it goes all the same."""
    return _short(versions) or _short([line])


async def delete(session: Session, project: str, *, cancel: bool, progress: Progress) -> None:
    """Delete a project with all that hangs under it.

    Raises:
        FailedPrecondition: jobs are not over, and `cancel` does not allow to stop them: nothing was deleted. Or
            something was still held after two minutes.
    """
    deadline = session.clock() + _PATIENCE
    while True:
        try:
            await _empty(await tree(session, project), cancel=cancel, progress=progress)
            request = annotation.DeleteProjectRequest(name=project)
            return await session.delete(session.annotation.DeleteProject, request)
        except errors.FailedPrecondition as error:
            if error.reason not in _PASSING or session.clock() > deadline:
                raise
        # A job takes a moment to stop, and one that was over may still have become a model version.
        await session.sleep(_PAUSE)


async def _empty(found: Tree, *, cancel: bool, progress: Progress) -> None:
    """Delete what hangs under a project: what holds goes before what is held."""
    if found.active and not cancel:
        raise errors.FailedPrecondition(
            f"{counted(len(found.active), 'job')} not over: {enumerated(_short(found.active))}",
            reason="JOBS_ACTIVE",
            hint="wait for them, or stop them with cancel=True",
        )
    await _each(found.active, "cancelling jobs", progress, lambda job: job.cancel(force=True))
    await _each(found.jobs, "deleting jobs", progress, AsyncJob.delete)
    await _each(found.deployments, "deleting deployments", progress, AsyncDeployment.delete)
    await _each(found.models, "deleting models", progress, AsyncModel.delete)
    await _each(found.datasets, "deleting datasets", progress, AsyncDataset.delete)


async def _each(
    handles: Sequence[T], phase: str, progress: Progress, work: Callable[[T], Coroutine[None, None, object]]
) -> None:
    async def one(handle: T) -> None:
        try:
            await work(handle)
        except errors.NotFound:
            # Somebody else was faster, which is as good.
            return

    done = 0
    async with aclosing(in_order((one(handle) for handle in handles), _AT_ONCE)) as over:
        async for _ in over:
            done += 1
            progress(Step(phase, done, len(handles)))


def _short(handles: Iterable[AsyncHandle[Any]]) -> list[str]:
    return [short(handle.name) for handle in handles]
