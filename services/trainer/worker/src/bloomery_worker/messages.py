"""What passes between the supervisor and the trainer process: one JSON object a line, both ways."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeAlias, get_args

from google.protobuf.json_format import MessageToDict, ParseDict

from bloomery.training.v1 import ModelFacts, VariantFacts
from bloomery_worker.failures import Failure, batch_hint

Value: TypeAlias = int | float | bool | str

LONGEST = 8 << 20
"""Bytes of a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """Everything that a recipe needs to know about its job. Paths are absolute.

    Attributes:
        name: resource name of the job.
        uid: of the job.
        kind: "TRAIN", "OPTIMIZE", ...
        attempt: from 1.
        recipe: id of the recipe, such as "yolo-detect".
        recipe_version: of the recipe.
        recipe_license: SPDX id.
        module: Python module that holds the recipe's code.
        task: "detect", "segment" or "classify".
        parameters: effective ones, by id.
        classes: names in the order of their indices.
        dataset_version: resource name; empty for none.
        project_images: whether `manifest` lists images of the project, which are in no split, instead.
        archives: digests of those whose images, which are in no split, `manifest` lists instead; empty for none.
        manifest: file of the dataset version's index; empty for none.
        base: name of the base weights as given; empty for the first of `bases`.
        bases: names of the base weights that the recipe knows.
        base_file: the base weights or the model to work on, where they were given by digest; else empty.
        base_digest: digest of `base_file`.
        model_version: resource name of the model to work on; empty for none.
        variant: id of the form of it that is worked on, such as "onnx-int8"; empty for the model by its checkpoint.
        variant_dir: its Triton model directory; empty for none.
        resume_dir: folder of the checkpoint to go on from; empty for a start from the beginning.
        resume_epoch: epochs that it holds.
        cache_dir: blobs by digest.
        work_dir: the attempt's own folder.
        cpus: cores to use; 0 for all.
        memory_bytes: that the machine or container has; 0 for what this machine has.
        memory_share: bytes that the job asked for; 0 for none in particular.
        gpus: that the job asked for.
    """

    name: str
    uid: str
    kind: str
    attempt: int
    recipe: str
    recipe_version: str
    recipe_license: str
    module: str
    task: str
    parameters: Mapping[str, Value]
    classes: tuple[str, ...]
    dataset_version: str = ""
    project_images: bool = False
    archives: tuple[str, ...] = ()
    manifest: str = ""
    base: str = ""
    bases: tuple[str, ...] = ()
    base_file: str = ""
    base_digest: str = ""
    model_version: str = ""
    variant: str = ""
    variant_dir: str = ""
    resume_dir: str = ""
    resume_epoch: int = 0
    cache_dir: str
    work_dir: str
    cpus: float = 0.0
    memory_bytes: int = 0
    memory_share: int = 0
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """To the trainer: do this job."""

    type: ClassVar[str] = "start"
    job: JobSpec


