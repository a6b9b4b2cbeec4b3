"""What an agent reads from the environment."""

import socket
from pathlib import Path

from pydantic import Field

from bloomery_kit.settings import NeighbourSettings


class AgentSettings(NeighbourSettings):
    """Settings of the agent beside a Triton server; targets are `host:port`, or `dns:///name:port` of the service."""

    inference_target: str
    triton_target: str = "127.0.0.1:8001"
    """gRPC endpoint of the Triton server."""
    repository: Path
    """Triton's model repository; what the agent keeps for itself lies in a hidden folder there."""
    replica_id: str = Field(default_factory=socket.gethostname, min_length=1, max_length=253)
    """Lasting and unique, such as the name of the pod."""
    endpoint: str
    """Where the inference service reaches the Triton server."""
    probe_interval: float = Field(default=10.0, gt=0)
    """Seconds between two samples that loaded models must answer."""
    load_timeout: float = Field(default=600.0, gt=0)
    """Seconds for Triton to load a model, after which the others are seen to and it is tried again."""
    retry: float = Field(default=1.0, gt=0)
    """Seconds before what may pass is tried again; the pauses grow from there."""
    bind: str = "0.0.0.0"  # noqa: S104
    port: int = Field(default=50055, ge=0, le=65535)
    """Where health checks are answered."""
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
