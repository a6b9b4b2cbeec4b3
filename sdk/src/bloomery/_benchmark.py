"""How fast, large and accurate a model version and its variants are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from google.protobuf.json_format import MessageToDict, ParseDict

from bloomery._names import short
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training

Device = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class Benchmark:
    """What a job measured of a model version or of one of its variants; `proto` has all of it."""

    proto: training.Job

    def __repr__(self) -> str:
        return f"<Benchmark of {short(self.proto.model_variant or self.model_version)}>"

    @property
    def model_version(self) -> str:
        """Full name of the version."""
        return self.proto.model_version

    @property
    def variant(self) -> str:
        """Id of the variant, such as "onnx-int8"; empty for the version itself, by its checkpoint."""
        return self.proto.model_variant.rpartition("/")[2]

    @property
    def failure(self) -> str:
        """Why there are no figures; empty where there are."""
        if self.proto.state == training.JOB_STATE_SUCCEEDED:
            return ""
        reason = self.proto.reason
        return f"{reason.code}: {reason.message}" if reason.code else training.JobState.Name(self.proto.state)

    @property
    def metrics(self) -> Mapping[str, float]:
        """Figures by name, such as "test/map50"."""
        return self.proto.result.metrics

    @property
    def images(self) -> int:
        """How many images they are of."""
        return int(self.proto.result.details.fields["images"].number_value)

    @property
    def latency(self) -> inference.Latency:
        """How fast it is and what memory it takes, in a process that runs it and nothing else."""
        said = MessageToDict(self.proto.result.details).get("latency", {})
        return ParseDict(said, inference.Latency(), ignore_unknown_fields=True)

    @property
    def size_bytes(self) -> int:
        """Size of the files of the model."""
        return int(self.proto.result.details.fields["size_bytes"].number_value)


def measured_variants(version: inference.ModelVersion, device: Device) -> list[str]:
    """Ids of what there is to measure on a device: "" for the version itself, then its READY variants."""
    own = [""] if any(one.role == "checkpoint" for one in version.artifacts) else []
    ready = inference.ModelVariant.STATE_READY
    fit = [one for one in version.variants if one.state == ready and (one.device == "cpu") == (device == "cpu")]
    return [*own, *(one.name.rpartition("/")[2] for one in fit)]
