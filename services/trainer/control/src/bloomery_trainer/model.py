"""What the trainer talks about: jobs, their attempts, and what comes of them."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

ParameterValue = bool | int | float | str


class State(enum.IntEnum):
    """Where a job is; the values are those of `bloomery.training.v1.JobState`."""

    PENDING = 1
    QUEUED = 2
    PREPARING = 3
    RUNNING = 4
    PAUSING = 5
    PAUSED = 6
    CANCELLING = 7
    SUCCEEDED = 8
    FAILED = 9
    CANCELLED = 10

    @property
    def is_terminal(self) -> bool:
        """Whether the job never moves again."""
        return self in TERMINAL


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
ACTIVE = frozenset({State.QUEUED, State.PREPARING, State.RUNNING, State.PAUSING, State.CANCELLING})
SUCCESSORS: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.QUEUED, State.PAUSED, State.CANCELLED, State.FAILED}),
    State.QUEUED: frozenset({State.PREPARING, State.PENDING, State.PAUSING, State.CANCELLING, State.FAILED}),
    State.PREPARING: frozenset(
        {State.RUNNING, State.SUCCEEDED, State.QUEUED, State.PENDING, State.PAUSING, State.CANCELLING, State.FAILED}
    ),
    State.RUNNING: frozenset(
        {State.SUCCEEDED, State.QUEUED, State.PENDING, State.PAUSING, State.CANCELLING, State.FAILED}
    ),
    State.PAUSING: frozenset({State.PAUSED, State.SUCCEEDED, State.CANCELLING, State.FAILED}),
    State.PAUSED: frozenset({State.PENDING, State.CANCELLED}),
    State.CANCELLING: frozenset({State.CANCELLED}),
}


class Kind(enum.IntEnum):
    """What a job does; the values are those of `bloomery.training.v1.JobKind`."""

    TRAIN = 1
    EVALUATE = 2
    OPTIMIZE = 3
    PREDICT = 4
    IMPORT = 5


MAKES_MODELS = frozenset({Kind.TRAIN, Kind.OPTIMIZE, Kind.IMPORT})
"""Kinds whose results, or parts of them, the registry of models keeps."""


class Task(enum.IntEnum):
    """What a recipe finds in images; the values are those of `bloomery.vision.v1.TaskType`."""

    DETECT = 1
    SEGMENT = 2
    CLASSIFY = 3


class Outcome(enum.StrEnum):
    """How an attempt ended, as far as the service knows."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    STOPPED = "STOPPED"
    CONDEMNED = "CONDEMNED"


@dataclass(frozen=True)
class Reason:
    """Why something is as it is, for people; `retriable` says whether another attempt is worth it."""

    code: str
    message: str
    hint: str = ""
    retriable: bool = False
    since: datetime | None = None

    def says_the_same(self, other: "Reason | None") -> bool:
        """Whether `other` differs in nothing but its time."""
        return other is not None and (self.code, self.message, self.hint) == (other.code, other.message, other.hint)


@dataclass(frozen=True)
class Resources:
    """What an attempt takes from a machine: cores, bytes, devices."""

    cpus: float = 0.0
    memory_bytes: int = 0
    gpus: int = 0


@dataclass(frozen=True)
class Artifact:
    """Immutable bytes in the object store; `digest` is "sha256:<64 hex>"."""

    role: str
    digest: str
    size_bytes: int
    media_type: str = ""
    file_name: str = ""
    logical_key: str = ""


@dataclass(frozen=True)
class ProjectImages:
    """Images of a job's project at one of its sequences, those that a filter lets through."""

    filter: str
    read_sequence: int = 0


