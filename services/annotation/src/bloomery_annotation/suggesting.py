"""What models suggest: sets of their own beside people's, until a person accepts or rejects each shape."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bloomery.annotation.v1 import AnnotationSet as AnnotationSetMessage
from bloomery.annotation.v1 import Suggestion, UpdateAnnotationSetRequest
from bloomery.vision.v1 import Provenance as ProvenanceMessage
from bloomery.vision.v1 import Shape as ShapeMessage
from bloomery_annotation import shapes
from bloomery_annotation.drafts import draft
from bloomery_annotation.model import AnnotationSet, Asset, Label, Project, Provenance, Source
from bloomery_annotation.names import ANNOTATION_SET, MAIN_SET, MODEL_VERSION
from bloomery_annotation.saving import MatchEtag, Overwrite, ReplaceOwn, Saved, SetDraft
from bloomery_annotation.store import annotation_sets, assets, projects, revisions
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import (
    BloomeryError,
    EtagMismatch,
    FailedPrecondition,
    NotFound,
    PreconditionViolation,
    Violations,
)
from bloomery_kit.names import make_id
from bloomery_vision.messages import shape_value
from bloomery_vision.validate import usable, validate_shape

_AT_ONCE = 500


@dataclass(frozen=True)
class Run:
    """Who suggests: a model version, in a run that is named if it may be repeated; `author` calls for it."""

    model_version: str
    name: str
    author: str

    @property
    def set_id(self) -> str:
        """The id of its sets."""
        ids = MODEL_VERSION.parse(self.model_version, "model_version")
        return make_id(f"{ids['model']}-{ids['version']}")


@dataclass(frozen=True)
class Suggested:
    """A draft of a model's shapes, and how many were left out: by class without a label, and without an area."""

    draft: SetDraft
    unknown: Counter[str]
    unusable: int


@dataclass(frozen=True)
class Choice:
    """What a person decides about the shapes of a set as it was read: places of those to accept and to reject."""

    etag: str
    accept: Sequence[int]
    reject: Sequence[int]


def label_ids(labels: Iterable[Label]) -> dict[str, str]:
    """The ids of labels by their ids and display names; an id goes before another label's display name."""
    kept = [label for label in labels if not label.deleted_by]
    return {label.display_name: label.id for label in kept} | {label.id: label.id for label in kept}


def suggested(run: Run, given: Suggestion, asset: Asset, labels: Mapping[str, str]) -> Suggested:
    """The draft of what a model sees on an image; `labels` are ids by the names of classes.

    Raises:
        InvalidArgument: with every shape that makes no sense.
    """
    unknown = Counter(shape.label for shape in given.shapes if shape.label not in labels)
    known = [shape for shape in given.shapes if shape.label in labels]
    kept = [_of_model(shape, run, labels) for shape in known if _has_place(shape, asset)]
    wanted = AnnotationSetMessage(
        shapes=kept, provenance=ProvenanceMessage(source=ProvenanceMessage.SOURCE_MODEL, agent=run.model_version)
    )
    request = UpdateAnnotationSetRequest(annotation_set=wanted)
    made = draft(request, run.set_id, asset, list(set(labels.values())), run.author)
    return Suggested(replace(made, guard=ReplaceOwn(run.name)), unknown, len(known) - len(kept))


def _of_model(shape: ShapeMessage, run: Run, labels: Mapping[str, str]) -> ShapeMessage:
    own = ShapeMessage()
    own.CopyFrom(shape)
    own.label, own.model_version = labels[shape.label], run.model_version
    return own


def _has_place(shape: ShapeMessage, asset: Asset) -> bool:
    try:
        value = shape_value(shape)
    except ValueError:
        return True
    # What is wrong otherwise is refused; a model that rounds at the edge of an image is not.
    return value is None or usable(validate_shape(value, asset.width, asset.height, ""))


def not_suggested(name: str, fix: str) -> FailedPrecondition:
    """The error for a set that no model made."""
    violation = PreconditionViolation("NOT_SUGGESTED", name, fix)
    return FailedPrecondition("NOT_SUGGESTED", f"what {name} holds was not suggested; {fix}", [violation])


