"""What a job predicted, saved as suggestions on the project's images before the job ends."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from bloomery.training.v1 import PredictedImage, SuggestShapesRequest
from bloomery.vision.v1 import Box, Mask, Polygon, Ring, Shape, Tag
from bloomery_worker.client import WorkerClient
from bloomery_worker.messages import ProgressNote, ResultNote

IMAGES = 200
"""Of one call at most."""
BYTES = 4 << 20
"""Of one call, but for an image that has more by itself."""
LARGEST = 7 << 20
"""Of one image: more than that no set of shapes may hold."""
ROLE = "predictions"
_WARNED = 20


@dataclass
class _Ledger:
    """What became of the images: `saved` and `failed` by reason are all of them."""

    saved: int = 0
    shapes: int = 0
    unusable: int = 0
    annotation_set: str = ""
    failed: Counter[str] = field(default_factory=Counter)
    unknown_classes: Counter[str] = field(default_factory=Counter)

    @property
    def seen(self) -> int:
        """Images so far."""
        return self.saved + self.failed.total()

    def details(self) -> dict[str, object]:
        """As a part of the result's details."""
        return {
            "annotation_set": self.annotation_set,
            "images": self.seen,
            "saved": self.saved,
            "failed": dict(+self.failed),
            "shapes": self.shapes,
            "unknown_classes": dict(self.unknown_classes),
            "unusable_shapes": self.unusable,
        }


class Suggesting:
    """Saves a result's predictions. `progress` is told how far it is, `warn` what was left out."""

    def __init__(
        self, client: WorkerClient, progress: Callable[[ProgressNote], None], warn: Callable[[str], None]
    ) -> None:
        self._client, self._progress, self._warn = client, progress, warn
        self._ledger = _Ledger()

    async def suggested(self, result: ResultNote) -> ResultNote:
        """Saves all of it and returns the result with an account in its details. Raises FencedError."""
        [file] = [file for file in result.files if file.role == ROLE]
        batches = _batches(Path(file.path))
        total = int(str(result.details.get("images", 0)))
        while batch := await asyncio.to_thread(next, batches, None):
            await self._save(batch)
            seen = self._ledger.seen
            self._progress(ProgressNote(phase="suggesting", step=seen, steps=total, fraction=seen / max(total, seen)))
        for name, count in self._ledger.unknown_classes.items():
            self._warn(f"{count} shapes of the class {name} were not suggested: the project has no such label")
        return replace(result, details={**result.details, "suggestions": self._ledger.details()})

    async def _save(self, predicted: Sequence[PredictedImage]) -> None:
        batch = [image for image in predicted if image.ByteSize() <= LARGEST]
        self._ledger.failed["TOO_LARGE"] += len(predicted) - len(batch)
        answer = await self._client.suggest(SuggestShapesRequest(images=batch))
        ledger = self._ledger
        ledger.annotation_set = answer.annotation_set
        ledger.shapes += answer.shape_count
        ledger.unusable += answer.unusable_count
        ledger.unknown_classes.update(answer.unknown_classes)
        for image, status in zip(batch, answer.results, strict=True):
            self._count(image.digest, status)

    def _count(self, digest: str, status: Status) -> None:
        if not status.code:
            self._ledger.saved += 1
            return
        self._ledger.failed[_reason(status)] += 1
        if self._ledger.failed.total() <= _WARNED:
            self._warn(f"nothing was suggested on the image {digest}: {status.message}")


def _reason(status: Status) -> str:
    info = ErrorInfo()
    found = any(detail.Unpack(info) for detail in status.details)
    return info.reason if found else str(status.code)


def _batches(path: Path) -> Iterator[list[PredictedImage]]:
    batch, size = list[PredictedImage](), 0
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            found = json.loads(line)
            if "shapes" not in found:
                continue
            image = _image(found)
            length = image.ByteSize()
            if batch and (len(batch) == IMAGES or size + length > BYTES):
                yield batch
                batch, size = [], 0
            batch.append(image)
            size += length
    if batch:
        yield batch


def _image(line: Mapping[str, Any]) -> PredictedImage:
    return PredictedImage(digest=line["digest"], shapes=map(_shape, line["shapes"]))


def _shape(found: Mapping[str, Any]) -> Shape:
    shape = Shape(label=found["label"], confidence=found["score"])
    if "box" in found:
        shape.box.CopyFrom(Box(**found["box"]))
    elif "polygon" in found:
        rings = (Ring(coordinates=ring["coordinates"]) for ring in found["polygon"]["rings"])
        shape.polygon.CopyFrom(Polygon(rings=rings))
    elif "mask" in found:
        mask = found["mask"]
        shape.mask.CopyFrom(Mask(width=mask["width"], height=mask["height"], counts=mask["counts"].encode("ascii")))
    else:
        shape.tag.CopyFrom(Tag())
    return shape
