"""What the inference service reads from the environment."""

import os
from pathlib import Path

from pydantic import Field

from bloomery_kit.settings import ServiceSettings


class InferenceSettings(ServiceSettings):
    """Settings of the inference service; targets are `host:port` or `dns:///name:port`."""

    annotation_target: str
    dataset_target: str
    trainer_target: str
    cache_dir: Path
    """Folder for model files; disposable."""
    loaded_models: int = Field(default=4, ge=1)
    """Sessions kept in memory; the least recently used one leaves first."""
    threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    """Threads of one session, and predictions that run at once."""
    waiting_predictions: int = Field(default=64, ge=0)
    """Predictions that may wait; more are refused with a delay."""
    max_image_bytes: int = Field(default=50 << 20, ge=1)
    pending_interval: float = Field(default=2.0, gt=0)
    """Seconds between two looks at the jobs of variants that are being made."""
    results_retry: float = Field(default=2.0, gt=0)
    """Seconds before the feed of results is opened again after it ended."""
