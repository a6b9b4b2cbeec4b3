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
    """A named line of versions."""

    uid: str
    project: str
    id: str
    display_name: str
    labels: Mapping[str, str]
    create_time: datetime
    update_time: datetime
    revision: int
    latest_version: int


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


@dataclass(frozen=True)
class ModelVersion:
    """One recorded version of a model."""

    uid: str
    project: str
    model: str
    number: int
    content: VersionContent
    create_time: datetime
    variants: tuple["Variant", ...] = ()


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
