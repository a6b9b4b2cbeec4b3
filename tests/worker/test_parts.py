"""The small parts of a worker."""

import errno
import math
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bloomery.training.v1 import ModelFacts, VariantFacts, VariantParity
from bloomery_vision.decoders import YOLO
from bloomery_vision.forms import FORMS
from bloomery_worker import kernel, machine
from bloomery_worker.context import Context
from bloomery_worker.events import samples_event
from bloomery_worker.export import ModelSpec, Tensor, triton_config
from bloomery_worker.failures import ConfigError, DataError, ExportError, Failure, classify, killed
from bloomery_worker.kernel import out_of_memory_kills
from bloomery_worker.layout import place
from bloomery_worker.messages import (
    LONGEST,
    CheckpointNote,
    EventsNote,
    FailedNote,
    FileNote,
    JobSpec,
    LogNote,
    MetricsNote,
    Note,
    PreflightNote,
    ProgressNote,
    ResultNote,
    SampleNote,
    SamplesNote,
    ShapeNote,
    Start,
    Stop,
    StoppedNote,
    decode_directive,
    decode_note,
    encode,
)
from bloomery_worker.parity import Parity, largest_errors
from bloomery_worker.predictor import Remembering, predictions
from bloomery_worker.runners import OnnxRunner
from bloomery_worker.samples import is_due
from bloomery_worker.settings import MissingSettingError, read_settings
from tests.inference.models import one_box, write_model

JOB = JobSpec(
    name="projects/p/jobs/j",
    uid="j",
    kind="TRAIN",
    attempt=1,
    recipe="yolo-detect",
    recipe_version="1",
    recipe_license="AGPL-3.0-only",
    module="m",
    task="detect",
    parameters={"epochs": 2, "lr0": 0.1, "cos_lr": True, "optimizer": "SGD"},
    classes=("a", "b"),
    bases=("x.pt",),
    cache_dir="/c",
    work_dir="/w",
)


@pytest.mark.parametrize("directive", [Start(JOB), Stop()])
def test_directives_survive_the_pipe(directive: Start | Stop) -> None:
    assert decode_directive(encode(directive)) == directive


@pytest.mark.parametrize(
    "note",
    [
        ProgressNote(phase="training", epoch=1, epochs=2),
        MetricsNote(epoch=1, step=2, values={"lr": 0.1}, epoch_end=True),
        PreflightNote(
            device="cpu",
            batch=4,
            steps_per_epoch=2,
            peak_memory_bytes=1 << 40,
            memory_limit_bytes=2 << 40,
            largest_batch=7,
            seconds_per_step=0.5,
        ),
        SamplesNote(
            epoch=3,
            samples=(
                SampleNote(
                    asset="projects/p/assets/a",
                    digest="sha256:0",
                    file_name="a.jpg",
                    width=4,
                    height=2,
                    shapes=(
                        ShapeNote(label="a", confidence=0.5, box=(0.0, 0.5, 2.0, 1.0)),
                        ShapeNote(label="b", confidence=0.4, mask="08"),
                        ShapeNote(label="b", confidence=0.3),
                    ),
                ),
            ),
        ),
        LogNote(20, "hello\nworld"),
        CheckpointNote("/c/1", 1, True),
        EventsNote("/e/1", 1),
        ResultNote(
            files=(FileNote(path="/a", role="checkpoint", file_name="a"),),
            metrics={"m": 1.0},
            details={},
            versions={},
            model=ModelFacts(classes=["a", "b"], seed=1 << 40),
            variants=(VariantFacts(id="onnx-fp32", parity=VariantParity(max_score_error=1e-7)),),
        ),
        StoppedNote(3),
        FailedNote(Failure("OOM_GPU", "no", "smaller", retriable=True)),
    ],
    ids=lambda note: note.type,
)
def test_notes_survive_the_pipe(note: Note) -> None:
    line = encode(note)
    assert line.count(b"\n") == 1
    assert decode_note(line) == note


def test_a_note_that_the_supervisor_would_not_read_fails_where_it_is_made() -> None:
    with pytest.raises(ValueError, match="a log message has"):
        encode(LogNote(20, "x" * LONGEST))


def wrapped() -> BaseException:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as problem:
            raise RuntimeError("the checkpoint could not be written") from problem
    except RuntimeError as problem:
        return problem


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (DataError("bad", items=["a"]), "DATA_ERROR"),
        (MemoryError(), "OOM_HOST"),
        (RuntimeError("CUDA error: out of memory"), "OOM_GPU"),
        (wrapped(), "DISK_FULL"),
        (ValueError("?"), "USER_CODE"),
    ],
)
def test_exceptions_become_reasons(problem: BaseException, code: str) -> None:
    assert classify(problem).code == code


def test_many_items_are_counted_and_not_listed() -> None:
    assert str(DataError("bad", items=[str(n) for n in range(9)])) == "bad: 0; 1; 2; 3; 4 and 4 more"


def test_a_killed_process_is_told_from_one_without_memory() -> None:
    assert killed(9, out_of_memory=True).code == "OOM_HOST"
    assert killed(9, out_of_memory=False).code == "WORKER_LOST"


