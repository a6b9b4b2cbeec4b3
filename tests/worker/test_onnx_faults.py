"""ONNX files that are damaged, hostile, or not understood: refused with one error that says what to do."""

import errno
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bloomery_recipe_onnx import package, trial
from bloomery_recipe_onnx.importing import import_model
from bloomery_vision.decoders import YOLO_END_TO_END
from bloomery_worker.failures import ConfigError, WorkError
from bloomery_worker.messages import Value
from bloomery_worker.parity import generated_images, largest_errors
from tests.worker.foreign import PLAIN, answers, detector, job, read, saved, wrapped

pytestmark = pytest.mark.timeout(120)


def why(file: Path, folder: Path, *, task: str = "detect", **parameters: Value) -> str:
    """Why an import is refused, with its code."""
    with pytest.raises(WorkError) as refused:
        read(file, task, folder / "refused", {**PLAIN, **parameters})
    assert str(folder) not in str(refused.value)
    return f"{refused.value.code}: {refused.value}"


def external(path: Path, location: str) -> Path:
    """A detector one of whose weights lies in another file."""
    model = onnx.load(detector(path))
    tensor = model.graph.initializer[0]
    (path.parent / "weights.bin").write_bytes(tensor.raw_data)
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    return saved(model, path)


def packed(target: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x04nothing", b"PK\x03\x04 torn", b"\x08\x08"], ids=["empty", "rubbish", "zip", "no graph"]
)
def test_a_file_that_is_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert "CONFIG_ERROR: the file is not an ONNX file" in why(tmp_path / "model.onnx", tmp_path)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(part: float, tmp_path: Path) -> None:
    whole = detector(tmp_path / "whole.onnx").read_bytes()
    (tmp_path / "torn.onnx").write_bytes(whole[: int(len(whole) * part)])
    assert why(tmp_path / "torn.onnx", tmp_path).startswith("CONFIG_ERROR: ")


def test_a_tensor_that_is_said_to_be_huge_is_refused_unread(tmp_path: Path) -> None:
    model = onnx.load(detector(tmp_path / "model.onnx"))
    model.graph.initializer[0].dims[0] = 1 << 40
    told = why(saved(model, tmp_path / "model.onnx"), tmp_path)
    assert "the tensor column is said to have 307863255777280 elements, at most 2 ** 31 are taken" in told


def test_a_graph_that_asks_for_more_memory_than_the_job_has_is_refused(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 16], dtype=np.int64), "huge")
    nodes = [
        helper.make_node("ConstantOfShape", ["huge"], ["block"]),
        helper.make_node("ReduceMax", ["block"], ["most"], axes=[0, 1], keepdims=0),
        helper.make_node("Add", ["raw", "most"], ["output0"]),
    ]
    file = detector(tmp_path / "bomb.onnx", nodes=nodes, weights=[shape])
    assert why(file, tmp_path) == "DATA_ERROR: the model takes more than the 2048 MiB that the job has"


def test_a_graph_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SECONDS", 3.0)
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["was"], ["is"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("was", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("is", TensorProto.FLOAT, None),
        ],
    )
    true = numpy_helper.from_array(np.array(True), "true")
    loop = helper.make_node("Loop", ["", "true", "raw"], ["output0"], body=body)
    file = detector(tmp_path / "loop.onnx", nodes=[loop], weights=[true])
    assert why(file, tmp_path) == "DATA_ERROR: the model takes more than 3 seconds for one image"


def test_an_answer_beyond_all_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MOST_OUTPUT", 1000)
    told = why(detector(tmp_path / "model.onnx"), tmp_path)
    assert told.startswith("DATA_ERROR: the model answers 0 MiB for one image, at most 0 MiB are taken")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_answers_with_no_numbers_is_refused(value: float, tmp_path: Path) -> None:
    told = why(detector(tmp_path / "model.onnx", value=value), tmp_path)
    assert told == "DATA_ERROR: the model answers with NaN or infinity"


def test_operators_that_the_runtime_does_not_know_are_named(tmp_path: Path) -> None:
    node = helper.make_node("Secret", ["raw"], ["output0"], domain="com.example")
    assert "it has operators of com.example" in why(detector(tmp_path / "model.onnx", nodes=[node]), tmp_path)


