"""What every runtime does, and nothing that only one of them can."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bloomery_kit.errors import Internal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tensors = Mapping[str, NDArray[np.float32]]
else:
    Tensors = Mapping


class ModelLoadError(Internal):
    """The runtime refuses a model's files; the message is the runtime's own."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"model {name} cannot be loaded: {why}", reason="MODEL_LOAD_FAILED")


class ModelRuntime(Protocol):
    """Runs exported models. A model is a Triton model directory (`config.pbtxt`, `1/model.onnx`)."""

    async def load(self, name: str, directory: Path) -> None:
        """Make a model ready under `name`. Loading a loaded name does nothing. Raise ModelLoadError with the reason."""

    async def infer(self, name: str, images: NDArray[np.uint8]) -> Tensors:
        """Run a loaded model on uint8 [N, H, W, 3] images (RGB, fitted to its input).

        Return float32 outputs by name: `output0` [N, 4 + C + K, A] of a detector, and so on.
        Raise KeyError for a name that is not loaded.
        """

    async def unload(self, name: str) -> None:
        """Free a model. Unloading a name that is not loaded does nothing."""

    async def loaded(self) -> frozenset[str]:
        """The names that are ready."""

    async def close(self) -> None:
        """Free everything."""
