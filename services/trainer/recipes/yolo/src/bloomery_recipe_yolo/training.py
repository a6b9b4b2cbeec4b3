"""TRAIN: from a dataset version and base weights to a checkpoint that our own evaluation has measured."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from bloomery_recipe_yolo import augmenting, figures, kept
from bloomery_recipe_yolo.exact import BEST_FILE, ExactTrainer
from bloomery_recipe_yolo.facts import model_facts
from bloomery_recipe_yolo.flavours import Flavour
from bloomery_recipe_yolo.lora import spec as lora
from bloomery_recipe_yolo.lora.choosing import Choice, choose
from bloomery_recipe_yolo.lora.publishing import publish_adapter
from bloomery_recipe_yolo.lora.short import Shortly
from bloomery_recipe_yolo.making import Making, train_with
from bloomery_recipe_yolo.model import TrainedModel, check_task, write_published
from bloomery_recipe_yolo.names import table
from bloomery_recipe_yolo.optimizing import original
from bloomery_recipe_yolo.progress import Observer
from bloomery_recipe_yolo.sampling import Sampler
from bloomery_recipe_yolo.weights import Base, find_base
from bloomery_worker import machine
from bloomery_worker.applying import multi_label
from bloomery_worker.augmenting import keep, policy_of, told
from bloomery_worker.context import Context
from bloomery_worker.evaluation import Evaluation, of_classes
from bloomery_worker.first_variant import first_variant
from bloomery_worker.layout import Laid
from bloomery_worker.messages import FileNote, ProgressNote, Value
from bloomery_worker.published import publish
from bloomery_worker.recipe import Result
from bloomery_worker.variants import PACKAGES as VARIANT_PACKAGES

PACKAGES = (
    "ultralytics",
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "peft",
    "bloomery-worker",
    "bloomery-recipe-yolo",
)
WEIGHTS_FILE = "weights.pt"
"""What other trainings start from."""
STRIDE = 32
OURS = lora.PARAMETERS | {
    "augment", "best_by", "export", "keep", "multi_label", "sample_predictions", "save_every",
}  # fmt: skip
"""Parameters that the library does not know."""


def train(context: Context, flavour: Flavour) -> Result:
    """Trains, evaluates, exports, and collects what is published."""
    started = time.monotonic()
    policy = policy_of(context.parameters)
    base = find_base(context)
    if base.digest:
        check_task(Path(base.model), context.job.task)
    lora.check(context.parameters, from_scratch=not base.digest)
    laid = _laid_out(context, flavour)
    making = Making(context, flavour, laid, _arguments(context, base, laid.data))
    choice = choose(context, Shortly(context, making.trainer))
    trainer = _trained(context, making, flavour, choice)
    published = context.work_dir / "published"
    published.mkdir(exist_ok=True)
    write_published(trainer.best, published / BEST_FILE, context.job.classes)
    size = image_size(context.parameters)
    adapter, adapted = publish_adapter(context, trainer, choice, base, published, flavour, size)
    done = trainer.epoch + 1
    evaluations = _evaluate(context, flavour, published / BEST_FILE, epochs=done)
    _write_tables(published, table(trainer.csv.read_text(encoding="utf-8")))
    measured = publish(context, evaluations, published)
    model = TrainedModel(published / BEST_FILE, device="cpu")
    variants = first_variant(context, original(flavour, model), epochs=done)
    return Result(
        files=(
            *_files(published),
            *adapter,
            *measured,
            *keep(policy, published),
            *(file for variant in variants for file in variant.files),
        ),
        metrics={name: value for one in evaluations for name, value in one.values().items()},
        details={
            **_details(context, base, done, duration=time.monotonic() - started),
            "data": _data(context, flavour, laid),
            "of_classes": of_classes(evaluations),
            **told(policy),
            **adapted,
        },
        versions=machine.versions({*PACKAGES, *VARIANT_PACKAGES}),
        model=model_facts(context, flavour, model, base=base.name, base_digest=base.digest),
        variants=tuple(variant.facts for variant in variants),
    )


def image_size(parameters: Mapping[str, Value]) -> tuple[int, int]:
    """(height, width) of the model's input: the parameter, rounded up to what the network can halve five times."""
    side = -(-int(parameters["imgsz"]) // STRIDE) * STRIDE
    return side, side


def _trained(context: Context, making: Making, flavour: Flavour, choice: Choice) -> ExactTrainer:
    job = context.job
    observer = Observer(context, device=machine.device_name(), epoch=job.resume_epoch)

    def keep(folder: Path, epoch: int, best: bool) -> None:
        observer.epoch = epoch
        write_published(trainer.last, folder / WEIGHTS_FILE, job.classes)
        if choice.is_asked:
            choice.write(folder)
        context.checkpoint(folder, epoch=epoch, best=best)

    resume_from = Path(job.resume_dir) if job.resume_dir else None
    trainer = making.trainer(choice, {}, context.work_dir / "checkpoints", keep, resume_from)
    observer.attach(trainer)
    Sampler(context, flavour, image_size(context.parameters)).attach(trainer)
    figures.attach(context, trainer)
    train_with(trainer)
    return trainer


def _laid_out(context: Context, flavour: Flavour) -> Laid:
    """The dataset version where the library looks, and in the log what there is and what has no place there."""
    counts = context.dataset.counts
    context.log.info(
        "%d images to train on, %d to validate, %d to test; on %s with %d threads",
        counts["train"], counts["val"], counts["test"], machine.device_name(), machine.threads(context.job.cpus),
    )  # fmt: skip
    laid = flavour.lay_out(context)
    for what, count in laid.left_out.items():
        context.log.warning("%s left out of the training data: %d", what, count)
    return laid


def _arguments(context: Context, base: Base, data: Path) -> dict[str, object]:
    """The library's arguments: the parameters have its names, but for ours."""
    given: dict[str, object] = {key: value for key, value in context.parameters.items() if key not in OURS}
    if given.get("cache") == "none":
        given["cache"] = False
    return given | {
        "task": context.job.task,
        "model": base.model,
        "data": str(data),
        "imgsz": image_size(context.parameters)[0],
        **augmenting.arguments(policy_of(context.parameters), context.job.task),
        "device": machine.device().removeprefix("cuda:"),
        "project": str(context.work_dir),
        "name": "run",
        "exist_ok": True,
        "plots": False,
        "verbose": False,
    }


def _evaluate(context: Context, flavour: Flavour, checkpoint: Path, *, epochs: int) -> list[Evaluation]:
    context.progress(
        ProgressNote(phase="evaluating", epoch=epochs, epochs=epochs, fraction=1.0, device=machine.device_name())
    )
    dataset, size = context.dataset, image_size(context.parameters)
    evaluator = flavour.evaluator(
        dataset,
        size,
        context.job.classes,
        decoder=flavour.decoder,
        check=partial(context.check_stop, epochs),
        multi_label=multi_label(context),
    )
    model = TrainedModel(checkpoint, device=machine.device())
    splits = (split for split in ("val", "test") if dataset.counts[split])
    return [evaluator.evaluate(model, dataset.rows(split), name=split) for split in splits]


def _write_tables(published: Path, epochs: str) -> None:
    (published / "metrics.csv").write_text(epochs, encoding="utf-8")


def _files(published: Path) -> tuple[FileNote, ...]:
    def note(role: str, name: str, media_type: str) -> FileNote:
        return FileNote(path=str(published / name), role=role, file_name=name, media_type=media_type)

    return (
        note("checkpoint", BEST_FILE, "application/octet-stream"),
        note("metrics", "metrics.csv", "text/csv"),
    )


def _data(context: Context, flavour: Flavour, laid: Laid) -> dict[str, object]:
    """How many images there are, and how many were used, of each split; and what was left out of them."""
    used = {split: len(paths) for split, paths in kept.chosen(context, laid, flavour.select).items()}
    return {"images": dict(context.dataset.counts), "used": used, "left_out": dict(laid.left_out)}


def _details(context: Context, base: Base, epochs: int, *, duration: float) -> dict[str, object]:
    job = context.job
    return {
        "dataset": {"version": job.dataset_version, "content_hash": context.dataset.index.content_hash},
        "base": base.record(),
        "recipe": {"name": job.recipe, "version": job.recipe_version},
        "device": machine.device_name(),
        "duration_seconds": duration,
        "epochs": epochs,
    }
