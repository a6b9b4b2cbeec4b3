"""What is asked about an image, and the time that the answer takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bloomery_inference.model import ModelVersion, Options, Variant
    from bloomery_inference.runtime import Run, Tensors


@dataclass
class Stopwatch:
    """Milliseconds by stage."""

    clock: Callable[[], float] = time.perf_counter
    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add what runs inside to `stage`."""
        start = self.clock()
        try:
            yield
        finally:
            key = f"{stage}_ms"
            self.stages[key] = self.stages.get(key, 0.0) + (self.clock() - start) * 1000


class Models(Protocol):
    """What runs models, each while it is in use."""

    def use(self, variant: Variant) -> AbstractAsyncContextManager[None]:
        """Keep a model loaded while the block runs."""
        ...

    def runner(self, variant: Variant, together: int) -> Run | None:
        """What runs a model that is in use in the calling thread, as of ModelRuntime; None where only `infer` does."""
        ...

    async def infer(self, variant: Variant, images: NDArray[np.uint8]) -> Tensors:
        """Run a model that is in use on uint8 [N, H, W, 3] images."""
        ...


@dataclass(frozen=True)
class Question:
    """What is asked about an image: `chosen` are the numbers of the wanted classes, None for all."""

    models: Models
    version: ModelVersion
    variant: Variant
    chosen: tuple[int, ...] | None
    options: Options
    watch: Stopwatch
