"""The adapter of a finished training as a file, after proof that the merged model answers as the unmerged one."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import nn

from bloomery_recipe_yolo.flavours import Flavour
from bloomery_recipe_yolo.lora import injecting
from bloomery_recipe_yolo.lora.adapter import FILE, Adapter, Origin, write
from bloomery_recipe_yolo.lora.choosing import Choice
from bloomery_recipe_yolo.lora.spec import ATTRIBUTE, FULL, LORA
from bloomery_recipe_yolo.lora.trainer import AdaptedTrainer
from bloomery_recipe_yolo.model import placeless, raw_outputs, read_checkpoint
from bloomery_recipe_yolo.weights import Base
from bloomery_vision.forms import Limits
from bloomery_worker.context import Context
from bloomery_worker.messages import FileNote
from bloomery_worker.parity import Parity, generated_images, largest_errors
from bloomery_worker.predictor import Images
from bloomery_worker.samples import Samples

LIMITS = Limits(loss=0.0, geometry=0.02, score=1e-4)
"""What folding an adapter into its base may change, in float32: less than the rounding of the published halves does."""

_IMAGES = 2


def publish_adapter(
    context: Context,
    trainer: AdaptedTrainer,
    choice: Choice,
    base: Base,
    folder: Path,
    flavour: Flavour,
    size: tuple[int, int],
) -> tuple[tuple[FileNote, ...], dict[str, object]]:
    """Writes the adapter of the best epoch into a folder; returns how to publish it, and details of the result.

    Both are empty where the job has not asked for one, and there is no file where all weights turned out better.

    Raises:
        ExportError: merged and unmerged do not answer alike.
    """
    if not choice.is_asked:
        return (), {}
    said: dict[str, object] = {"method": choice.method, "trained": FULL, "lr0": choice.rate}
    if choice.control is not None:
        said["control"] = asdict(choice.control)
    if choice.spec is None:
        return (), {"adapter": said}
    best, _ = read_checkpoint(trainer.best)
    adapter = Adapter.unpacked(getattr(best, ATTRIBUTE))
    images = Samples(
        context.dataset, context.job.classes, flavour.decoder, size, resize=flavour.resize, count=_IMAGES
    ).images
    parity = compare(trainer.with_adapter(adapter), [images, generated_images(_IMAGES, size)], flavour.decoder)
    origin = Origin(
        base=base.name,
        base_digest=base.digest,
        task=context.job.task,
        classes=context.job.classes,
        arguments=placeless(best.args),
    )
    path = folder / FILE
    write(path, adapter, origin)
    said |= {
        "trained": LORA,
        "spec": adapter.spec.record(),
        "layers": len(adapter.layers),
        "trainable_share": trainer.check_frozen(),
        "bytes": path.stat().st_size,
        "merged": _figures(parity),
    }
    return (FileNote(path=str(path), role="adapter", file_name=FILE),), {"adapter": said}


def _figures(parity: Parity) -> dict[str, object]:
    return {
        "images": parity.image_count,
        "max_geometry_error": parity.max_geometry_error,
        "max_score_error": parity.max_score_error,
    }


def compare(unmerged: nn.Module, images: Iterable[Images], decoder: str) -> Parity:
    """How far a model with its adapter folded in is from the same with it beside. Raises ExportError beyond LIMITS."""
    merged = deepcopy(unmerged)
    injecting.merge(merged)
    batches = list(images)
    predict = partial(raw_outputs, device=torch.device("cpu"))
    geometry, score = largest_errors(partial(predict, unmerged), partial(predict, merged), batches, decoder=decoder)
    parity = Parity(sum(map(len, batches)), geometry, score, {}, LIMITS)
    parity.check()
    return parity