def test_a_graph_that_the_runtime_cannot_run_is_refused_with_its_words(tmp_path: Path) -> None:
    node = helper.make_node("Concat", ["raw", "column"], ["output0"], axis=7)
    told = why(detector(tmp_path / "model.onnx", nodes=[node]), tmp_path)
    assert told.startswith("CONFIG_ERROR: ONNX Runtime does not run the model: ")


def test_weights_beside_the_file_are_taken_with_it_and_missed_without(tmp_path: Path) -> None:
    file = external(tmp_path / "model.onnx", "weights.bin")
    assert "its weights lie in 'weights.bin', which did not come with it: give the folder" in why(file, tmp_path)
    both = {"model.onnx": file.read_bytes(), "weights.bin": (tmp_path / "weights.bin").read_bytes()}
    target, _ = wrapped(packed(tmp_path / "both.zip", both), "detect", tmp_path, PLAIN)
    assert answers(target, generated_images(1, (32, 32)))[0].shape == (1, 7, 40)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd"])
def test_weights_outside_of_the_folder_are_not_read(location: str, tmp_path: Path) -> None:
    told = why(external(tmp_path / "model.onnx", location), tmp_path)
    assert f"its weights lie in '{location}', which is outside of its folder" in told


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"offset": "x"}, "invalid literal for int"),
        ({"offset": "-5"}, "must be non-negative"),
        ({"length": "99999"}, "exceeds available data"),
        ({"location": None}, "should not be empty"),
        ({"location": "a" * 300}, "which did not come with it"),
    ],
    ids=["no number", "negative", "too long", "nowhere", "long name"],
)
def test_weights_whose_place_makes_no_sense_are_refused(
    about: dict[str, str | None], said: str, tmp_path: Path
) -> None:
    model = onnx.load(external(tmp_path / "model.onnx", "weights.bin"), load_external_data=False)
    tensor = model.graph.initializer[0]
    entries = {entry.key: entry.value for entry in tensor.external_data} | about
    del tensor.external_data[:]
    for key, value in entries.items():
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    both = {"model.onnx": model.SerializeToString(), "weights.bin": (tmp_path / "weights.bin").read_bytes()}
    told = why(packed(tmp_path / "both.zip", both), tmp_path)
    assert told.startswith("CONFIG_ERROR: the ONNX file ")
    assert said in told


@pytest.mark.parametrize("names", [["a" * 300], ["a", "a/b"], ["a/b", "a"]], ids=["long", "below", "above"])
def test_a_zip_file_whose_names_no_folder_can_hold_is_refused(names: list[str], tmp_path: Path) -> None:
    told = why(packed(tmp_path / "odd.zip", dict.fromkeys(names, b"")), tmp_path)
    assert f"the zip file holds '{names[-1][:80]}', for which no file can be made: " in told


def test_a_zip_file_that_holds_a_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("model.onnx", b"")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("model.onnx", b"")
    told = why(tmp_path / "twice.zip", tmp_path)
    assert "the zip file holds 'model.onnx', for which no file can be made: File exists" in told


def test_a_model_is_imported_from_a_cache_on_another_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    target, _ = wrapped(detector(tmp_path / "model.onnx"), "detect", tmp_path, PLAIN)
    assert answers(target, generated_images(1, (32, 32)))[0].shape == (1, 7, 40)


@pytest.mark.parametrize("name", ["../model.onnx", "/tmp/model.onnx", "a\\..\\model.onnx"])
def test_zip_files_write_nowhere_else(name: str, tmp_path: Path) -> None:
    file = packed(tmp_path / "given.zip", {name: detector(tmp_path / "whole").read_bytes()})
    assert "which lies outside of it" in why(file, tmp_path)
    assert not (tmp_path / "model.onnx").exists()


