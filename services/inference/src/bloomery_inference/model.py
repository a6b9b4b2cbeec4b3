"""What the inference service knows, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


class VariantState(StrEnum):
    """Whether a variant can be used."""

    PENDING = "PENDING"
    READY = "READY"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Artifact:
    """Immutable bytes in the object store."""

    role: str
    digest: str
    size_bytes: int
    media_type: str
    logical_key: str
    file_name: str


@dataclass(frozen=True)
class Model:
    """A named line of versions; `project_uid` is empty where nobody wrote it down."""

    uid: str
    project: str
    id: str
    display_name: str
    labels: Mapping[str, str]
    create_time: datetime
    update_time: datetime
    revision: int
    latest_version: int
    project_uid: str

    @property
    def title(self) -> str:
        """How people call what holds its project."""
        return f"models/{self.id}"

    @property
    def holder(self) -> str:
        """The name under which it holds its project, which no other model ever has."""
        return f"projects/{self.project}/models/{self.uid}"


@dataclass(frozen=True)
class Lineage:
    """Where a version came from."""

    job: str
    job_uid: str
    recipe: str
    dataset_version: str
    dataset_hash: str
    base: str
    base_digest: str
    license: str
    seed: int
    parameters: Mapping[str, Json]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Origin:
    """What versions come from, by its full name: a "dataset_version", or another version that was their "base"."""

    kind: str
    name: str


@dataclass(frozen=True)
class InputSpec:
    """What a model takes: an image fitted to `height` x `width` pixels by `resize` ("letterbox" or "center-crop")."""

    height: int
    width: int
    resize: str


@dataclass(frozen=True)
class VersionContent:
    """The immutable facts of a version, as its job reported them."""

    task: str
    classes: tuple[str, ...]
    artifacts: tuple[Artifact, ...]
    metrics: Mapping[str, float]
    lineage: Lineage
    input: InputSpec
    details: Mapping[str, Json]
    decoder: str = ""
    """How the outputs are read; "" for versions from before models said so."""


@dataclass(frozen=True)
class ModelVersion:
    """One recorded version of a model."""

    uid: str
    project: str
    model: str
    number: int
    content: VersionContent
    ordinal: int
    create_time: datetime
    note: str
    active: bool
    revision: int
    variants: tuple["Variant", ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """How people call it."""
        return f"{self.model}@{self.number}"


@dataclass(frozen=True)
class Evaluation:
    """What a job measured of a version on a dataset version: numbers by name, such as "test/map50"."""

    job: str
    dataset_version: str
    metrics: Mapping[str, float]
    create_time: datetime
    variant: str = ""
    """Id of the variant that was measured, "" for the version itself."""


@dataclass(frozen=True)
class Condition:
    """What must have been measured of a version, or of its `variant`: `comparison` is one of ">=", ">", "<=", "<"."""

    metric: str
    comparison: str
    threshold: float
    variant: str = ""

    def __str__(self) -> str:
        of = f" of {self.variant}" if self.variant else ""
        return f"{self.metric}{of} {self.comparison} {self.threshold:g}"


@dataclass(frozen=True)
class Figure:
    """What a job measured for a condition on a dataset version."""

    condition: Condition
    value: float
    job: str
    dataset_version: str


@dataclass(frozen=True)
class Alias:
    """A name for the version `number` of a model, who put it there last, why, and what was measured for it."""

    project: str
    model: str
    id: str
    number: int
    reason: str
    updater: str
    update_time: datetime
    figures: tuple[Figure, ...]
    comparison: Mapping[str, Json] | None = None
    """How it was found better than the version before, as the contract's AliasComparison."""


@dataclass(frozen=True)
class AliasChange:
    """What became of an alias at one moment; 0 stands for no version."""

    project: str
    model: str
    alias: str
    sequence: int
    from_version: int
    to_version: int
    reason: str
    changer: str
    figures: tuple[Figure, ...]
    create_time: datetime
    comparison: Mapping[str, Json] | None = None


@dataclass(frozen=True)
class VariantResult:
    """What the job that made a variant found out."""

    artifacts: tuple[Artifact, ...] = ()
    device: str = "cpu"
    parity: Mapping[str, Json] = field(default_factory=dict)
    latency: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """A form of a version for one runtime and precision. Asked for again after a failure, it gets another uid."""

    uid: str
    version_uid: str
    project: str
    model: str
    number: int
    id: str
    format: str
    precision: str
    state: VariantState
    reason: str
    job: str
    result: VariantResult
    create_time: datetime
    update_time: datetime
    parameters: Mapping[str, Json] = field(default_factory=dict)
    """Of the job that makes it, beside its form; and its dataset version, "" for that of the version."""
    dataset_version: str = ""

    @property
    def title(self) -> str:
        """How people call its version."""
        return f"{self.model}@{self.number}"


@dataclass(frozen=True)
class MadeVariant:
    """A variant that a job made beside something else, or, with a `failure`, failed to make."""

    uid: str
    id: str
    format: str
    precision: str
    result: VariantResult
    failure: str


@dataclass(frozen=True)
class Deletion:
    """What goes with a model or a version; `versions` have their variants and aliases, `jobs` still work on files."""

    versions: "tuple[ModelVersion, ...]"
    evaluations: int
    jobs: tuple[str, ...] = ()
    deployments: tuple[str, ...] = ()
    """Names of those that need one of the versions."""

    @property
    def files(self) -> tuple[Artifact, ...]:
        """The files of versions and variants."""
        own = [one for version in self.versions for one in version.content.artifacts]
        made = [variant for version in self.versions for variant in version.variants]
        return (*own, *(one for variant in made for one in variant.result.artifacts))


@dataclass(frozen=True)
class Cleanup:
    """What is left to do behind something that is gone.

    Attributes:
        keys: objects to delete.
        resource: project or dataset version to release from `holder`, "" for none.
        holder: who held it.
        job: its deletion is waited for, as it shows the objects as its own; "" for no wait.
        job_uid: of that job, whose name may be used again.
    """

    keys: tuple[str, ...]
    resource: str = ""
    holder: str = ""
    job: str = ""
    job_uid: str = ""
