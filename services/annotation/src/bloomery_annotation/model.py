"""The nouns of this service as values."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from bloomery_annotation.names import ANNOTATION_SET, ASSET, IMPORT, LABEL, PROJECT
from bloomery_kit.etags import etag_of
from bloomery_vision.findings import Finding
from bloomery_vision.formats import Format


@dataclass(frozen=True)
class Project:
    """A body of images with one list of labels.

    `revision` counts the changes of its own fields, `sweeps` how often blobs that nothing needs were collected, and
    `size_bytes` those of its blobs.
    """

    id: str
    uid: str
    display_name: str
    labels: Mapping[str, str]
    create_time: datetime
    update_time: datetime
    revision: int = 1
    asset_count: int = 0
    sequence: int = 0
    sweeps: int = 0
    size_bytes: int = 0

    @property
    def name(self) -> str:
        """The resource name."""
        return PROJECT.format(project=self.id)

    @property
    def etag(self) -> str:
        """Changes with every change of the fields."""
        return etag_of(self.uid, self.revision)


@dataclass(frozen=True)
class Label:
    """A class of things; `position` is its place in the order of creation, `deleted_by` who is deleting it.

    `former_names` are display names that it had before, the newest first: label files still call it by them.
    `supercategory` and `source_id` are what COCO files say of it, "" for nothing.
    """

    project_id: str
    id: str
    uid: str
    display_name: str
    color: str
    create_time: datetime
    update_time: datetime
    position: int
    revision: int = 1
    shape_count: int = 0
    deleted_by: str = ""
    former_names: Sequence[str] = ()
    supercategory: str = ""
    source_id: str = ""

    @property
    def name(self) -> str:
        """The resource name."""
        return LABEL.format(project=self.project_id, label=self.id)

    @property
    def etag(self) -> str:
        """Changes with every change of the fields."""
        return etag_of(self.uid, self.revision)


@dataclass(frozen=True)
class Blob:
    """Checked bytes of a project, and what they show: an image, or the reason why they are none."""

    digest: str
    size_bytes: int
    media_type: str = ""
    width: int = 0
    height: int = 0
    problem: Finding | None = None


NOT_SENT = Blob("", 0)
"""What is known of a file of which only the name was told."""


@dataclass(frozen=True)
class AssetDraft:
    """What a caller, or an import with the last two fields, says about an image."""

    digest: str
    display_name: str
    split: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    parent: str = ""
    timestamp: timedelta = timedelta()
    source_name: str = ""
    source_id: str = ""


@dataclass(frozen=True)
class Asset:
    """An image. Width and height in pixels, EXIF orientation applied; `since` is the sequence of its last change.

    `parent` is the id of the asset that it is a frame of, and `timestamp` the time within that. `imported_split` is the
    split that files gave it last; where it differs from `split`, somebody has changed that since. `source_name` and
    `source_id` are what its label file called it last, "" for nothing.
    """

    project_id: str
    uid: str
    id: str
    digest: str
    display_name: str
    size_bytes: int
    media_type: str
    width: int
    height: int
    split: str
    labels: Mapping[str, str]
    create_time: datetime
    sequence: int
    since: int
    parent: str = ""
    timestamp: timedelta = timedelta()
    imported_split: str = ""
    source_name: str = ""
    source_id: str = ""

    @property
    def name(self) -> str:
        """The resource name."""
        return ASSET.format(project=self.project_id, asset=self.id)

    @property
    def etag(self) -> str:
        """Changes with every change of the fields."""
        return etag_of(self.uid, self.since)


class Source(StrEnum):
    """Where a set of shapes came from."""

    HUMAN = "human"
    MODEL = "model"
    IMPORT = "import"


@dataclass(frozen=True)
class Provenance:
    """Where a set of shapes came from, and who made it: a user, a model version or an import."""

    source: Source
    agent: str


@dataclass(frozen=True)
class Shapes:
    """The shapes of one set as they are stored, and how many of them carry each label (by id)."""

    blob: bytes
    counts: Mapping[str, int]

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class AnnotationSet:
    """One saved state of the shapes on one asset. `create_time` is that of the first state."""

    project_id: str
    asset_uid: str
    asset_id: str
    id: str
    revision: int
    sequence: int
    blob: bytes
    provenance: Provenance
    author: str
    create_time: datetime
    update_time: datetime

    @property
    def name(self) -> str:
        """The resource name."""
        return ANNOTATION_SET.format(project=self.project_id, asset=self.asset_id, annotation_set=self.id)

    @property
    def etag(self) -> str:
        """Changes with every revision."""
        return set_etag(self.asset_uid, self.id, self.sequence)


def set_etag(asset_uid: str, set_id: str, sequence: int) -> str:
    """The etag of the revision of a set that was saved at that sequence: revisions begin again after a deletion."""
    return etag_of(asset_uid, set_id, sequence)


class ImportState(StrEnum):
    """Where an import is."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether nothing follows."""
        return self not in (ImportState.PENDING, ImportState.RUNNING)


