"""What becomes of shapes that somebody wants to save: a new revision, nothing, or a refusal. Decided without I/O."""

import hashlib
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from bloomery_annotation.model import AnnotationSet, Asset, Provenance, Shapes, Source, set_etag
from bloomery_annotation.names import ANNOTATION_SET
from bloomery_kit.errors import BloomeryError, EtagMismatch, FieldViolation, InvalidArgument, NotFound
from bloomery_vision.findings import Finding

RUNS = 16
"""Of a set, which are remembered."""
SetKey = tuple[str, str]
"""An asset's uid and a set's id."""


@dataclass(frozen=True)
class MatchEtag:
    """A person's save: it must have seen the newest revision; a first one must be allowed."""

    etag: str
    allow_missing: bool


@dataclass(frozen=True)
class KeepEdits:
    """An import's save: what people or models made since stays."""


@dataclass(frozen=True)
class Overwrite:
    """A save under the project's lock, right after reading, of less than was read: its labels are there."""


@dataclass(frozen=True)
class ReplaceOwn:
    """A model version's save: only what it suggested in other runs goes, none of which is this one, called `run`."""

    run: str


Guard = MatchEtag | KeepEdits | Overwrite | ReplaceOwn


@dataclass(frozen=True)
class SetDraft:
    """The shapes that somebody wants to save on an asset, and what whoever saves them should know about them."""

    asset: Asset
    set_id: str
    shapes: Shapes
    provenance: Provenance
    author: str
    guard: Guard
    problems: tuple[Finding, ...] = ()

    @property
    def key(self) -> SetKey:
        """Which set it is: the asset's uid and the set's id."""
        return self.asset.uid, self.set_id

    @property
    def name(self) -> str:
        """The resource name of the set."""
        return ANNOTATION_SET.format(project=self.asset.project_id, asset=self.asset.id, annotation_set=self.set_id)


@dataclass(frozen=True)
class Head:
    """The newest revision of a set, without its shapes."""

    revision: int
    sequence: int
    shapes_digest: bytes
    provenance: Provenance
    author: str
    create_time: datetime
    update_time: datetime
    runs: tuple[str, ...] = ()
    """The last runs of models that saved it, or what somebody changed since, the newest at the end."""


class Outcome(Enum):
    """What to do."""

    SAVE = "save"
    NOTED = "noted"
    """It holds these shapes already; that another run saved the same is written down."""
    UNCHANGED = "unchanged"
    """It holds these shapes already, and no person confirms what was not a person's."""
    KEPT = "kept"
    """It holds other shapes, which stay."""


@dataclass(frozen=True)
class Saved:
    """A draft that was not refused, and the newest revision of its set."""

    draft: SetDraft
    outcome: Outcome
    head: Head

    @property
    def annotation_set(self) -> AnnotationSet:
        """The set as it is now; only where it holds the draft's shapes."""
        assert self.outcome is not Outcome.KEPT
        return AnnotationSet(
            project_id=self.draft.asset.project_id,
            asset_uid=self.draft.asset.uid,
            asset_id=self.draft.asset.id,
            id=self.draft.set_id,
            revision=self.head.revision,
            sequence=self.head.sequence,
            blob=self.draft.shapes.blob,
            provenance=self.head.provenance,
            author=self.head.author,
            create_time=self.head.create_time,
            update_time=self.head.update_time,
        )


def plan(
    drafts: Iterable[SetDraft], heads: Mapping[SetKey, Head], labels: AbstractSet[str], *, sequence: int, now: datetime
) -> list[Saved | BloomeryError]:
    """What becomes of each draft, in order; the revisions to write are numbered from `sequence` on.

    `heads` are the newest revisions by set, `labels` the ids that shapes may carry.
    """
    newest = dict(heads)
    results: list[Saved | BloomeryError] = []
    for draft in drafts:
        try:
            if not isinstance(draft.guard, Overwrite):
                _check_labels(draft, labels)
            outcome = decide(draft, newest.get(draft.key))
        except BloomeryError as refusal:
            results.append(refusal)
            continue
        if outcome is Outcome.SAVE:
            newest[draft.key] = _next(draft, newest.get(draft.key), sequence, now)
            sequence += 1
        elif outcome is Outcome.NOTED:
            head = newest[draft.key]
            newest[draft.key] = replace(head, runs=_runs(draft, head))
        results.append(Saved(draft, outcome, newest[draft.key]))
    return results


