"""The values of the dataset service."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from bloomery_kit.leases import Lease
from bloomery_vision.formats.export import stem_of
from bloomery_vision.geometry import Shape
from bloomery_vision.manifest import Crop


class Task(StrEnum):
    """What a version is for."""

    DETECT = "detect"
    SEGMENT = "segment"
    CLASSIFY = "classify"


class Method(StrEnum):
    """Where a split comes from."""

    RATIO = "ratio"
    OFFICIAL = "official"


LEFT_OUT = "none"
"""The part of images without an official split that are left out, as rows call it."""
DROP = "drop"
"""What callers call it."""


class State(StrEnum):
    """Where a build is."""

    BUILDING = "BUILDING"
    READY = "READY"
    FAILED = "FAILED"


class ExportFormat(StrEnum):
    """A format of other tools."""

    YOLO = "yolo"
    COCO = "coco"
    IMAGEFOLDER = "imagefolder"


@dataclass(frozen=True)
class Dataset:
    """A line of versions. `held`: it is known to hold its project, whose uid is empty where nobody wrote it down."""

    uid: str
    project: str
    dataset: str
    display_name: str
    labels: Mapping[str, str]
    create_time: datetime
    update_time: datetime
    revision: int
    latest_version: int
    project_uid: str
    held: bool

    @property
    def name(self) -> str:
        """Its resource name."""
        return f"projects/{self.project}/datasets/{self.dataset}"

    @property
    def title(self) -> str:
        """How people call what holds its project."""
        return f"datasets/{self.dataset}"

    @property
    def holder(self) -> str:
        """The name under which it holds its project, which no other dataset ever has."""
        return f"projects/{self.project}/datasets/{self.uid}"

    @property
    def prefix(self) -> str:
        """A folder of its own, in which nothing lies: its versions have theirs."""
        return self.uid


@dataclass(frozen=True)
class SplitPolicy:
    """How images are divided; the shares are for RATIO, in percent.

    `unassigned` is for OFFICIAL: the part of images without a split of their own, LEFT_OUT, or empty for a refusal.
    """

    method: Method
    train_percent: int = 0
    val_percent: int = 0
    test_percent: int = 0
    seed: int = 0
    group_by: str = ""
    unassigned: str = "train"

    @property
    def percents(self) -> tuple[int, int, int]:
        """The shares of train, val and test."""
        return self.train_percent, self.val_percent, self.test_percent


@dataclass(frozen=True)
class Crops:
    """How images are cut out around boxes, as the contract says, `smallest_side` in pixels.

    `version` is the name of the version whose images are cut, with its number, and `version_uid` that one's uid; empty
    where they are the project's.
    """

    margin: float
    smallest_side: int
    square: bool
    version: str = ""
    version_uid: str = ""


@dataclass(frozen=True)
class Spec:
    """What a version is made from, with all defaults filled in."""

    project: str
    task: Task
    split: SplitPolicy
    class_mapping: Mapping[str, str]
    include_empty: bool
    include_unannotated: bool = False
    keep_unmapped: bool = False
    crops: Crops | None = None

    @property
    def of_version(self) -> str:
        """The version whose images are cut, "" where the project's are read."""
        return self.crops.version if self.crops else ""


@dataclass(frozen=True)
class Label:
    """A label of the project, in the order of creation; `source_id` is its id in the COCO file that it came from."""

    id: str
    display_name: str
    supercategory: str = ""
    source_id: str = ""


