"""What a model takes and means: from its file, what lies beside it, the job's parameters, and a try."""

from collections.abc import Callable
from dataclasses import dataclass

from bloomery_recipe_onnx.foreign import ForeignModel, InputForm
from bloomery_recipe_onnx.graph import Graph
from bloomery_recipe_onnx.inputs import input_form
from bloomery_recipe_onnx.outputs import Answers, Reading, read_outputs
from bloomery_recipe_onnx.package import Package
from bloomery_recipe_onnx.stated import Stated, of_file, of_parameters
from bloomery_vision.decoders import DECODERS_OF
from bloomery_vision.interpret import are_finite
from bloomery_worker.context import Context
from bloomery_worker.failures import ConfigError, DataError
from bloomery_worker.parity import generated_images

_TRIED = 2
"""Images that a model is tried on."""
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Understood:
    """A model of which all is known that has to be.

    Attributes:
        form: how it takes images.
        reading: how its outputs are read.
        classes: names in the order of their numbers.
        license: as the file states it; may be empty.
    """

    form: InputForm
    reading: Reading
    classes: tuple[str, ...]
    license: str


def understand(
    context: Context, package: Package, graph: Graph, *, check_runs: Callable[[InputForm], None], threads: int
) -> Understood:
    """Finds out all that has to be known of a model.

    Args:
        context: of the job.
        package: the model with what lies beside it.
        graph: the same looked into.
        check_runs: is called before the model runs in this process for the first time; raises where it must not.
        threads: to compute with.

    Raises:
        ConfigError: something is wrong or missing; says all of it, and how to mend it.
        DataError: it answers with what is no number.
    """
    task, problems = context.job.task, list(package.config.problems(graph) if package.config else ())
    given, file = of_parameters(context, problems), of_file(graph, task)
    said = given.over(Stated(classes=package.labels)).over(file)
    problems += _of_file(file, task)
    problems += _of_numbers(graph)
    problems += _of_names(said.classes)
    form = input_form(graph, said, task, problems)
    reading = None
    if form is not None:
        check_runs(form)
        names = tuple(one.name for one in graph.outputs)
        answers = _answers(ForeignModel(package.model, form, names, threads=threads), names, form)
        reading = read_outputs(task, answers, said, problems)
    if problems or form is None or reading is None:
        raise ConfigError(f"the model is not understood: {'; '.join(problems)}", hint="import it again with these")
    return Understood(form, reading, said.classes, said.license)


def _answers(model: ForeignModel, names: tuple[str, ...], form: InputForm) -> Answers:
    try:
        outputs = model(generated_images(_TRIED, form.size))
    except Exception as problem:
        line = str(problem).partition("\n")[0][:_LONGEST]
        hint = "export it with a dynamic batch that its graph does take"
        raise ConfigError(f"the model does not take {_TRIED} images at once: {line}", hint=hint) from problem
    if not are_finite(outputs):
        raise DataError("the model answers with NaN or infinity", hint="import one that predicts")
    return dict(zip(names, outputs, strict=True))


def _of_file(file: Stated, task: str) -> list[str]:
    if file.task in ("", task):
        return []
    known = f"choose --task {file.task}" if file.task in DECODERS_OF else f"Bloomery knows {', '.join(DECODERS_OF)}"
    return [f"the file says that it is a model to {file.task}, not to {task}: {known}"]


def _of_numbers(graph: Graph) -> list[str]:
    found = []
    if graph.is_quantized:
        found.append("it computes in 8 bits: import it in float32, and let `bloomery optimize` make the other form")
    if graph.is_half:
        found.append("its weights are in half precision: export it in float32")
    return found


def _of_names(names: tuple[str, ...]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    return [f"class names occur twice: {', '.join(twice[:5])}; give each a name of its own by --classes"] * bool(twice)
