"""What a replica knows of the models that it has to load, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass

from bloomery_inference.model import InputSpec
from bloomery_inference.serving.model import LoadedModel


@dataclass(frozen=True)
class PlannedFile:
    """A file of a model directory, and the request that reads it for a while."""

    file_name: str
    digest: str
    size_bytes: int
    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class PlannedModel:
    """A model that is to be loaded under its uid; what a uid stands for never changes.

    Attributes:
        title: its variant's full name, for people.
        decoder: how its outputs are read.
    """

    uid: str
    title: str
    files: tuple[PlannedFile, ...]
    classes: tuple[str, ...]
    input: InputSpec
    decoder: str

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True)
class Plan:
    """What the replicas of a runtime have to load; `generation` differs from plan to plan of one database."""

    generation: int
    models: tuple[PlannedModel, ...]

    @property
    def uids(self) -> list[str]:
        """Of its models, in their order."""
        return [model.uid for model in self.models]

    def is_same(self, other: "Plan | None") -> bool:
        """Whether both ask for the same, though their requests may be signed at other times."""
        return other is not None and (self.generation, self.uids) == (other.generation, other.uids)


@dataclass(frozen=True)
class Report:
    """All that a replica has in one life of it; `sequence` grows with each report."""

    incarnation: str
    sequence: int
    observed_generation: int
    models: tuple[LoadedModel, ...]