@dataclass(frozen=True)
class Project:
    """A project at one moment."""

    uid: str
    create_time: datetime
    asset_count: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the project with its shapes at one moment; `label` of a shape is a label's id.

    `official` is the split that it was imported with, "" for none. `shapes` is None where nobody saved any.
    `source_name` and `source_id` are what its label file called it, "" for nothing. `key` is where its bytes lie, ""
    for where the project keeps them. Of a crop `crop` says what it was cut out of, of which the names are then, and
    `number` counts those of that image.
    """

    asset: str
    digest: str
    size_bytes: int
    media_type: str
    width: int
    height: int
    display_name: str
    official: str
    labels: Mapping[str, str]
    sequence: int
    shapes: tuple[Shape, ...] | None
    source_name: str = ""
    source_id: str = ""
    key: str = ""
    crop: Crop | None = None
    number: int = 0

    @property
    def id(self) -> str:
        """The last part of its name, with the number of a crop."""
        own = self.asset.rpartition("/")[2]
        return f"{own}-{self.number}" if self.crop else own

    @property
    def called(self) -> tuple[str, str]:
        """What its file name is made of: a name as the display name, and one as that of the label file."""
        if self.crop:
            return f"{stem_of(self.display_name)}-{self.number}.png", ""
        return self.display_name, self.source_name


@dataclass(frozen=True)
class Plan:
    """The moment of the project that a build reads; fixed once, so that a resumed build reads the same."""

    read_sequence: int
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class Blob:
    """Immutable bytes in the object store."""

    digest: str
    size_bytes: int
    logical_key: str


@dataclass(frozen=True)
class Export:
    """The label files of a version in a format, and how many shapes that could not hold as they are, by reason."""

    archive: Blob
    losses: Mapping[str, int]


@dataclass(frozen=True)
class SplitCounts:
    """Counts of one part; `shapes` and `images` are by class name."""

    split: str
    image_count: int = 0
    empty_count: int = 0
    shapes: Mapping[str, int] = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)
    crowd_count: int = 0


@dataclass(frozen=True)
class Statistics:
    """Counts of a version. `image_sides`: least width, greatest width, least height, greatest height, in pixels.

    `source_image_count` and `source_shape_count` are what was read: all that is kept and all that is left out.
    `relative_sides` are eleven deciles of the shapes' shorter sides as shares of their images' longer ones, and
    `copies_apart` counts images that have a copy in another part, as far as names tell.
    """

    splits: tuple[SplitCounts, ...] = ()
    image_sides: tuple[int, ...] = ()
    total_bytes: int = 0
    unassigned_count: int = 0
    skipped_shapes: Mapping[str, int] = field(default_factory=dict)
    skipped_images: Mapping[str, int] = field(default_factory=dict)
    adjusted_shapes: Mapping[str, int] = field(default_factory=dict)
    source_image_count: int = 0
    source_shape_count: int = 0
    relative_sides: tuple[float, ...] = ()
    copies_apart: int = 0

    @property
    def image_count(self) -> int:
        """Images of all parts."""
        return sum(part.image_count for part in self.splits)


@dataclass(frozen=True)
class Product:
    """What a build made."""

    classes: tuple[str, ...]
    statistics: Statistics
    content_hash: str
    manifest: Blob


@dataclass(frozen=True)
class Failure:
    """Why a build failed: a stable reason, and what to do about it."""

    reason: str
    message: str


@dataclass(frozen=True)
class Version:
    """A version on its way or finished. `number` is 0 until READY; `product` is set when READY."""

    uid: str
    project: str
    project_uid: str
    dataset: str
    number: int
    spec: Spec
    state: State
    create_time: datetime
    update_time: datetime
    sequence: int
    done_count: int = 0
    item_count: int = 0
    plan: Plan | None = None
    product: Product | None = None
    failure: Failure | None = None
    reused: bool = False

    @property
    def name(self) -> str:
        """Its resource name, by number if it has one."""
        return f"projects/{self.project}/datasets/{self.dataset}/versions/{self.number or self.uid}"

    @property
    def title(self) -> str:
        """How people call what holds its project: the dataset, because it has no number when it begins to."""
        return f"datasets/{self.dataset}"

    @property
    def prefix(self) -> str:
        """Where its objects lie, each by its digest: an attempt that is made again writes the same ones."""
        return f"{self.project_uid}/datasets/{self.uid}"

    @property
    def holder(self) -> str:
        """The name under which it holds its project, which does not change when it gets its number."""
        return f"projects/{self.project}/datasets/{self.dataset}/versions/{self.uid}"


@dataclass(frozen=True)
class Build:
    """A version that this process has the lease to build; only the holder of `lease` may move it."""

    version: Version
    lease: Lease
    attempts: int


@dataclass(frozen=True)
class Cleanup:
    """What is left to do after a dataset or version is gone: release its project, delete its objects; oldest first.

    `last_time`: it has been done before, and is to be done once more, at this time.
    """

    uid: str
    ordinal: int
    project: str
    holder: str
    prefix: str
    last_time: datetime | None


@dataclass(frozen=True)
class Reference:
    """A claim that keeps a version from being deleted; `title` is how people call the holder."""

    version: str
    holder: str
    title: str
    create_time: datetime
