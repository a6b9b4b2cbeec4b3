"""What the handles of data show: projects, labels, images, imports, datasets."""

from collections.abc import Sequence
from datetime import datetime

from bloomery._fields.base import Fields, task_name
from bloomery._results import moment
from bloomery.annotation import v1 as annotation
from bloomery.dataset import v1 as dataset


class ProjectFields(Fields[annotation.Project]):
    """A body of images with one list of labels."""

    @property
    def display_name(self) -> str:
        """What people see."""
        return self.proto.display_name

    @property
    def asset_count(self) -> int:
        """Number of images."""
        return self.proto.asset_count

    @property
    def create_time(self) -> datetime:
        """When it was created, UTC."""
        return moment(self.proto.create_time)


class LabelFields(Fields[annotation.Label]):
    """A class of things that shapes carry."""

    @property
    def display_name(self) -> str:
        """What people see and what exports write."""
        return self.proto.display_name

    @property
    def color(self) -> str:
        """`#rrggbb`."""
        return self.proto.color

    @property
    def shape_count(self) -> int:
        """How many shapes carry it."""
        return self.proto.shape_count


class AssetFields(Fields[annotation.Asset]):
    """An image."""

    @property
    def display_name(self) -> str:
        """Where it came from, such as its path in an imported folder."""
        return self.proto.display_name

    @property
    def digest(self) -> str:
        """`sha256:...` of the original bytes."""
        return self.proto.digest

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, EXIF orientation applied."""
        return self.proto.width, self.proto.height

    @property
    def split(self) -> str:
        """The part of the official split that it belongs to; empty for none."""
        return self.proto.split


class ImportFields(Fields[annotation.Import]):
    """The reading of one labelled folder."""

    @property
    def state(self) -> str:
        """PENDING, RUNNING, SUCCEEDED, FAILED or CANCELLED."""
        return annotation.Import.State.Name(self.proto.state).removeprefix("STATE_")

    @property
    def format(self) -> str:
        """`voc`, `coco`, `yolo` or `images`; empty until it is known."""
        named = annotation.Format.Name(self.proto.format).removeprefix("FORMAT_").lower()
        return "" if named == "unspecified" else named

    @property
    def plan(self) -> annotation.ImportPlan:
        """What the folder is understood to be: label files, lists of classes, splits, what is left alone, doubts."""
        return self.proto.plan

    @property
    def outcomes(self) -> annotation.ImportOutcomes:
        """How many images are annotated, empty, not annotated, failed, and repeated; each is counted once."""
        return self.proto.outcomes


class DatasetFields(Fields[dataset.Dataset]):
    """A named line of dataset versions."""

    @property
    def display_name(self) -> str:
        """What people see."""
        return self.proto.display_name

    @property
    def latest_version(self) -> int:
        """Number of the newest READY version; 0 where there is none."""
        return self.proto.latest_version


class DatasetVersionFields(Fields[dataset.DatasetVersion]):
    """A fixed choice of images with labels and split."""

    @property
    def version(self) -> int:
        """Number within the dataset; 0 until it is READY."""
        return self.proto.version

    @property
    def state(self) -> str:
        """BUILDING, READY or FAILED."""
        return dataset.DatasetVersion.State.Name(self.proto.state).removeprefix("STATE_")

    @property
    def task(self) -> str:
        """`detect`, `segment` or `classify`."""
        return task_name(self.proto.spec.task)

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes in the order of their indices."""
        return self.proto.classes

    @property
    def statistics(self) -> dataset.DatasetStatistics:
        """Counts by split and class."""
        return self.proto.statistics

    @property
    def reused(self) -> bool:
        """Whether nothing had changed, and this earlier version is what a building ended with."""
        return self.proto.reused

    @property
    def content_hash(self) -> str:
        """`sha256:...`: the same content has the same."""
        return self.proto.content_hash
