"""What is asked about an image, what is answered, and the time that it takes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bloomery_inference.looking import Tiling
    from bloomery_inference.model import ModelVersion, Variant
    from bloomery_inference.runtime import Run, Tensors
    from bloomery_vision.geometry import Box, Found


@dataclass(frozen=True)
class Options:
    """What a caller wants to see: scores from `threshold` on, boxes that overlap at most `iou`, some classes or all.

    With `multi_label` one place may answer for several classes. `variant` is the one that answers, "" for the fastest.
    `region` is the part of the image that is looked at, in its pixels, None for the whole, and `tiling` how. With
    `polygons` masks are answered as outlines.
    """

    threshold: float
    iou: float
    classes: tuple[str, ...]
    max_shapes: int
    multi_label: bool = False
    variant: str = ""
    region: Box | None = None
    tiling: Tiling | None = None
    polygons: bool = False


@dataclass(frozen=True)
class RawImage:
    """An image of `width` x `height` pixels that is not encoded: `rgb` has three bytes for each, row by row."""

    width: int
    height: int
    rgb: bytes


@dataclass(frozen=True)
class ImageContent:
    """An image, encoded or raw, whose size in bytes is known before it is read."""

    size_bytes: int
    read: Callable[[], Awaitable[bytes | RawImage]]


@dataclass(frozen=True)
class Prediction:
    """The answer to one image, best first. `width` and `height` are the image's, in pixels."""

    version: ModelVersion
    variant: Variant
    width: int
    height: int
    found: tuple[Found, ...]
    milliseconds: dict[str, float]
    deployment: str = ""
    """That was asked, by its name, and the id of its replica that answered; "" where a version was asked."""
    replica: str = ""


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