@dataclass(frozen=True)
class ImportCounts:
    """How far an import is; the contract says what each means.

    `read_count` are the items behind which it goes on after a restart: images, and label files without one. The five
    that end the list of images are `labelled`, `empty`, `unlabelled`, `broken` and `repeated`. `problem_codes` says how
    many of the findings have each code; those of an import that ran before it was counted are in none.
    """

    item_count: int = 0
    done_count: int = 0
    asset_count: int = 0
    annotated_count: int = 0
    unchanged_count: int = 0
    failed_count: int = 0
    shape_count: int = 0
    problem_count: int = 0
    read_count: int = 0
    labelled_count: int = 0
    empty_count: int = 0
    unlabelled_count: int = 0
    broken_count: int = 0
    repeated_count: int = 0
    edited_count: int = 0
    split_count: int = 0
    problem_codes: Mapping[str, int] = field(default_factory=dict)

    def plus(self, more: Mapping[str, int], problems: Sequence["Problem"]) -> "ImportCounts":
        """With some of them raised, and more findings."""
        codes = Counter(self.problem_codes)
        codes.update(problem.finding.code for problem in problems)
        return replace(
            self,
            **{name: getattr(self, name) + number for name, number in more.items()},
            problem_count=self.problem_count + len(problems),
            problem_codes=dict(codes),
        )


@dataclass(frozen=True)
class Problem:
    """A finding about an item: a resource's name, or a file's path inside an import."""

    item: str
    finding: Finding


@dataclass(frozen=True)
class Failure:
    """Why an import failed as a whole."""

    reason: str
    message: str


@dataclass(frozen=True)
class Import:
    """The reading of one labelled folder; `sequence` rises with every change.

    `fingerprint` says how whoever runs it, or ran it last, reads the folder; empty where that was not told.
    `asked` is the format that the request named, `format` the one that the folder has, as soon as that is known.
    `file_list` is the digest of the uploaded list of its files, empty where the request named them. `plan` is what the
    folder is understood to be, as JSON, empty where that is not known or was not asked for.
    """

    project_id: str
    project_uid: str
    id: str
    uid: str
    display_name: str
    asked: Format | None
    format: Format | None
    state: ImportState
    counts: ImportCounts
    position: int
    sequence: int
    create_time: datetime
    update_time: datetime
    file_list: str = ""
    plan_only: bool = False
    strict: bool = False
    plan: str = ""
    fingerprint: str = ""
    failure: Failure | None = None
    cancel_requested: bool = False
    problems: tuple[Problem, ...] = ()

    @property
    def name(self) -> str:
        """The resource name."""
        return IMPORT.format(project=self.project_id, import_id=self.id)


@dataclass(frozen=True)
class Reference:
    """A claim that keeps a project from being deleted; `title` is how people call the holder."""

    holder: str
    resource: str
    create_time: datetime
    title: str