async def review(
    tx: Transaction, project: Project, asset: Asset, set_id: str, choice: Choice, author: str, now: datetime
) -> tuple[AnnotationSet, AnnotationSet | None]:
    """Let a person decide about shapes of a set; what is left of it, and the people's set where shapes were accepted.

    Raises:
        NotFound: there is no such set.
        FailedPrecondition: no model made it.
        EtagMismatch: it has changed since.
        InvalidArgument: a place is wrong, or the people's set would be too large.
    """
    found = await annotation_sets.find(tx, asset, set_id)
    if found.provenance.source is not Source.MODEL or set_id == MAIN_SET:
        raise not_suggested(found.name, "name a set of suggestions")
    if choice.etag != found.etag:
        raise EtagMismatch(found.name, given=choice.etag, actual=found.etag)
    there = list(shapes.unpack(found.blob).shapes)
    _check(choice, len(there))
    gone = {*choice.accept, *choice.reject}
    left = shapes.pack(shape for number, shape in enumerate(there) if number not in gone)
    drafts = [SetDraft(asset, set_id, left, found.provenance, author, Overwrite())]
    if choice.accept:
        drafts.insert(0, await _accepted(tx, asset, [there[number] for number in choice.accept], author))
    *main, rest = [_saved(one) for one in await revisions.save(tx, project, drafts, now)]
    return rest.annotation_set, main[0].annotation_set if main else None


def _check(choice: Choice, count: int) -> None:
    violations, seen = Violations(), set[int]()
    for field, places in (("accept", choice.accept), ("reject", choice.reject)):
        for number, place in enumerate(places):
            if not 0 <= place < count:
                violations.add(f"{field}[{number}]", f"{place} is no place of one of the {count} shapes, from 0")
            elif place in seen:
                violations.add(f"{field}[{number}]", f"{place} is named twice")
            seen.add(place)
    violations.raise_if_any()


async def _accepted(tx: Transaction, asset: Asset, chosen: Sequence[ShapeMessage], author: str) -> SetDraft:
    """The draft of people's shapes with some more, but for such as they have already."""
    try:
        main = await annotation_sets.find(tx, asset, MAIN_SET)
    except NotFound:
        main = None
    merged = list(shapes.unpack(main.blob).shapes) if main else []
    for shape in chosen:
        if not any(_same(shape, other) for other in merged):
            merged.append(shape)
    stored = shapes.pack(merged)
    if len(merged) > shapes.MAX_SHAPES or len(stored.blob) > shapes.MAX_BYTES:
        name = ANNOTATION_SET.format(project=asset.project_id, asset=asset.id, annotation_set=MAIN_SET)
        violations = Violations()
        violations.add("accept", f"{name} would have {len(merged)} shapes, which is more than a set may hold")
        violations.raise_if_any()
    guard = MatchEtag(main.etag if main else "", allow_missing=True)
    return SetDraft(asset, MAIN_SET, stored, Provenance(Source.HUMAN, author), author, guard)


def _same(one: ShapeMessage, other: ShapeMessage) -> bool:
    kind = one.WhichOneof("geometry")
    if kind is None or kind != other.WhichOneof("geometry") or one.label != other.label:
        return False
    return bool(getattr(one, kind) == getattr(other, kind))


def _saved(result: Saved | BloomeryError) -> Saved:
    if isinstance(result, BloomeryError):
        raise result
    return result


async def delete(db: Database, project_id: str, model_version: str) -> int:
    """Delete what a model version suggested, in batches that others may come between; how many sets there were.

    Raise NotFound if there is no such project.
    """
    total = 0
    while gone := await _delete_some(db, project_id, model_version):
        total += gone
    return total


async def _delete_some(db: Database, project_id: str, model_version: str) -> int:
    async with db.write() as tx:
        project = await projects.lock(tx, project_id)
        keys = await annotation_sets.of_agent(tx, project, Source.MODEL, model_version, _AT_ONCE)
        await revisions.remove(tx, project, keys)
        return len(keys)


async def still_there(tx: Transaction, project: Project, found: Collection[Asset]) -> set[str]:
    """The uids of those assets that nobody has deleted since they were read."""
    return {asset.uid for asset in await assets.by_uid(tx, project, {asset.uid for asset in found})}