def test_the_kernel_counts_its_kills_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group, machine = tmp_path / "memory.events", tmp_path / "vmstat"
    monkeypatch.setattr(kernel, "_CGROUP_EVENTS", group)
    monkeypatch.setattr(kernel, "_VM_COUNTERS", machine)
    assert out_of_memory_kills() == 0
    machine.write_text("nr_free_pages 5\noom_kill 7\n")
    assert out_of_memory_kills() == 7
    group.write_text("oom 3\noom_kill 2\noom_group_kill 1\n")
    assert out_of_memory_kills() == 2


@pytest.mark.parametrize(("cpus", "threads"), [(0.0, 3), (2.0, 2), (0.5, 1), (64.0, 3)])
def test_no_more_threads_compute_than_there_are_usable_cores(
    monkeypatch: pytest.MonkeyPatch, cpus: float, threads: int
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    assert machine.threads(cpus) == threads


def test_an_export_computes_with_the_threads_that_it_is_given(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", one_box(16, 16, 8, 4, [0.9, 0.1]), side=32) / "1" / "model.onnx"
    options = OnnxRunner(model, threads=5)._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (5, 1)


def test_every_kind_of_job_computes_with_the_cores_that_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from bloomery_recipe_yolo.detect import recipe

    job = replace(JOB, kind="OTHER", cpus=1.0, work_dir=str(tmp_path), cache_dir=str(tmp_path))
    # What the recipe sets for its library is for a process of its own.
    monkeypatch.setattr(os, "environ", dict(os.environ))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with pytest.raises(ConfigError, match="no OTHER jobs"):
        recipe.run(Context(job, lambda _: None, threading.Event()))
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


def test_missing_settings_are_all_named() -> None:
    with pytest.raises(MissingSettingError, match=r"BLOOMERY_TRAINER_TARGET, BLOOMERY_ATTEMPT_TOKEN"):
        read_settings({})


def test_a_file_is_placed_without_copying(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    placed = place(source, tmp_path / "folder" / "target")
    assert placed.stat().st_ino == source.stat().st_ino
    assert place(source, placed) == placed


def test_triton_reads_a_plain_config() -> None:
    spec = ModelSpec(
        "detect", ("a", "b"), (320, 640), "letterbox", YOLO, "onnxruntime", (Tensor("output0", (6, 4200)),)
    )
    assert triton_config(spec) == (
        'backend: "onnxruntime"\n'
        "max_batch_size: 8\n"
        "input [\n"
        '  { name: "images" data_type: TYPE_UINT8 dims: [ 320, 640, 3 ] }\n'
        "]\n"
        "output [\n"
        '  { name: "output0" data_type: TYPE_FP32 dims: [ 6, 4200 ] }\n'
        "]\n"
        "dynamic_batching { max_queue_delay_microseconds: 2000 }\n"
    )


def off_by(geometry: float, score: float) -> np.ndarray:
    output = np.zeros((2, 6, 3), dtype=np.float32)
    output[1, 2, 1], output[0, 5, 2] = geometry, score
    return output


def test_errors_of_boxes_and_scores_are_told_apart() -> None:
    images = [np.zeros((2, 4, 4, 3), dtype=np.uint8)]
    errors = largest_errors(lambda _: (off_by(0, 0),), lambda _: (off_by(0.25, -0.5),), images, decoder=YOLO)
    assert errors == (0.25, 0.5)


def test_outputs_of_other_shapes_are_no_export() -> None:
    images = [np.zeros((1, 4, 4, 3), dtype=np.uint8)]
    with pytest.raises(ExportError):
        largest_errors(lambda _: (off_by(0, 0),), lambda _: (off_by(0, 0)[:, :, :2],), images, decoder=YOLO)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("broken", ["original", "variant"])
def test_what_is_no_number_is_no_export(broken: str, value: float) -> None:
    images = [np.zeros((2, 4, 4, 3), dtype=np.uint8)]
    models = {"original": off_by(0, 0), "variant": off_by(0, 0)}
    models[broken] = off_by(value, value)
    with pytest.raises(ExportError, match=f"the {broken} gives values that are no finite numbers"):
        largest_errors(lambda _: (models["original"],), lambda _: (models["variant"],), images, decoder=YOLO)


def test_what_is_no_number_is_no_prediction() -> None:
    images = [np.zeros((4, 4, 3), dtype=np.uint8)] * 2
    with pytest.raises(DataError, match="no finite numbers"):
        list(predictions(lambda _: (off_by(0, float("nan")),), images, batch=8))


@pytest.mark.parametrize(
    ("form", "geometry", "score", "metric", "problem"),
    [
        ("onnx-fp32", 0.1, 1e-4, 0.9, ""),
        ("onnx-fp32", 0.6, 0, 0.9, "a coordinate is 0.6 px off, at most 0.5 is allowed"),
        ("onnx-fp32", 0, 0.01, 0.9, "a score is 0.01 off, at most 0.001 is allowed"),
        ("onnx-fp32", 0, 0, 0.89, "map50 is 0.8900 instead of 0.9000 on 8 images, a loss of at most 0.005 is allowed"),
        ("onnx-fp32", math.nan, 0, 0.9, "a coordinate is nan px off, at most 0.5 is allowed"),
        ("onnx-int8", 20, 0.4, 0.891, ""),
        ("onnx-int8", 0, 0, 0.95, ""),
        ("onnx-int8", 0, 0, 0.88, "map50 is 0.8800 instead of 0.9000 on 8 images, a loss of at most 0.01 is allowed"),
        ("onnx-int8", 0, 0, math.nan, "map50 is nan instead of 0.9000 on 8 images, a loss of at most 0.01 is allowed"),
    ],
)
def test_parity_needs_every_limit_of_the_form(
    form: str, geometry: float, score: float, metric: float, problem: str
) -> None:
    parity = Parity(8, geometry, score, {"map50": (0.9, metric), "mask_map50": (0.5, 0.5)}, FORMS[form].limits)
    if problem:
        with pytest.raises(ExportError, match=f"^it does not answer as the original: {problem}$"):
            parity.check()
    else:
        parity.check()
        assert (parity.facts().original_metric, parity.facts().variant_metric) == (0.9, metric)


def test_a_loss_that_may_be_chance_is_told_as_such() -> None:
    def failure(losses: tuple[float, float]) -> ExportError:
        parity = Parity(8, 0, 0, {"map50": (0.9, 0.87)}, FORMS["onnx-int8"].limits, {"map50": losses})
        with pytest.raises(ExportError) as caught:
            parity.check()
        return caught.value

    open_, clear = failure((-0.01, 0.07)), failure((0.02, 0.04))
    assert str(open_).endswith("a loss of at most 0.01 is allowed, and so few images leave -0.010 to 0.070 open")
    assert open_.hint.startswith("compare it on more images")
    assert str(failure((-0.0001, 0.07))).endswith("leave 0.000 to 0.070 open")
    assert str(clear).endswith("a loss of at most 0.01 is allowed")
    assert clear.hint == "keep a more exact form, or calibrate on more images"


def test_masks_that_are_worse_fail_a_form_whose_boxes_are_good() -> None:
    metrics = {"map50": (0.9, 0.9), "mask_map50": (0.5, 0.4)}
    with pytest.raises(ExportError, match=r"mask_map50 is 0\.4000 instead of 0\.5000"):
        Parity(8, 0, 0, metrics, FORMS["onnx-int8"].limits).check()


def test_each_batch_is_computed_once_as_far_as_there_is_room() -> None:
    computed: list[int] = []

    def model(images: np.ndarray) -> tuple[np.ndarray, ...]:
        computed.append(int(images[0, 0, 0, 0]))
        return (images.astype(np.float32),)

    batches = [np.full((1, 4, 4, 3), number, dtype=np.uint8) for number in range(3)]
    remembering = Remembering(model, most_bytes=2 * 4 * batches[0].nbytes)
    for batch in batches * 2:
        np.testing.assert_array_equal(remembering(batch)[0], batch)
    assert computed == [0, 1, 2, 2]


def test_samples_become_shapes_of_the_contract() -> None:
    shapes = (
        ShapeNote(label="a", confidence=0.5, box=(0.0, 0.5, 2.0, 1.0)),
        ShapeNote(label="b", confidence=0.4, mask="08"),
        ShapeNote(label="c", confidence=0.3),
    )
    sample = SampleNote(asset="x", digest="sha256:0", file_name="a.jpg", width=4, height=2, shapes=shapes)
    (seen,) = samples_event(SamplesNote(epoch=3, samples=(sample,))).samples.samples
    assert [shape.WhichOneof("geometry") for shape in seen.shapes] == ["box", "mask", "tag"]
    assert (seen.shapes[0].box.y, seen.shapes[0].box.width) == (0.5, 2.0)
    assert (seen.shapes[1].mask.width, seen.shapes[1].mask.counts) == (4, b"08")


@pytest.mark.parametrize(
    ("epochs", "shown"),
    [
        (1, [1]),
        (5, [1, 2, 3, 4, 5]),
        (20, [1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),
        (25, [1, 3, 6, 9, 12, 15, 18, 21, 24, 25]),
    ],
)
def test_samples_are_shown_at_the_first_and_last_epoch_and_at_some_between(epochs: int, shown: list[int]) -> None:
    assert [epoch for epoch in range(1, epochs + 1) if is_due(epoch, epochs, last=epoch == epochs)] == shown


def test_an_early_end_shows_samples_too() -> None:
    assert is_due(7, 100, last=True)


def test_a_recipe_that_invents_names_tells_the_first_of_them_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Note] = []
    context = Context(JOB, told.append, threading.Event())
    for number in range(300):
        values = {f"image/{number}": 1.0, "x" * 129: 1.0, "loss": 0.5}
        context.epoch_end(ProgressNote(phase="training"), MetricsNote(epoch=1, step=1, values=values))
    names = {name for note in told if isinstance(note, MetricsNote) for name in note.values}
    assert names == {"loss", *(f"image/{number}" for number in range(199))}
    assert [record.message for record in caplog.records] == [
        "not all measurements are told: a job has at most 200, with names of at most 128 characters"
    ]
