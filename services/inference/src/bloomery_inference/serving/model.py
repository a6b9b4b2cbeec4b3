"""What is known of deployments and replicas, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bloomery_inference.model import ModelVersion, Variant

FORMATS = {"onnxruntime": frozenset({"onnx"}), "triton": frozenset({"onnx"})}
"""The runtimes of deployments, the default first, and the formats that each can load."""


class LoadState(StrEnum):
    """How far a model is on a replica."""

    LOADING = "LOADING"
    READY = "READY"
    FAILED = "FAILED"
    UNLOADING = "UNLOADING"


@dataclass(frozen=True)
class LoadedModel:
    """A model on a replica; `reason` is why it FAILED, `load_ms` the milliseconds that loading it took."""

    uid: str
    state: LoadState
    reason: str = ""
    load_ms: float = 0.0


@dataclass(frozen=True)
class Replica:
    """A process that answers predictions.

    Attributes:
        incarnation: names one life of it.
        endpoint: where predictions go, `host:port`, "" inside this service.
        observed: the newest plan that it has applied wholly.
        sequence: of the report, within the incarnation.
        live: whether it has reported of late.
    """

    id: str
    incarnation: str
    runtime: str
    endpoint: str
    observed: int
    models: tuple[LoadedModel, ...]
    sequence: int
    live: bool = True

    def model(self, uid: str) -> LoadedModel | None:
        """What it says of a model, None for one that it does not have."""
        return next((model for model in self.models if model.uid == uid), None)

    def has(self, uid: str, state: LoadState) -> bool:
        """Whether a model is in a state there."""
        model = self.model(uid)
        return model is not None and model.state is state


@dataclass(frozen=True)
class PlannedModel:
    """A model that is to be loaded under the uid of its variant."""

    version: ModelVersion
    variant: Variant


@dataclass(frozen=True)
class Plan:
    """What the replicas of a runtime have to load, by uid; the generation grows with each change."""

    generation: int
    models: tuple[PlannedModel, ...]


@dataclass(frozen=True)
class Sought:
    """Which deployments are listed: those of an `id`, or of a `model` by project and id; all where neither is set."""

    id: str = ""
    model: tuple[str, str] | None = None


@dataclass(frozen=True)
class Comparison:
    """How many requests were asked of the variants `serving` and `candidate`, and on how many they disagreed."""

    serving: str = ""
    candidate: str = ""
    compared: int = 0
    disagreed: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Disagreement:
    """An image about which the version `answered`, whose answer was given, and the `other` did not agree.

    `asset` is its name, "" for one that came with its request; `ordinal` its place, 0 before it is kept.
    """

    asset: str
    digest: str
    answered: int
    other: int
    difference: str
    create_time: datetime
    ordinal: int = 0


@dataclass(frozen=True)
class Deployment:
    """A lasting name for what answers.

    Attributes:
        model: id of its model, whose uid is `model_uid`.
        alias: id of the alias that it moves, "" for none.
        target: name of the wanted version as it was asked for, and `variant` the id of its variant, "" for the fastest.
        traffic: percent that the candidate answers once it is loaded; at 100 it becomes the serving one.
        serving: uid of the variant that answers, "" for none; `candidate` and `previous` are the same for what is
            brought in and for what served before.
        drained: until when `previous` stays loaded, by the database's clock, None once it has left.
        generation: of what is wanted; `observed` is the newest that was reached.
        sequence: of all that is shown.
        failure: why what is wanted cannot be loaded, "" where it can.
    """

    uid: str
    project: str
    id: str
    model_uid: str
    model: str
    runtime: str
    alias: str
    target: str
    variant: str
    labels: Mapping[str, str]
    updater: str
    create_time: datetime
    update_time: datetime
    traffic: int = 100
    shadow: bool = False
    paused: bool = False
    serving: str = ""
    candidate: str = ""
    previous: str = ""
    drained: float | None = None
    generation: int = 1
    observed: int = 0
    sequence: int = 1
    failure: str = ""
    revision: int = 1
    comparison: Comparison = Comparison()

    @property
    def wanted(self) -> str:
        """Uid of the variant that is to be loaded before what is wanted is reached."""
        return self.candidate or self.serving

    @property
    def planned(self) -> frozenset[str]:
        """Uids of the variants that replicas have to have."""
        if self.paused:
            return frozenset()
        draining = self.previous if self.drained is not None else ""
        return frozenset(filter(None, (self.serving, self.candidate, draining)))