@dataclass(frozen=True)
class Spec:
    """A job's inputs; they never change."""

    kind: Kind
    recipe: str
    task: Task
    parameters: Mapping[str, ParameterValue]
    effective_parameters: Mapping[str, ParameterValue]
    resources: Resources
    dataset_version: str = ""
    base: str = ""
    base_artifact: Artifact | None = None
    model: str = ""
    model_version: str = ""
    deadline_seconds: int = 0
    manifest: Artifact | None = None
    classes: tuple[str, ...] = ()
    suggest: bool = False
    model_variant: str = ""
    variant_artifacts: tuple[Artifact, ...] = ()
    images: ProjectImages | None = None
    archives: tuple[Artifact, ...] = ()

    @property
    def files(self) -> tuple[Artifact, ...]:
        """The files that it works on: of weights, or of a model, and archives of images."""
        base = (self.base_artifact,) if self.base_artifact else ()
        return (*base, *self.variant_artifacts, *self.archives)

    @property
    def epochs(self) -> int:
        """Epochs asked for, 0 for work without epochs."""
        given = self.effective_parameters.get("epochs", 0)
        return int(given) if isinstance(given, int | float) else 0


@dataclass(frozen=True)
class Progress:
    """How far a job is: the seconds of its latest epochs, when the running one began, whether metrics were cut."""

    phase: str = ""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    fraction: float = 0.0
    eta_seconds: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    device: str = ""
    durations: tuple[float, ...] = ()
    mark: float | None = None
    cut: bool = False


@dataclass(frozen=True)
class Job:
    """A row of the job table: the `number`-th, moved `version` times; `holder` holds what it needs if it is `held`."""

    uid: str
    number: int
    project: str
    project_uid: str
    job_id: str
    display_name: str
    labels: Mapping[str, str]
    group: str
    spec: Spec
    priority: int
    creator: str
    state: State
    version: int
    reason: Reason | None
    attempt: int
    failures: int
    infra_failures: int
    retry_delay: float
    force: bool
    holder: str
    held: bool
    deleted: bool
    progress: Progress
    last_sequence: int
    oldest_sequence: int
    worked_seconds: float
    create_time: datetime
    queue_time: datetime
    update_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    project_held: bool = False
    bury_time: datetime | None = None
    queued_seconds: float = 0.0

    @property
    def name(self) -> str:
        """The resource name."""
        return f"{self.project}/jobs/{self.job_id}"

    @property
    def resources(self) -> Resources:
        """What an attempt of it takes."""
        return self.spec.resources

    @property
    def prefix(self) -> str:
        """Where its objects lie, without a slash at the end."""
        return f"{self.project_uid}/jobs/{self.uid}"


@dataclass(frozen=True)
class Waiting:
    """What each pass of the reconciler reads of a PENDING job, of which there may be many thousands."""

    uid: str
    number: int
    project: str
    priority: int
    attempt: int
    held: bool
    retry_delay: float
    queue_time: datetime
    queued_seconds: float
    reason: Reason | None
    resources: Resources


@dataclass(frozen=True)
class Attempt:
    """A row of the attempt table; `reports` counts what the worker said, `worker_sequence` what of it is stored.

    `incarnation` is that of the worker which may begin or has begun; empty for any, or where nobody told.
    """

    job_uid: str
    number: int
    nonce: str
    worker_id: str | None
    host: str
    worker_sequence: int
    reports: int
    stalled: bool
    publishing: bool
    create_time: datetime
    launched_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    outcome: Outcome | None
    end_reason: Reason | None
    finish_state: State | None
    worked_seconds: float = 0.0
    incarnation: str = ""


@dataclass(frozen=True)
class CheckpointFile:
    """A file of a checkpoint: its path inside, and its bytes."""

    path: str
    artifact: Artifact


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint that holds `epoch` epochs."""

    job_uid: str
    attempt: int
    epoch: int
    files: tuple[CheckpointFile, ...]
    manifest_key: str
    best: bool
    create_time: datetime

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.artifact.size_bytes for file in self.files)


@dataclass(frozen=True)
class Success:
    """What a worker made; `model` and `variants` are the contract's messages as JSON."""

    artifacts: tuple[Artifact, ...]
    metrics: Mapping[str, float]
    details: Mapping[str, object]
    versions: Mapping[str, str]
    model: Mapping[str, object] | None = None
    variants: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True)
class Result:
    """A row of the feed of results; `sequence` has no gaps."""

    sequence: int
    job_uid: str
    success: Success
    create_time: datetime
