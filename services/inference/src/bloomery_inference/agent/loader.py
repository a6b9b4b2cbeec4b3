"""Where a replica makes models ready."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bloomery_inference.agent.model import PlannedModel
    from bloomery_inference.agent.staging import Staging
    from bloomery_inference.runtime import ModelRuntime, Tensors

_UID = re.compile(r"[0-9a-f]{32}")


class Loader(Protocol):
    """Models by their uid, in a runtime that other programs may use beside."""

    async def load(self, model: PlannedModel) -> None:
        """Make a model able to answer; one that is loaded stays as it is.

        Raise Unavailable where trying again may help, else an error with the reason why the model cannot be loaded.
        """

    async def infer(self, uid: str, images: NDArray[np.uint8]) -> Tensors:
        """See ModelRuntime."""

    async def unload(self, uid: str) -> None:
        """Free a model and keep its files. Raise Unavailable."""

    async def remove(self, uid: str) -> None:
        """Free a model and forget its files; one that is not here is forgotten already. Raise Unavailable."""

    async def loaded(self) -> frozenset[str]:
        """The models that answer. Raise Unavailable."""

    async def known(self) -> frozenset[str]:
        """The models that are loaded or have files here, from before a restart too. Raise Unavailable."""


class StagedModels:
    """A `Loader` of a runtime that is the replica's alone, such as the Triton server beside it."""

    def __init__(self, runtime: ModelRuntime, staging: Staging) -> None:
        self._runtime = runtime
        self._staging = staging

    async def load(self, model: PlannedModel) -> None:
        """See Loader."""
        await self._runtime.load(model.uid, await self._staging.fetch(model))

    async def infer(self, uid: str, images: NDArray[np.uint8]) -> Tensors:
        """See Loader."""
        return await self._runtime.infer(uid, images)

    async def unload(self, uid: str) -> None:
        """See Loader."""
        await self._runtime.unload(uid)

    async def remove(self, uid: str) -> None:
        """See Loader."""
        await self._runtime.unload(uid)
        await self._staging.remove(uid)

    async def loaded(self) -> frozenset[str]:
        """See Loader."""
        return frozenset(filter(_UID.fullmatch, await self._runtime.loaded()))

    async def known(self) -> frozenset[str]:
        """See Loader."""
        return await self.loaded() | await self._staging.staged()
