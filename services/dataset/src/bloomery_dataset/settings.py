"""What the dataset service reads from the environment."""

from pathlib import Path

from pydantic import Field

from bloomery_kit.settings import ServiceSettings


class DatasetSettings(ServiceSettings):
    """Settings of the dataset service; the target is `host:port` or `dns:///name:port`."""

    annotation_target: str
    cache_dir: Path
    """Folder for builds in progress and for manifests that were read; disposable."""
    cache_bytes: int = Field(default=2 << 30, ge=0)
    """Manifests that are kept there."""
    lease_seconds: float = Field(default=30.0, gt=0)
    """How long a build may be silent before another replica takes it over."""
    build_poll_seconds: float = Field(default=5.0, gt=0)
    """Between two looks for builds that other replicas accepted or left."""
