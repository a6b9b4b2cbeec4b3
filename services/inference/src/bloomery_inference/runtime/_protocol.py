"""What every runtime does, and nothing that only one of them can."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bloomery_kit.errors import Internal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tensors = Mapping[str, NDArray[np.float32]]
    Run = Callable[[NDArray[np.uint8]], Tensors]
else:
    Tensors = Mapping
    Run = Callable


class ModelLoadError(Internal):
    """The runtime refuses a model's files; the message is the runtime's own."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"model {name} cannot be loaded: {why}", reason="MODEL_LOAD_FAILED")


class NotLoaded(Internal):
    """The runtime does not have the model, or has it no more: load it and repeat."""

    def __init__(self, name: str) -> None:
        super().__init__(f"model {name} is not loaded", reason="MODEL_NOT_LOADED")


class InputRefused(Internal):
    """The runtime has the model and refuses what it was given, which was fitted to what its version says it takes."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"model {name} does not take what its version says it takes: {why}", reason="INPUT_REFUSED")


class ModelFailed(Internal):
    """The model ended with an error; the message is the runtime's own."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"model {name} failed: {why}", reason="MODEL_FAILED")


class ModelFiles(Protocol):
    """A model as a Triton model directory: `config.pbtxt`, the model in `1/` and what else was exported."""

    def directory(self) -> AbstractAsyncContextManager[Path]:
        """The complete directory on the local disk, each file checked by its digest; it stays while the block runs."""
        ...


class ModelRuntime(Protocol):
    """Runs exported models.

    Attributes:
        formats: of the models that it can run, such as "onnx".
    """

    @property
    def formats(self) -> frozenset[str]: ...

    async def load(self, name: str, files: ModelFiles) -> None:
        """Make a model ready under `name`. Loading a loaded name does nothing. Raise ModelLoadError with the reason.

        After a failure nothing is left of it, so that whole files load at the next call.
        """

    async def infer(self, name: str, images: NDArray[np.uint8]) -> Tensors:
        """Run a loaded model on uint8 [N, H, W, 3] images (RGB, fitted to its input).

        Return float32 outputs by name: `output0` [N, 4 + C + K, A] of a detector, and so on.
        Raise NotLoaded for a name that is not loaded, InputRefused for images that the model does not take, ModelFailed
        where it ends with an error, Unavailable where the runtime does not answer.
        """

    def runner(self, name: str, together: int) -> Run | None:
        """What does the work of `infer` in the calling thread; None where the model is not loaded, or runs elsewhere.

        `together` says how many predictions are in the works, with the one that it is for.
        """

    async def unload(self, name: str) -> None:
        """Free a model. Unloading a name that is not loaded does nothing. Raise Unavailable."""

    async def loaded(self) -> frozenset[str]:
        """The names that are ready."""

    async def close(self) -> None:
        """Free everything."""
