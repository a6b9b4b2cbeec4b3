"""Datasets and versions: every change of them but the building, each in one transaction."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from bloomery_dataset.annotations import Annotations
from bloomery_dataset.builder import BUILDS
from bloomery_dataset.holding import Holding, forget
from bloomery_dataset.housekeeping import CLEANUPS
from bloomery_dataset.model import Dataset, Label, Reference, Spec, State, Task, Version
from bloomery_dataset.names import VersionName, parse_members
from bloomery_dataset.selection import class_of_label
from bloomery_dataset.store import datasets, versions
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import (
    AlreadyExists,
    BloomeryError,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PreconditionViolation,
    Violations,
)
from bloomery_kit.feeds import Notifier
from bloomery_kit.idempotency import Repeatable
from bloomery_kit.pages import PageRequest
from bloomery_kit.tasks import at_once
from bloomery_kit.times import Clock, utc_now

M = TypeVar("M", bound=Message)
_NAMED, _LISTED = 3, 10
"""Holders that a refused deletion names in its message, and in its violations."""
_log = logging.getLogger("bloomery.dataset")


@dataclass(frozen=True)
class NewDataset:
    """A dataset to create."""

    project: str
    dataset: str
    display_name: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class DatasetUpdate:
    """Fields to change; without an etag the last writer wins."""

    project: str
    dataset: str
    etag: str
    values: Mapping[str, object]


@dataclass(frozen=True)
class NewVersion:
    """A version to build; of crops `source` is the version that they are cut from, None for the project."""

    project: str
    dataset: str
    spec: Spec
    create_dataset: bool
    source: VersionName | None = None


class Catalog:
    """What there is, and who holds it."""

    def __init__(self, db: Database, annotations: Annotations, *, changed: Notifier, clock: Clock = utc_now) -> None:
        self._db = db
        self._annotations = annotations
        self._holding = Holding(db, annotations)
        self._changed = changed
        self._clock = clock

    async def create_dataset(self, new: NewDataset, repeatable: Repeatable[M], answer: Callable[[Dataset], M]) -> M:
        """Create a dataset in a project that exists, and `answer` with it. Raises AlreadyExists."""
        if first := await repeatable.first_answer(self._db):
            return first
        project = await self._annotations.project(new.project)
        made: list[Dataset] = []

        async def make() -> M:
            if not await datasets.insert(
                tx,
                new.project,
                new.dataset,
                project_uid=project.uid,
                now=self._clock(),
                display_name=new.display_name,
                labels=new.labels,
            ):
                raise AlreadyExists("dataset", f"projects/{new.project}/datasets/{new.dataset}")
            made.append(await datasets.get(tx, new.project, new.dataset))
            return answer(made[0])

        async with self._db.write() as tx:
            answered = await repeatable.once(tx, make)
        await self._hold(made)
        return answered

    async def get_dataset(self, project: str, dataset: str) -> Dataset:
        """A dataset. Raises NotFound."""
        async with self._db.read() as tx:
            return await datasets.get(tx, project, dataset)

    async def list_datasets(
        self, page: PageRequest, *, project: str | None, dataset: str | None
    ) -> tuple[Sequence[Dataset], str, int]:
        """A page of datasets, the next page's token, and how many there are in all."""
        after = (str(page.cursor[0]), str(page.cursor[1])) if page.cursor else None
        async with self._db.read() as tx:
            found = await datasets.page(tx, project=project, dataset=dataset, after=after, limit=page.size + 1)
            total = await datasets.count(tx, project=project, dataset=dataset)
        shown = found[: page.size]
        more = len(found) > page.size
        return shown, page.next_token((shown[-1].project, shown[-1].dataset)) if more else "", total

    async def update_dataset(self, update: DatasetUpdate) -> Dataset:
        """Change fields. Raises NotFound, EtagMismatch."""
        async with self._db.write() as tx:
            return await datasets.update(
                tx, update.project, update.dataset, given_etag=update.etag, values=update.values, now=self._clock()
            )

    async def delete_dataset(self, project: str, dataset: str) -> None:
        """Delete a dataset with its versions. Raises FailedPrecondition naming holders."""
        async with self._db.write() as tx:
            found = await datasets.lock(tx, project, dataset)
            gone: list[Dataset | Version] = [*await versions.lock_all(tx, found), found]
            await _refuse_held(tx, found)
            await forget(tx, found)
        self._changed.notify(CLEANUPS)
        await self._release(gone)

    async def create_version(self, new: NewVersion, repeatable: Repeatable[M], answer: Callable[[Version], M]) -> M:
        """Start a build and `answer` with it.

        Raises NotFound without the dataset or source, InvalidArgument for odd labels, FailedPrecondition for a source
        that is not READY.
        """
        if first := await repeatable.first_answer(self._db):
            return first
        project = await self._annotations.project(new.project)
        labels = await self._annotations.labels(new.project)
        concerned: list[Dataset] = []

        async def make() -> M:
            spec = await _pinned(tx, new, labels)
            now = self._clock()
            if new.create_dataset:
                await datasets.insert(tx, new.project, new.dataset, project_uid=project.uid, now=now)
            dataset = await datasets.lock(tx, new.project, new.dataset)
            concerned.append(dataset)
            return answer(await versions.insert(tx, dataset, spec, project_uid=project.uid, now=now))

        async with self._db.write() as tx:
            made = await repeatable.once(tx, make)
        await self._hold(concerned)
        self._changed.notify(BUILDS)
        return made

    async def _hold(self, made: Sequence[Dataset]) -> None:
        """Hold the project of what was made; what fails now is repeated by the housekeeping. Raise NotFound."""
        for dataset in made:
            try:
                there = dataset.held or await self._holding.hold(dataset)
            except (BloomeryError, grpc.aio.AioRpcError) as error:
                _log.warning("a project is not held yet", extra={"dataset": dataset.name, "error": error})
            else:
                if not there:
                    raise NotFound("project", f"projects/{dataset.project}", "it was deleted a moment ago")

    async def get_version(self, name: VersionName) -> Version:
        """A version. Raises NotFound."""
        async with self._db.read() as tx:
            return await versions.get(tx, name)

    async def ready_version(self, name: VersionName) -> Version:
        """A version that is READY. Raises NotFound, FailedPrecondition."""
        return _ready(await self.get_version(name))

    async def list_versions(
        self, page: PageRequest, *, project: str | None, dataset: str | None
    ) -> tuple[Sequence[Version], str]:
        """A page of versions, newest first, and the next page's token."""
        before = int(str(page.cursor[0])) if page.cursor else None
        async with self._db.read() as tx:
            found = await versions.page(tx, project=project, dataset=dataset, before=before, limit=page.size + 1)
        shown = found[: page.size]
        token = page.next_token((shown[-1][0],)) if len(found) > page.size else ""
        return [version for _, version in shown], token

    async def delete_version(self, name: VersionName) -> None:
        """Delete a version. Raises FailedPrecondition naming holders."""
        async with self._db.write() as tx:
            # Before the version, as a finishing build locks them.
            await datasets.lock(tx, name.project, name.dataset)
            version = await versions.lock(tx, name)
            await _refuse_held(tx, version)
            await versions.delete(tx, version)
        self._changed.notify(version.uid)
        self._changed.notify(CLEANUPS)
        await self._release([version])

    async def _release(self, gone: Sequence[Dataset | Version]) -> None:
        """Give their project back before the answer, so that it can be deleted next."""
        async with at_once("give projects back"):
            for each in gone:
                await self._annotations.release(each.project, each.holder)

    async def references(self, parent: str, page: PageRequest) -> tuple[Sequence[Reference], str]:
        """A page of who holds a version, or any version of a dataset, and the next page's token. Raises NotFound."""
        name, of_all = parse_members(parent)
        after = (int(str(page.cursor[0])), str(page.cursor[1])) if page.cursor else (0, "")
        async with self._db.read() as tx:
            held = await (datasets.get(tx, name.project, name.dataset) if of_all else versions.get(tx, name))
            found = await versions.references(tx, held, after=after, limit=page.size + 1)
        shown = found[: page.size]
        token = page.next_token((shown[-1][0], shown[-1][1].holder)) if len(found) > page.size else ""
        return [reference for _, reference in shown], token

    async def acquire(self, name: VersionName, holder: str, title: str) -> Reference:
        """Hold a READY version. Raises NotFound, FailedPrecondition."""
        async with self._db.write() as tx:
            version = _ready(await versions.lock(tx, name))
            return await versions.acquire(tx, version, holder, title, self._clock())

    async def release(self, name: VersionName, holder: str) -> None:
        """Give a version back; one that is gone is fine."""
        async with self._db.write() as tx:
            with suppress(NotFound):
                version = await versions.get(tx, name)
                await versions.release(tx, version.uid, holder)


