# ruff: noqa: D102, D103 - the library documents them
"""The parts of Ultralytics that these recipes build on, with the types that they have once a trainer is set up.

The library declares most attributes as None and types few methods. What is listed here is also what a new release of it
may break; `tests/worker` would show it.
"""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import torch
    from torch import nn

    class Loader(Protocol):
        """A data loader that goes on for ever."""

        collate_fn: Callable[[list[Any]], dict[str, object]]
        dataset: Any
        generator: torch.Generator
        num_workers: int

        def __len__(self) -> int: ...
        def reset(self) -> None: ...

    class Ema(Protocol):
        """The moving average of the weights."""

        ema: nn.Module
        updates: int

    class BaseTrainer:
        """The training loop."""

        accumulate: int
        amp: bool
        args: Namespace
        batch_size: int
        best: Path
        last: Path
        validator: Any
        best_fitness: float | None
        csv: Path
        device: torch.device
        ema: Ema
        epoch: int
        epochs: int
        fitness: float
        loss_items: Mapping[str, torch.Tensor]
        loss_names: tuple[str, ...]
        loss: torch.Tensor
        lr: Mapping[str, float]
        metrics: Mapping[str, float]
        model: nn.Module
        nan_recovery_attempts: int
        optimizer: torch.optim.Optimizer
        scaler: torch.amp.GradScaler
        start_epoch: int
        stop: bool
        stopper: object
        test_loader: Loader
        tloss: Mapping[str, torch.Tensor]
        train_loader: Loader
        _oom_retries: int
        train_time_start: float

        def __init__(self, *, overrides: Mapping[str, object]) -> None: ...
        def add_callback(self, event: str, callback: Callable[[Any], None]) -> None: ...
        def build_optimizer(self, model: nn.Module, *arguments: Any, **named: Any) -> torch.optim.Optimizer: ...
        def final_eval(self) -> None: ...
        def get_validator(self) -> Any: ...
        def get_model(self, cfg: object, weights: nn.Module | None, verbose: bool) -> nn.Module: ...
        def optimizer_step(self) -> None: ...
        def preprocess_batch(self, batch: dict[str, object]) -> dict[str, object]: ...
        def resume_training(self, ckpt: object) -> None: ...
        def save_model(self) -> bool: ...
        def train(self) -> None: ...
        def validate(self) -> tuple[dict[str, float], float]: ...
        def _build_train_pipeline(self) -> None: ...
        def _do_train(self) -> None: ...
        def _handle_nan_recovery(self, epoch: int) -> bool: ...
        def _model_train(self) -> None: ...

    class DetectionTrainer(BaseTrainer):
        """Trains detectors."""

    class SegmentationTrainer(BaseTrainer):
        """Trains detectors with masks."""

    class ClassificationTrainer(BaseTrainer):
        """Trains classifiers."""

        def build_dataset(self, img_path: str, mode: str, batch: object) -> Any: ...

    DetectionModel: Any
    SegmentationModel: Any
    ClassificationModel: Any

    def img2label_paths(img_paths: list[str]) -> list[str]: ...
    def verify_image_label(args: tuple[object, ...]) -> tuple[object, ...]: ...
    def load_checkpoint(weight: Path) -> tuple[Any, Mapping[str, Any]]: ...
    def unwrap_model(m: nn.Module) -> Any: ...
    def strip_optimizer(f: Path, s: str) -> dict[str, Any]: ...

else:
    from ultralytics.data.utils import img2label_paths, verify_image_label
    from ultralytics.engine.trainer import BaseTrainer
    from ultralytics.models.yolo.classify import ClassificationTrainer
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.models.yolo.segment import SegmentationTrainer
    from ultralytics.nn.tasks import ClassificationModel, DetectionModel, SegmentationModel, load_checkpoint
    from ultralytics.utils.torch_utils import strip_optimizer, unwrap_model

__all__ = [
    "BaseTrainer",
    "ClassificationModel",
    "ClassificationTrainer",
    "DetectionModel",
    "DetectionTrainer",
    "SegmentationModel",
    "SegmentationTrainer",
    "img2label_paths",
    "load_checkpoint",
    "strip_optimizer",
    "unwrap_model",
    "verify_image_label",
]