@dataclass(frozen=True, slots=True)
class Stop:
    """To the trainer: end as soon as you can; what the last checkpoint holds is kept."""

    type: ClassVar[str] = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressNote:
    """How far the work is; fields as in the contract's Progress.

    `step` and `steps` count within the epoch, or within the phase before the first; `fraction` is of the whole work.
    """

    type: ClassVar[str] = "progress"
    phase: str
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    fraction: float = 0.0
    device: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsNote:
    """Measurements: `epoch` epochs done, `step` steps done since the start of the job."""

    type: ClassVar[str] = "metrics"
    epoch: int
    step: int
    values: Mapping[str, float]
    epoch_end: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightNote:
    """What one step takes; fields as in the contract's PreflightReported."""

    type: ClassVar[str] = "preflight"
    device: str
    batch: int
    steps_per_epoch: int
    peak_memory_bytes: int
    memory_limit_bytes: int
    largest_batch: int
    seconds_per_step: float

    @property
    def smaller(self) -> str:
        """What to do where memory runs out all the same."""
        return batch_hint(self.batch, self.largest_batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeNote:
    """A predicted shape: a box (left, top, width, height), a mask (COCO's compressed runs), or neither for a tag."""

    label: str
    confidence: float
    box: tuple[float, float, float, float] | None = None
    mask: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleNote:
    """What the model sees in an image; fields as in the contract's SamplePrediction."""

    asset: str
    digest: str
    file_name: str
    width: int
    height: int
    shapes: tuple[ShapeNote, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplesNote:
    """What the model sees in some images after `epoch` epochs."""

    type: ClassVar[str] = "samples"
    epoch: int
    samples: tuple[SampleNote, ...]


@dataclass(frozen=True, slots=True)
class LogNote:
    """A line of the log; `level` as in Python's `logging`."""

    type: ClassVar[str] = "log"
    level: int
    message: str


@dataclass(frozen=True, slots=True)
class CheckpointNote:
    """A folder with a complete checkpoint of `epoch` epochs. It belongs to the supervisor from now on."""

    type: ClassVar[str] = "checkpoint"
    folder: str
    epoch: int
    best: bool


@dataclass(frozen=True, slots=True)
class EventsNote:
    """A file of TensorBoard's events, the `number`-th of this process. It belongs to the supervisor from now on."""

    type: ClassVar[str] = "events"
    path: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileNote:
    """A file to publish: `path` on this machine, and how the contract's Artifact describes it."""

    path: str
    role: str
    file_name: str
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultNote:
    """The work is done; fields as in a recipe's result."""

    type: ClassVar[str] = "result"
    files: tuple[FileNote, ...]
    metrics: Mapping[str, float]
    details: Mapping[str, object]
    versions: Mapping[str, str]
    model: ModelFacts | None = None
    variants: tuple[VariantFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class StoppedNote:
    """The work ended on request. `epoch` epochs are in the last checkpoint."""

    type: ClassVar[str] = "stopped"
    epoch: int


@dataclass(frozen=True, slots=True)
class FailedNote:
    """The work cannot be done."""

    type: ClassVar[str] = "failed"
    failure: Failure


Directive: TypeAlias = Start | Stop
Note: TypeAlias = (
    ProgressNote
    | MetricsNote
    | PreflightNote
    | SamplesNote
    | LogNote
    | CheckpointNote
    | EventsNote
    | ResultNote
    | StoppedNote
    | FailedNote
)
LastNote: TypeAlias = ResultNote | StoppedNote | FailedNote


def encode(message: Directive | Note) -> bytes:
    """One line.

    Raises:
        ValueError: it is longer than the other side reads.
    """
    content = {"type": message.type, **asdict(message)}
    line = json.dumps(content, separators=(",", ":"), default=MessageToDict).encode() + b"\n"
    if len(line) > LONGEST:
        raise ValueError(f"a {message.type} message has {len(line):,} bytes, at most {LONGEST:,} can be sent")
    return line


def decode_directive(line: bytes) -> Directive:
    """Reads what `encode` wrote for the trainer."""
    content = json.loads(line)
    if content["type"] == Stop.type:
        return Stop()
    job = content["job"]
    return Start(JobSpec(**job | {name: tuple(job[name]) for name in ("classes", "bases", "archives")}))


def decode_note(line: bytes) -> Note:
    """Reads what `encode` wrote for the supervisor."""
    content = json.loads(line)
    kind = content.pop("type")
    if kind == ResultNote.type:
        content["files"] = tuple(FileNote(**one) for one in content["files"])
        content["model"] = content["model"] and ParseDict(content["model"], ModelFacts())
        content["variants"] = tuple(ParseDict(one, VariantFacts()) for one in content["variants"])
    if kind == SamplesNote.type:
        content["samples"] = tuple(_sample(one) for one in content["samples"])
    if kind == FailedNote.type:
        content["failure"] = Failure(**content["failure"])
    return _NOTES[kind](**content)


def _sample(content: Mapping[str, Any]) -> SampleNote:
    shapes = (one | {"box": one["box"] and tuple(one["box"])} for one in content["shapes"])
    return SampleNote(**{**content, "shapes": tuple(ShapeNote(**one) for one in shapes)})


_NOTES: Mapping[str, type[Note]] = {kind.type: kind for kind in get_args(Note)}