def test_zip_files_that_unpack_to_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "MOST_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.onnx", bytes(4 << 20))
    assert "the zip file holds 1 files of 4 MiB, at most 100 of 1 MiB are taken" in why(tmp_path / "bomb.zip", tmp_path)
    many = packed(tmp_path / "many.zip", {f"{number}.onnx": b"" for number in range(101)})
    assert "holds 101 files" in why(many, tmp_path)
    two = packed(tmp_path / "two.zip", {"a.onnx": b"", "b.onnx": b""})
    assert "one .onnx file is taken at a time, the folder holds a.onnx, b.onnx" in why(two, tmp_path)


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        read(detector(tmp_path / "model.onnx"), "detect", tmp_path, {"decoder": "yolo-end-to-end"})
    told = str(refused.value)
    assert "say by --scale" in told
    assert "--decoder yolo-end-to-end: its output output0 is [7, 40], not [rows, 6]" in told


CASES: dict[str, tuple[Callable[[Path], Path], dict[str, Value], str]] = {
    "another size": (detector, {"input": "64x64"}, "--input 64x64: its input is fixed to 32x32"),
    "no size": (detector, {"input": "large"}, "--input large: give WIDTHxHEIGHT of 8 to 8192 pixels"),
    "another layout": (detector, {"layout": "nhwc"}, "whose channels lie elsewhere"),
    "other classes": (detector, {"classes": "a\nb"}, "it has 3 classes, and 2 names are given: a, b"),
    "classes twice": (detector, {"classes": "a\nb\na"}, "class names occur twice: a"),
    "any size": (lambda path: detector(path, shape=("n", 3, "h", "w")), {}, "say by --input WIDTHxHEIGHT"),
    "grey": (lambda path: detector(path, shape=("n", 1, 32, 32)), {}, "three channels are needed"),
    "half": (lambda path: detector(path, data_type=TensorProto.FLOAT16), {}, "images are taken as float32 or uint8"),
    "old": (lambda path: detector(path, opset=9), {}, "its opset is 9, at least 11 is needed"),
    "logits": (lambda path: detector(path, value=3.0), {}, "its scores are 2.9"),
    "parts": (lambda path: detector(path, value=0.02), {}, "export it with boxes in pixels of its input"),
    "bytes": (
        lambda path: detector(path, data_type=TensorProto.UINT8),
        {},
        "it takes bytes, which it scales by itself",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_told_with_how_to_mend_it(case: str, tmp_path: Path) -> None:
    make, parameters, expected = CASES[case]
    told = why(make(tmp_path / "model.onnx"), tmp_path, **parameters)  # type: ignore[arg-type]
    assert told.startswith("CONFIG_ERROR: ")
    assert expected in told


CONFIG = """name: "mine"
backend: "onnxruntime"
max_batch_size: 4
input [ { name: "images" data_type: TYPE_FP32 dims: [ 3, 32, 32 ] } ]
output [ { name: "output0" data_type: TYPE_FP32 dims: [ 7, 40 ] label_filename: "names.txt" } ]
instance_group [ { kind: KIND_CPU count: 2 } ]
dynamic_batching { preferred_batch_size: [ 2, 4 ] max_queue_delay_microseconds: 100 }
parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
optimization { execution_accelerators { cpu_execution_accelerator: [ { name: "openvino" } ] } }
"""


def triton(folder: Path, config: str, *, outputs: tuple[int | None, ...] = (None, 7, 40)) -> Path:
    model = onnx.load(detector(folder / "model.onnx"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("output0", TensorProto.FLOAT, outputs))
    files = {"config.pbtxt": config.encode(), "1/model.onnx": model.SerializeToString(), "names.txt": b"x\ny\nz\n"}
    return packed(folder / "triton.zip", files)


def test_a_model_that_was_imported_before_says_all_of_itself(tmp_path: Path) -> None:
    model = onnx.load(detector(tmp_path / "model.onnx"))
    helper.set_model_props(model, {"license": "MIT"})
    (tmp_path / "first").mkdir()
    target, first = wrapped(saved(model, tmp_path / "model.onnx"), "detect", tmp_path / "first", PLAIN)
    _, again = read(target, "detect", tmp_path / "second", {}, run=False)
    assert (again.classes, again.license, again.reading.decoder) == (first.classes, "MIT", "yolo")
    assert "the file says that it is a model to detect, not to segment" in why(target, tmp_path, task="segment")


@pytest.mark.parametrize(
    "names", ["", "[", "'abc'", "{0: 'a', 'x': 'b'}", "[[]]", "(" * 300, "{0: 'a', 1: 'b', 2: 'a'}", "7"]
)
def test_what_others_write_into_a_file_is_only_read(names: str, tmp_path: Path) -> None:
    model = onnx.load(detector(tmp_path / "model.onnx"))
    props = {"author": "Ultralytics", "task": "detect", "imgsz": "[None, 'x']", "names": names}
    helper.set_model_props(model, props)
    with pytest.raises(ConfigError, match="--classes"):
        read(saved(model, tmp_path / "model.onnx"), "detect", tmp_path / "read", {}, run=False)


def test_a_triton_directory_brings_its_labels(tmp_path: Path) -> None:
    _, understood = wrapped(triton(tmp_path, CONFIG), "detect", tmp_path, {"scale": "none"})
    assert understood.classes == ("x", "y", "z")


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        ("[ 3, 32, 32 ]", "[ 3, 64, 64 ]", "is float32 [?, 3, 64, 64], the model that it is float32 [?, 3, 32, 32]"),
        ('"images"', '"pictures"', "config.pbtxt has the input pictures, the model has images"),
        ("data_type: TYPE_FP32 dims: [ 7", "data_type: TYPE_INT64 dims: [ 7", "the output output0 is int64"),
        ("TYPE_FP32 dims: [ 7", "99 dims: [ 7", "the output output0 is 99 [?, 7, 40]"),
        ("TYPE_FP32 dims: [ 7", "-5 dims: [ 7", "the output output0 is -5 [?, 7, 40]"),
        ("onnxruntime", "tensorrt", "config.pbtxt names the backend tensorrt"),
        ("backend:", "backend;", "config.pbtxt cannot be read"),
    ],
)
def test_a_triton_directory_whose_configuration_is_of_another_model_is_refused(
    was: str, now: str, expected: str, tmp_path: Path
) -> None:
    assert expected in why(triton(tmp_path, CONFIG.replace(was, now)), tmp_path)


def test_labels_in_a_file_that_cannot_be_there_are_missed(tmp_path: Path) -> None:
    file = triton(tmp_path, CONFIG.replace("names.txt", "n" * 300))
    with pytest.raises(ConfigError, match="--classes"):
        read(file, "detect", tmp_path / "read", {"scale": "none"}, run=False)


def test_a_model_that_cannot_be_freed_from_its_batch_is_refused(tmp_path: Path) -> None:
    fixed = numpy_helper.from_array(np.ones((1, 7, 40), np.float32), "ones")
    expand = numpy_helper.from_array(np.array([1, 7, 40], np.int64), "shape")
    nodes = [
        helper.make_node("Slice", ["raw", "start", "end", "first"], ["alone"]),
        helper.make_node("Mul", ["alone", "ones"], ["output0"]),
    ]
    numbers = {"start": 0, "end": 1, "first": 0}
    bounds = [numpy_helper.from_array(np.array([number], np.int64), name) for name, number in numbers.items()]
    file = detector(tmp_path / "model.onnx", shape=(1, 3, 32, 32), nodes=nodes, weights=[fixed, expand, *bounds])
    with pytest.raises(ConfigError, match="exported for a batch of 1, and cannot take others"):
        import_model(job(file, "detect", tmp_path, PLAIN))


def test_rows_of_heads_without_suppression_are_compared_whatever_their_order() -> None:
    rows = np.array(
        [[[0, 0, 8, 8, 0.9, 1], [4, 4, 9, 9, 0.9, 0], [0, 0, 1, 1, 0.1, 0], [0, 0, 2, 2, 0.1, 1]]], np.float32
    )
    other = rows[:, [1, 0, 3, 2]] + np.array([0.25, 0, 0, 0, 0.125, 0], np.float32)
    errors = largest_errors(
        lambda _: (rows,), lambda _: (other,), [generated_images(1, (8, 8))], decoder=YOLO_END_TO_END
    )
    assert errors == pytest.approx((0.25, 0.125))