async def _pinned(tx: Transaction, new: NewVersion, labels: tuple[Label, ...]) -> Spec:
    """The spec of a version, with the very one that crops are cut from."""
    if new.source is None:
        check_mapping(new.spec, labels)
        return new.spec
    assert new.spec.crops is not None
    source = _ready(await versions.get(tx, new.source))
    assert source.product is not None
    if source.spec.task is Task.CLASSIFY:
        problem = f"{source.name} is a version for CLASSIFY, which has no boxes; name one for DETECT or SEGMENT"
        raise InvalidArgument([FieldViolation("dataset_version.spec.source", problem)])
    check_mapping(new.spec, tuple(Label(name, name) for name in source.product.classes), of="version", what="class")
    return replace(new.spec, crops=replace(new.spec.crops, version=source.name, version_uid=source.uid))


def check_mapping(spec: Spec, labels: tuple[Label, ...], *, of: str = "project", what: str = "label") -> None:
    """Refuse labels that the project does not have, and a mapping that leaves nothing. Raises InvalidArgument."""
    field, violations = "dataset_version.spec.class_mapping", Violations()
    known = ", ".join(label.id for label in labels) or "none yet"
    for label_id in sorted(spec.class_mapping.keys() - {label.id for label in labels}):
        violations.add(f"{field}[{label_id!r}]", f"the {of} has no such {what}; it has: {known}")
    if spec.class_mapping and not violations and not class_of_label(labels, spec):
        violations.add(field, f"leaves every {what} out; map at least one of: {known}")
    violations.raise_if_any()


def _ready(version: Version) -> Version:
    if version.state is State.READY:
        return version
    fix = "wait until it is READY" if version.state is State.BUILDING else "build another version"
    message = f"{version.name} is {version.state}; {fix}"
    raise FailedPrecondition("NOT_READY", message, [PreconditionViolation("NOT_READY", version.name, fix)])


async def _refuse_held(tx: Transaction, held: Dataset | Version) -> None:
    found = [one for _, one in await versions.references(tx, held, limit=_LISTED)]
    if not found:
        return
    titles = list(dict.fromkeys(one.title for one in found))
    named = ", ".join(titles[:_NAMED]) + (" and others" if len(titles) > _NAMED else "")
    violations = [PreconditionViolation("STILL_REFERENCED", one.version, f"{one.title} holds it") for one in found]
    message = f"{held.name} is held by {named}; delete what holds it first"
    raise FailedPrecondition("STILL_REFERENCED", message, violations)
