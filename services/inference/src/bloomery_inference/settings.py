"""What the inference service reads from the environment."""

import socket
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bloomery_kit.settings import ServiceSettings
from bloomery_vision.cores import usable_cores


class OnnxSettings(BaseModel):
    """ONNX Runtime in this process."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["onnxruntime"] = "onnxruntime"
    threads: int = Field(default_factory=usable_cores, ge=1)
    """Threads of one session."""


class TritonSettings(BaseModel):
    """A Triton server with explicit model control, and the folder that it reads models from."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["triton"] = "triton"
    target: str
    """`host:port` of its gRPC endpoint."""
    repository: Path
    """Its model repository, which this service writes into."""


RuntimeSettings = Annotated[OnnxSettings | TritonSettings, Field(discriminator="kind")]


def _own_name(values: dict[str, Any]) -> str:
    return f"{socket.gethostname()[:240]}:{values.get('port', 0)}"


class InferenceSettings(ServiceSettings):
    """Settings of the inference service; targets are `host:port` or `dns:///name:port`."""

    annotation_target: str
    dataset_target: str
    trainer_target: str
    cache_dir: Path
    """Folder for model files; disposable."""
    loaded_models: int = Field(default=4, ge=1)
    """Sessions kept in memory; the least recently used one leaves first."""
    cache_bytes: int = Field(default=8 << 30, ge=0)
    """Model files that are kept there."""
    runtime: RuntimeSettings = Field(default_factory=OnnxSettings)
    running_predictions: int = Field(default_factory=usable_cores, ge=1)
    """Predictions that run at once."""
    waiting_predictions: int = Field(default=64, ge=0)
    """Predictions that may wait at most; more are refused with a delay, and so are those that would wait for long."""
    waiting_bytes: int = Field(default=512 << 20, ge=1)
    """Images that wait or run at once, and the same for frames of streams; a larger one is taken alone."""
    prediction_streams: int = Field(default=16, ge=1)
    """Streams of frames that are served at once; more are refused with a delay."""
    stream_frames: int = Field(default_factory=lambda: usable_cores() + 1, ge=1)
    """Frames of one stream that are held at once."""
    decoding_bytes: int = Field(default=2 << 30, ge=1)
    """Memory for images that are decoded at once, about 16 bytes a pixel; one that takes more is decoded alone."""
    max_image_bytes: int = Field(default=50 << 20, ge=1)
    pending_interval: float = Field(default=2.0, gt=0)
    """Seconds between two looks at the job of a variant that was just asked for; later ones come less often."""
    results_retry: float = Field(default=2.0, gt=0)
    """Seconds before the feed of results is opened again after it ended."""
    tidy_interval: float = Field(default=60.0, gt=0)
    """Seconds between two looks at what is to be cleaned up."""
    replica_id: str = Field(default_factory=_own_name, min_length=1, max_length=253)
    """Under which its own runtime takes part in deployments: lasting, and another one for each process."""
    plan_poll: float = Field(default=2.0, gt=0)
    """Seconds between two looks for what other processes have planned for that runtime."""
    replica_silence: float = Field(default=30.0, gt=0)
    """Seconds after which a replica that said nothing counts for no rollout, and is asked after all others."""
    rollout_interval: float = Field(default=1.0, gt=0)
    """Seconds between two looks at deployments while one is under way and nothing was heard of it."""
    drain_seconds: float = Field(default=30.0, ge=0)
    """Seconds for which a model that served stays loaded."""
    replica_patience: float = Field(default=30.0, gt=0)
    """Seconds for the answer of a replica, after which another one is asked."""
    compared_percent: float = Field(default=10.0, ge=0, le=100)
    """Percent of the requests of a deployment that are asked of both its versions, where it has two."""
