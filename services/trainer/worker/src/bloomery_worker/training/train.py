"""TRAIN: from a dataset version and base weights to a model that our own evaluation has measured."""

import csv
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from bloomery.training.v1 import ModelFacts, ModelInput
from bloomery.vision.v1 import TaskType
from bloomery_vision.interpret import NotFiniteError
from bloomery_worker import machine
from bloomery_worker.augmenting import keep, policy_of, told
from bloomery_worker.bases import Base
from bloomery_worker.context import Context
from bloomery_worker.evaluation import Evaluation, of_classes
from bloomery_worker.first_variant import first_variant
from bloomery_worker.messages import FileNote, ProgressNote
from bloomery_worker.published import publish
from bloomery_worker.recipe import Result
from bloomery_worker.samples import Samples, is_due
from bloomery_worker.training import devices, rehearsal
from bloomery_worker.training import state as states
from bloomery_worker.training.applied import original
from bloomery_worker.training.family import Family, Model, Trainee
from bloomery_worker.training.loop import STATE_FILE, Loop, Show, Trained
from bloomery_worker.training.plan import Plan
from bloomery_worker.training.telling import Telling
from bloomery_worker.variants import PACKAGES as VARIANT_PACKAGES

METRICS_FILE = "metrics.csv"
WEIGHTS_FILE = "weights.pt"
"""What other trainings start from, of any checkpoint."""


def train(context: Context, family: Family) -> Result:
    """Trains, evaluates, exports, and collects what is published."""
    policy, started = policy_of(context.parameters), time.monotonic()
    base, device = family.base(context), devices.usable(context)
    torch.manual_seed(int(context.parameters.get("seed", 0)))
    trainee = family.trainee(context, base)
    done = _trained(context, trainee, base, device)
    published = context.work_dir / "published"
    published.mkdir(exist_ok=True)
    checkpoint = published / family.file_name
    more = trainee.publish(done.weights, checkpoint)
    evaluations = _evaluate(context, family, checkpoint, device, epochs=done.epochs)
    _write_table(done.history, published / METRICS_FILE)
    measured = publish(context, evaluations, published)
    model = family.open(checkpoint, device="cpu")
    variants = first_variant(context, original(family, model), epochs=done.epochs)
    return Result(
        files=(
            *_files(published, family),
            *measured,
            *keep(policy, published),
            *(file for variant in variants for file in variant.files),
        ),
        metrics={name: value for one in evaluations for name, value in one.values().items()},
        details={
            **_details(context, base, done, device=devices.name_of(device), duration=time.monotonic() - started),
            "data": trainee.data,
            "of_classes": of_classes(evaluations),
            **told(policy),
            **more,
        },
        versions=machine.versions({*family.packages, *VARIANT_PACKAGES}),
        model=_facts(context, model, base),
        variants=tuple(variant.facts for variant in variants),
    )


def _trained(context: Context, trainee: Trainee, base: Base, device: torch.device) -> Trained:
    job, plan = context.job, _plan(context, base)
    counts = context.dataset.counts
    context.log.info(
        "%d images to train on, %d to validate, %d to test; on %s with %d threads",
        counts["train"], counts["val"], counts["test"], devices.name_of(device), machine.threads(job.cpus),
    )  # fmt: skip
    torch.backends.cudnn.deterministic = plan.deterministic
    trainee.network.to(device)
    resume_from = Path(job.resume_dir) if job.resume_dir else None
    if resume_from is None:
        context.progress(ProgressNote(phase="preflight", epochs=plan.epochs, device=devices.name_of(device)))
        batch = rehearsal.report(context, trainee, plan, device)
    else:
        batch = states.load(resume_from / STATE_FILE)["batch"]
    checkpoints = context.work_dir / "checkpoints"
    shutil.rmtree(checkpoints, ignore_errors=True)
    loop = Loop(
        trainee,
        plan,
        batch=batch,
        device=device,
        folder=checkpoints,
        write=lambda weights, folder: trainee.write(weights, folder / WEIGHTS_FILE),
        telling=Telling(context, epochs=plan.epochs, device=devices.name_of(device), done=job.resume_epoch),
        resume_from=resume_from,
    )
    return loop.run(_show(context, trainee))


def _plan(context: Context, base: Base) -> Plan:
    """The job's parameters; what has learnt nothing yet cannot wait for its head."""
    given = dict(context.parameters)
    if base.file is None and given.get("frozen_epochs"):
        given["frozen_epochs"] = 0
        context.log.info("random weights: the whole network learns from the first epoch on")
    return Plan.of(given)


def _show(context: Context, trainee: Trainee) -> Show:
    """Shows what the averaged network sees in some images, and what it takes for what, after some epochs."""
    count = int(context.parameters.get("sample_predictions", 0))
    samples: list[Samples] = []

    def show(network: torch.nn.Module, epoch: int, last: bool) -> None:
        if not is_due(epoch, int(context.parameters["epochs"]), last=last):
            return
        trainee.draw(context.board, epoch)
        if not count:
            return
        if not samples:
            samples.append(trainee.samples(count))
        try:
            context.samples(samples[0].note(trainee.predict(network, samples[0].images), epoch=epoch))
        except NotFiniteError as problem:
            context.log.warning("no samples after epoch %d: %s", epoch, problem)

    return show


def _evaluate(
    context: Context, family: Family, checkpoint: Path, device: torch.device, *, epochs: int
) -> list[Evaluation]:
    model = family.open(checkpoint, device=str(device))
    context.progress(
        ProgressNote(phase="evaluating", epoch=epochs, epochs=epochs, fraction=1.0, device=devices.name_of(device))
    )
    evaluator = family.evaluator(
        context.dataset,
        model.size,
        model.classes,
        decoder=model.decoder,
        check=partial(context.check_stop, epochs),
    )
    splits = (split for split in ("val", "test") if context.dataset.counts[split])
    return [evaluator.evaluate(model, context.dataset.rows(split), name=split) for split in splits]


def _facts(context: Context, model: Model, base: Base) -> ModelFacts:
    job, (height, width) = context.job, model.size
    return ModelFacts(
        task=TaskType.Value(f"TASK_TYPE_{job.task.upper()}"),
        classes=model.classes,
        input=ModelInput(height=height, width=width, resize=model.resize),
        decoder=model.decoder,
        license=job.recipe_license,
        base=base.name,
        base_digest=base.digest,
        seed=int(job.parameters.get("seed", 0)),
    )


def _write_table(history: Sequence[dict[str, float]], target: Path) -> None:
    """One line an epoch; `time` is in seconds since the beginning, without interruptions."""
    with target.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def _files(published: Path, family: Family) -> tuple[FileNote, ...]:
    def note(role: str, name: str, media_type: str) -> FileNote:
        return FileNote(path=str(published / name), role=role, file_name=name, media_type=media_type)

    return (
        note("checkpoint", family.file_name, "application/octet-stream"),
        note("metrics", METRICS_FILE, "text/csv"),
    )


def _details(context: Context, base: Base, done: Trained, *, device: str, duration: float) -> dict[str, object]:
    job = context.job
    return {
        "dataset": {"version": job.dataset_version, "content_hash": context.dataset.index.content_hash},
        "base": base.record(),
        "recipe": {"name": job.recipe, "version": job.recipe_version},
        "device": device,
        "duration_seconds": duration,
        "epochs": done.epochs,
        "best_epoch": done.best_epoch,
    }
