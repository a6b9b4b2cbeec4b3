"""Values that the client returns beside handles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from bloomery import errors
from bloomery._files import replacing
from bloomery._names import counted, short
from bloomery.common import v1 as common
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training
from bloomery.vision import v1 as vision

if TYPE_CHECKING:
    from PIL.Image import Image

ImageT = TypeVar("ImageT")
Source: TypeAlias = "bytes | Path | Image | None"
"""What shapes can be drawn on, None where it is not here."""
Kind = Literal["state_changed", "metrics", "progress", "log", "checkpoint", "system", "preflight", "samples"]


def moment(timestamp: Timestamp) -> datetime:
    """A timestamp as an aware time in UTC."""
    return timestamp.ToDatetime(UTC)


@dataclass(frozen=True)
class Step:
    """How far long work is: what goes on, and how many of how many are done; `total` is 0 while it is not known."""

    phase: str
    done: int = 0
    total: int = 0


Progress = Callable[[Step], None]
"""Told about each step. Called in the client's own thread: it must be quick."""


def unseen(step: Step) -> None:
    """The progress of work that nobody watches."""


def of(what: str, progress: Progress) -> Progress:
    """Tell `progress` the steps of one of several things, with its name before each phase."""
    return lambda step: progress(replace(step, phase=f"{what}: {step.phase}"))


@dataclass(frozen=True)
class Event:
    """Something that happened to a job; `proto` has all of it."""

    proto: training.JobEvent

    @property
    def sequence(self) -> int:
        """Place in the job's log, from 1: the cursor to resume a watch after this event."""
        return self.proto.sequence

    @property
    def time(self) -> datetime:
        """When it happened, by the clock of whoever reported it."""
        return moment(self.proto.time)

    @property
    def kind(self) -> Kind | None:
        """What happened: the name of the field of `proto` that is set; None for what this client does not know."""
        return self.proto.WhichOneof("event")

    @property
    def metrics(self) -> Mapping[str, float]:
        """Measurements by name; empty for an event of another kind."""
        return self.proto.metrics.values

    @property
    def state(self) -> str:
        """The state that the job moved to; empty for an event of another kind."""
        if self.kind != "state_changed":
            return ""
        return training.JobState.Name(self.proto.state_changed.to_state).removeprefix("JOB_STATE_")


@dataclass(frozen=True)
class AliasChange:
    """What became of an alias at one moment; `proto` has all of it."""

    proto: inference.ModelAliasChange

    @property
    def from_version(self) -> str:
        """The full name of the version that it named before; empty where there was no such alias."""
        return self.proto.from_version

    @property
    def to_version(self) -> str:
        """The full name of the version that it names from then on; empty where it was removed."""
        return self.proto.to_version

    @property
    def changer(self) -> str:
        """Who changed it."""
        return self.proto.changer

    @property
    def reason(self) -> str:
        """Why, as they said."""
        return self.proto.reason

    @property
    def figures(self) -> Sequence[inference.ConditionFigure]:
        """What was measured for the conditions under which it was moved, all of them met."""
        return self.proto.figures

    @property
    def time(self) -> datetime:
        """When, UTC."""
        return moment(self.proto.create_time)


@dataclass(frozen=True)
class Epoch:
    """What was measured at the end of an epoch, counted from 1; `values` by name, such as "val/map50"."""

    epoch: int
    step: int
    attempt: int
    time: datetime
    values: Mapping[str, float]


@dataclass(frozen=True)
class Estimate:
    """What a training would take, from `earlier` ones, by their names: `source` says how.

    "JOBS": from some that have succeeded. "PREFLIGHTS": from the preflights of others, the steps alone. "NONE": nothing
    is known. `seconds` is the middle, `least` and `most` are the quickest and the slowest; `memory_bytes` is the most
    that a step took, 0 where unknown. `warnings` are about the data.
    """

    source: str
    earlier: Sequence[str]
    seconds: float
    least: float
    most: float
    memory_bytes: int
    warnings: Sequence[common.Problem]


@dataclass(frozen=True)
class Checkpoint:
    """A state of a training that can be downloaded and started from, after `epoch` epochs, counted from 1.

    `name` is full, `size_bytes` that of all its files; one is the `best` so far. `create_time` is UTC.
    """

    name: str
    epoch: int
    attempt: int
    size_bytes: int
    best: bool
    create_time: datetime


@dataclass(frozen=True)
class Difference:
    """Something about two jobs that is not the same; empty text where one of them has no record of it."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Validation:
    """What the check of a project's annotations found."""

    problems: Sequence[common.Problem]
    error_count: int
    warning_count: int
    asset_count: int

    @property
    def ok(self) -> bool:
        """Whether nothing must be repaired; warnings may be left."""
        return self.error_count == 0


@dataclass(frozen=True)
class Contents:
    """What was made from a project, by the names that people type: `cells-v@1`; `cells-v` where it has no version."""

    dataset_versions: Sequence[str]
    model_versions: Sequence[str]
    jobs: Sequence[str]
    active_jobs: Sequence[str]
    """Those of the jobs that are not over."""
    deployments: Sequence[str] = ()


@dataclass(frozen=True)
class Sample:
    """What a model in training sees in an image of the validation split after `epoch` epochs; `proto` has all of it."""

    epoch: int
    proto: training.SamplePrediction
    source: bytes = field(repr=False)

    @property
    def file_name(self) -> str:
        """Of the image in the dataset version."""
        return self.proto.file_name

    @property
    def shapes(self) -> Sequence[vision.Shape]:
        """The shapes with `label` and `confidence`, in pixels of the image as it is shown, best first."""
        return self.proto.shapes

    def save(self, path: str | Path) -> Path:
        """Write the image with the shapes drawn on it to `path`, whose suffix is the file format, and return it.

        Works in the caller's thread: from an event loop, call it by `asyncio.to_thread`.
        """
        return _drawn(self.source, self.shapes, Path(path))


@dataclass(frozen=True)
class Prediction:
    """What a model sees in one image; `proto` has all of it.

    Shapes are in pixels of the image as it is shown, origin at its top-left corner, best first.
    """

    proto: inference.PredictResponse
    source: Source = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"<Prediction of {counted(len(self.shapes), 'shape')} by {short(self.proto.variant)}>"

    @property
    def shapes(self) -> Sequence[vision.Shape]:
        """The shapes with `label` and `confidence`, best first."""
        return self.proto.shapes

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image, pixels."""
        return self.proto.width, self.proto.height

    @property
    def timings(self) -> inference.StageTimings:
        """Milliseconds by stage."""
        return self.proto.timings

    def save(self, path: str | Path) -> Path:
        """Write the image with the shapes drawn on it to `path`, whose suffix is the file format, and return it.

        Works in the caller's thread: from an event loop, call it by `asyncio.to_thread`.

        Raises:
            FailedPrecondition: the prediction was made on an asset, whose bytes are not here.
        """
        if self.source is None:
            raise errors.FailedPrecondition(
                "the image of an asset is not here", hint="download it and draw with bloomery.drawing.draw"
            )
        return _drawn(self.source, self.shapes, Path(path))


@dataclass(frozen=True)
class Predicted(Generic[ImageT]):
    """What became of one of several images: a prediction, or the error that this image has and others may not."""

    image: ImageT
    prediction: Prediction | None = None
    error: errors.InvalidArgument | errors.NotFound | None = None


def _drawn(source: "bytes | Path | Image", shapes: Sequence[vision.Shape], target: Path) -> Path:
    from PIL import Image

    from bloomery.drawing import draw

    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        draw(source, shapes).save(part, Image.registered_extensions().get(target.suffix.lower()))
    return target
