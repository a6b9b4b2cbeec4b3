"""IMPORT: a model that came as an ONNX file, as a model version like those of trainings."""

import time
from functools import partial
from pathlib import Path

from bloomery.training.v1 import ModelFacts, ModelInput
from bloomery.vision.v1 import TaskType
from bloomery_recipe_onnx.foreign import ForeignModel, InputForm
from bloomery_recipe_onnx.graph import Graph
from bloomery_recipe_onnx.imported import PACKAGES, Meaning, original
from bloomery_recipe_onnx.package import Package, open_package
from bloomery_recipe_onnx.trial import check_runs
from bloomery_recipe_onnx.understanding import Understood, understand
from bloomery_recipe_onnx.wrapping import check_batches, wrap, write
from bloomery_vision.decoders import CENTER_CROP, LETTERBOX, PROBABILITIES
from bloomery_vision.forms import FORMS
from bloomery_vision.postprocess import softmax
from bloomery_worker import machine
from bloomery_worker.context import Context
from bloomery_worker.failures import ConfigError
from bloomery_worker.memory import DeviceMemory
from bloomery_worker.messages import ProgressNote
from bloomery_worker.predictor import Images, Outputs
from bloomery_worker.recipe import Result
from bloomery_worker.variants import Plan, make_variant

NO_LICENSE = "not stated"


def import_model(context: Context) -> Result:
    """Looks into the file, tries the model within limits, and publishes it in the form in which all are served.

    Raises:
        ConfigError: it is no model that can be served, or is not understood.
        DataError: its answers are no finite numbers, or it takes too much.
        ExportError: in our form it gives other answers.
    """
    started = time.monotonic()
    say, check = partial(_say, context), context.check_stop
    threads = machine.threads(context.job.cpus)
    say("reading", 0.0)
    package = _package(context)
    graph = Graph.read(package.model)
    say("trying", 0.05)

    def check_form(form: InputForm) -> None:
        check_runs(package.model, form, memory=_memory(context), threads=threads, check=check)

    understood = understand(context, package, graph, check_runs=check_form, threads=threads)
    meaning, reading = _meaning(context, understood), understood.reading
    foreign = ForeignModel(package.model, understood.form, reading.outputs, threads=threads)

    def answers(images: Images) -> Outputs:
        outputs = foreign(images)
        return (softmax(outputs[0]),) if reading.is_logits else outputs

    def write_onnx(target: Path) -> None:
        write(wrap(graph.model, understood.form, reading, meaning.document()), target)
        check_batches(target, answers, understood.form, threads=threads)

    plan = Plan(FORMS["onnx-fp32"])
    made = make_variant(context, plan, original(meaning, answers, write_onnx), say=say, check=check)
    context.log.info("imported a model of %d classes for %d x %d", len(meaning.classes), meaning.width, meaning.height)
    return Result(
        files=made.files,
        metrics={},
        details={**_details(context, graph, understood), "duration_seconds": time.monotonic() - started},
        versions=machine.versions(PACKAGES),
        model=_model_facts(context, meaning, understood),
        variants=(made.facts,),
    )


def _package(context: Context) -> Package:
    if not context.job.base_file:
        raise ConfigError("the job names no file to import", hint="upload one, and give it as base_artifact")
    return open_package(Path(context.job.base_file), context.work_dir / "given")


def _memory(context: Context) -> int:
    """Bytes that the model may take."""
    return context.job.memory_share or DeviceMemory("cpu", host_bytes=context.job.memory_bytes).limit_bytes


def _meaning(context: Context, understood: Understood) -> Meaning:
    height, width = understood.form.size
    decoder = understood.reading.decoder
    return Meaning(
        task=context.job.task,
        classes=understood.classes,
        height=height,
        width=width,
        resize=CENTER_CROP if decoder == PROBABILITIES else LETTERBOX,
        decoder=decoder,
    )


def _model_facts(context: Context, meaning: Meaning, understood: Understood) -> ModelFacts:
    job = context.job
    return ModelFacts(
        task=TaskType.Value(f"TASK_TYPE_{job.task.upper()}"),
        classes=meaning.classes,
        input=ModelInput(height=meaning.height, width=meaning.width, resize=meaning.resize),
        decoder=meaning.decoder,
        license=understood.license or NO_LICENSE,
        base=job.base or "imported",
        base_digest=job.base_digest,
    )


def _details(context: Context, graph: Graph, understood: Understood) -> dict[str, object]:
    job, form, reading = context.job, understood.form, understood.reading
    return {
        "base": {"name": job.base or "imported", "digest": job.base_digest, "license": understood.license},
        "recipe": {"name": job.recipe, "version": job.recipe_version},
        "file": {
            "producer": graph.producer,
            "opset": graph.opset,
            "inputs": {one.name: str(one) for one in graph.inputs},
            "outputs": {one.name: str(one) for one in graph.outputs},
        },
        "input": {
            "layout": form.layout,
            "divisor": form.scale.divisor if form.scale else None,
            "mean": form.scale.mean if form.scale else None,
            "deviation": form.scale.deviation if form.scale else None,
            "batch": form.batch,
        },
        "softmax_added": reading.is_logits,
        "device": "cpu",
    }


def _say(context: Context, phase: str, fraction: float) -> None:
    context.progress(ProgressNote(phase=phase, fraction=fraction, device="cpu"))