def digest_of(shapes: Shapes) -> bytes:
    """Equal for equal shapes."""
    return hashlib.sha256(shapes.blob).digest()


def decide(draft: SetDraft, head: Head | None) -> Outcome:
    """What to do with a draft.

    Raises:
        NotFound: there is no set, and the caller did not allow a first save.
        InvalidArgument: a set that exists needs an etag.
        EtagMismatch: somebody saved since the caller read.
    """
    if head is None:
        _check_first(draft)
        return Outcome.SAVE
    if isinstance(draft.guard, ReplaceOwn):
        return _decide_own(draft, head, draft.guard.run)
    if isinstance(draft.guard, MatchEtag) and not draft.guard.etag:
        description = "is required for a set that exists; read the set and send its etag"
        raise InvalidArgument([FieldViolation("annotation_set.etag", description)], reason="ETAG_REQUIRED")
    if head.shapes_digest == digest_of(draft.shapes) and not _confirms(draft, head):
        return Outcome.UNCHANGED
    match draft.guard:
        case MatchEtag(etag=etag):
            actual = set_etag(*draft.key, head.sequence)
            if etag != actual:
                raise EtagMismatch(draft.name, given=etag, actual=actual)
        case KeepEdits() if head.provenance.source is not Source.IMPORT:
            return Outcome.KEPT
    return Outcome.SAVE


def _decide_own(draft: SetDraft, head: Head, run: str) -> Outcome:
    if head.provenance != draft.provenance:
        return Outcome.KEPT
    # What a run has saved may have been reviewed since: its repeat must not bring it back.
    if run in head.runs:
        return Outcome.UNCHANGED
    if head.shapes_digest == digest_of(draft.shapes):
        return Outcome.NOTED if run else Outcome.UNCHANGED
    return Outcome.SAVE


def _confirms(draft: SetDraft, head: Head) -> bool:
    # Who looks at what an import or a model made and saves it as it is has made it theirs.
    made_by_people = draft.provenance.source is Source.HUMAN and isinstance(draft.guard, MatchEtag)
    return made_by_people and head.provenance.source is not Source.HUMAN


def _check_first(draft: SetDraft) -> None:
    if not isinstance(draft.guard, MatchEtag):
        return
    if draft.guard.etag:
        raise EtagMismatch(draft.name, given=draft.guard.etag, actual="")
    if not draft.guard.allow_missing:
        raise NotFound("annotation set", draft.name, "set allow_missing to save the first shapes")


def _check_labels(draft: SetDraft, labels: AbstractSet[str]) -> None:
    # They were there when the shapes were checked; one may have been deleted since.
    if unknown := sorted(draft.shapes.counts.keys() - labels):
        description = f"there is no label {', '.join(unknown)} any more; read the labels again"
        raise InvalidArgument([FieldViolation("annotation_set.shapes", description)], reason="UNKNOWN_LABEL")


def _next(draft: SetDraft, head: Head | None, sequence: int, now: datetime) -> Head:
    return Head(
        revision=head.revision + 1 if head else 1,
        sequence=sequence,
        shapes_digest=digest_of(draft.shapes),
        provenance=draft.provenance,
        author=draft.author,
        create_time=head.create_time if head else now,
        update_time=now,
        runs=_runs(draft, head),
    )


def _runs(draft: SetDraft, head: Head | None) -> tuple[str, ...]:
    runs = head.runs if head else ()
    if isinstance(draft.guard, ReplaceOwn) and draft.guard.run:
        return (*runs, draft.guard.run)[-RUNS:]
    return runs
