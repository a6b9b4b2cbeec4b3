"""A model as evaluation, parity checks and latency measurements see it, whatever runs it."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.interpret import are_finite
from bloomery_worker.failures import DataError

Images = NDArray[np.uint8]
"""uint8 RGB [B, H, W, 3], letterboxed or cropped to the model's input size."""

Outputs = tuple[NDArray[np.float32], ...]
"""The model's raw outputs, each [B, ...]."""


class Predictor(Protocol):
    """Runs a model on a batch of images."""

    def __call__(self, images: Images) -> Outputs:
        """The raw outputs."""
        ...


class Remembering:
    """A predictor that computes each batch once, as far as the outputs take no more than `most_bytes`."""

    def __init__(self, predictor: Predictor, *, most_bytes: int = 256 << 20) -> None:
        self._predictor, self._room = predictor, most_bytes
        self._known: dict[bytes, Outputs] = {}

    def __call__(self, images: Images) -> Outputs:
        """The raw outputs."""
        batch = hashlib.sha256(images.tobytes()).digest()
        if batch in self._known:
            return self._known[batch]
        outputs = self._predictor(images)
        self._room -= sum(output.nbytes for output in outputs)
        if self._room >= 0:
            self._known[batch] = outputs
        return outputs


def predictions(predictor: Predictor, images: Iterator[Images] | Sequence[Images], *, batch: int) -> Iterator[Outputs]:
    """Runs single images [H, W, 3] in batches, and yields the outputs of each image without the batch axis.

    Raises:
        DataError: the model gives values that are no finite numbers.
    """
    pending: list[Images] = []
    for image in images:
        pending.append(image)
        if len(pending) == batch:
            yield from _split(predictor(np.stack(pending)))
            pending = []
    if pending:
        yield from _split(predictor(np.stack(pending)))


def _split(outputs: Outputs) -> Iterator[Outputs]:
    if not are_finite(outputs):
        raise DataError("the model gives values that are no finite numbers", hint="train or import it again")
    for index in range(len(outputs[0])):
        yield tuple(output[index] for output in outputs)
