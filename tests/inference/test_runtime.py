"""One suite for all runtimes: ONNX Runtime and OpenVINO in process, and a real Triton."""

import asyncio
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from packaging.requirements import Requirement
from tritonclient.grpc.service_pb2 import RepositoryIndexResponse
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from bloomery_inference.runtime import (
    InputRefused,
    LocalRuntime,
    ModelLoadError,
    ModelRuntime,
    NotLoaded,
    TritonRuntime,
    _onnx,
    _triton,
    open_runtime,
)
from bloomery_inference.runtime._openvino import OpenVinoModel
from bloomery_inference.settings import OnnxSettings, TritonSettings
from bloomery_kit.errors import Internal, Unavailable
from real_parts.triton import TritonServer
from tests.inference.models import Folder, one_box, to_openvino, write_failing_model, write_model

SIDE = 32


@pytest.fixture(params=["onnxruntime", "openvino", pytest.param("triton", marks=pytest.mark.real_server("triton"))])
async def runtime(request: pytest.FixtureRequest) -> AsyncIterator[ModelRuntime]:
    opened: ModelRuntime
    if request.param != "triton":
        opened = open_runtime(OnnxSettings(threads=1))
    else:
        triton = request.getfixturevalue("triton")
        opened = open_runtime(TritonSettings(target=triton.grpc_url, repository=triton.repository))
    yield opened
    for name in await opened.loaded():
        await opened.unload(name)
    await opened.close()


@pytest.fixture
def directory(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    written = write_model(tmp_path / "model", one_box(16, 16, 8, 4, [0.9, 0.1]), side=SIDE)
    return as_wanted(written, request)


def as_wanted(directory: Path, request: pytest.FixtureRequest) -> Path:
    """A model's directory as the runtime under test takes it."""
    callspec = getattr(request.node, "callspec", None)
    if callspec and callspec.params.get("runtime") == "openvino":
        to_openvino(directory)
    return directory


def file_of(directory: Path) -> Path:
    """The file that a runtime opens."""
    (found,) = (path for path in (directory / "1").iterdir() if path.suffix in (".onnx", ".xml"))
    return found


async def test_a_loaded_model_answers_a_batch_image_by_image(runtime: ModelRuntime, directory: Path) -> None:
    await runtime.load("seen", Folder(directory))
    images = np.zeros((3, SIDE, SIDE, 3), dtype=np.uint8)
    images[1] = 255
    outputs = await runtime.infer("seen", images)
    assert outputs["output0"].dtype == np.float32
    assert outputs["output0"].shape == (3, 6, 2)
    np.testing.assert_allclose(outputs["output0"][1, :, 0], [16, 16, 8, 4, 0.9, 0.1], rtol=1e-5)
    assert not outputs["output0"][[0, 2]].any()


def threads_of(runtime: ModelRuntime, together: int) -> int:
    """Those of the session that runs a prediction of so many."""
    run = runtime.runner("seen", together)
    assert isinstance(run, partial)
    threads: int = run.args[1].get_session_options().intra_op_num_threads
    return threads


async def test_a_run_has_the_threads_of_the_settings_until_each_core_has_a_run(directory: Path) -> None:
    opened = open_runtime(OnnxSettings(threads=5))
    await opened.load("seen", Folder(directory))
    assert [threads_of(opened, together) for together in (1, 4, 5, 70)] == [5, 5, 1, 1]
    await opened.close()


async def test_a_large_model_is_in_memory_once(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_onnx, "_TWICE_BYTES", file_of(directory).stat().st_size - 1)
    runtime = LocalRuntime(5)
    await runtime.load("seen", Folder(directory))
    assert [threads_of(runtime, together) for together in (1, 5)] == [5, 5]


async def test_both_sessions_of_a_model_answer_alike(directory: Path) -> None:
    runtime = LocalRuntime(2)
    await runtime.load("seen", Folder(directory))
    alone, among_others = (runtime.runner("seen", together) for together in (1, 2))
    assert alone
    assert among_others
    images = np.full((1, SIDE, SIDE, 3), 255, dtype=np.uint8)
    np.testing.assert_array_equal(alone(images)["output0"], among_others(images)["output0"])


def test_without_a_setting_as_much_is_computed_at_once_as_the_affinity_mask_allows() -> None:
    asked = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from bloomery_inference.settings import InferenceSettings, OnnxSettings
running = InferenceSettings.model_fields["running_predictions"]
print(OnnxSettings().threads, running.get_default(call_default_factory=True))
"""
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["1", "1"]


async def test_loading_and_unloading_twice_changes_nothing(runtime: ModelRuntime, directory: Path) -> None:
    await runtime.load("twice", Folder(directory))
    await runtime.load("twice", Folder(directory))
    assert await runtime.loaded() == {"twice"}
    await runtime.unload("twice")
    await runtime.unload("twice")
    assert await runtime.loaded() == frozenset()


async def test_a_model_that_is_not_loaded_says_so(runtime: ModelRuntime, directory: Path) -> None:
    with pytest.raises(NotLoaded):
        await runtime.infer("absent", np.zeros((1, SIDE, SIDE, 3), dtype=np.uint8))


async def test_a_damaged_model_is_refused_with_the_runtimes_reason(runtime: ModelRuntime, directory: Path) -> None:
    model = file_of(directory)
    model.write_bytes(model.read_bytes()[:40])
    with pytest.raises(ModelLoadError, match=r"(?s)damaged cannot be loaded: .*(PROTOBUF|failed|Unable to read)"):
        await runtime.load("damaged", Folder(directory))
    assert "damaged" not in await runtime.loaded()


async def test_a_repaired_model_loads_where_a_damaged_one_did_not(runtime: ModelRuntime, directory: Path) -> None:
    model = file_of(directory)
    whole = model.read_bytes()
    model.write_bytes(whole[:40])
    with pytest.raises(ModelLoadError):
        await runtime.load("repaired", Folder(directory))
    model.write_bytes(whole)
    await runtime.load("repaired", Folder(directory))
    assert (await runtime.infer("repaired", np.zeros((1, SIDE, SIDE, 3), dtype=np.uint8)))["output0"].shape[0] == 1


async def test_images_of_a_wrong_size_are_refused_with_the_runtimes_reason(
    runtime: ModelRuntime, directory: Path
) -> None:
    await runtime.load("fixed", Folder(directory))
    with pytest.raises(InputRefused, match=rf"{SIDE + 8}"):
        await runtime.infer("fixed", np.zeros((1, SIDE + 8, SIDE, 3), dtype=np.uint8))


async def test_a_model_that_fails_on_an_image_says_why(
    runtime: ModelRuntime, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    await runtime.load("failing", Folder(as_wanted(write_failing_model(tmp_path / "failing", side=SIDE), request)))
    with pytest.raises(Internal, match=r"(?s)model failing failed: .*([Rr]eshape|outputs of shape)") as failed:
        await runtime.infer("failing", np.zeros((1, SIDE, SIDE, 3), dtype=np.uint8))
    assert failed.value.reason == "MODEL_FAILED"


async def test_a_load_that_failed_leaves_nothing_in_tritons_repository(triton: TritonServer, directory: Path) -> None:
    runtime = TritonRuntime(triton.grpc_url, triton.repository)
    (directory / "1" / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(ModelLoadError):
        await runtime.load("left", Folder(directory))
    assert not list(triton.repository.glob("*left*"))
    await runtime.close()


async def test_what_a_crash_has_left_of_a_model_in_tritons_repository_is_replaced(
    triton: TritonServer, directory: Path
) -> None:
    runtime = TritonRuntime(triton.grpc_url, triton.repository)
    shutil.copytree(directory, triton.repository / "crashed")
    (triton.repository / "crashed" / "1" / "model.onnx").write_bytes(b"damaged")
    await runtime.load("crashed", Folder(directory))
    assert "crashed" in await runtime.loaded()
    await runtime.unload("crashed")
    await runtime.close()


async def test_a_model_that_somebody_else_unloaded_from_triton_is_not_loaded(
    triton: TritonServer, directory: Path
) -> None:
    runtime = TritonRuntime(triton.grpc_url, triton.repository)
    await runtime.load("taken", Folder(directory))
    await runtime._client.unload_model("taken")
    with pytest.raises(NotLoaded):
        await runtime.infer("taken", np.zeros((1, SIDE, SIDE, 3), dtype=np.uint8))
    await runtime.unload("taken")
    await runtime.close()


async def test_replicas_that_load_and_unload_one_model_at_once_do_not_take_its_files_from_each_other(
    triton: TritonServer, directory: Path
) -> None:
    replicas = [TritonRuntime(triton.grpc_url, triton.repository) for _ in range(2)]
    for _ in range(3):
        await asyncio.gather(*(replica.load("shared", Folder(directory)) for replica in replicas))
        await asyncio.gather(replicas[0].unload("shared"), replicas[1].load("shared", Folder(directory)))
    await replicas[0].unload("shared")
    await asyncio.gather(*(replica.close() for replica in replicas))


def test_a_model_that_another_replica_has_placed_anew_is_not_removed(tmp_path: Path, directory: Path) -> None:
    folder = tmp_path / "repository"
    seen = _triton._place(directory, folder)
    while (anew := _triton._place(directory, folder)) == seen:
        time.sleep(0.001)
    _triton._remove_own(folder, seen)
    assert folder.is_dir()
    _triton._remove_own(folder, anew)
    assert not folder.exists()


async def test_more_images_than_triton_takes_at_once_are_refused_as_that(triton: TritonServer, directory: Path) -> None:
    runtime = TritonRuntime(triton.grpc_url, triton.repository)
    await runtime.load("batches", Folder(directory))
    with pytest.raises(InputRefused, match="batch-size must be <= 8"):
        await runtime.infer("batches", np.zeros((9, SIDE, SIDE, 3), dtype=np.uint8))
    await runtime.unload("batches")
    await runtime.close()


async def test_a_triton_that_is_not_there_is_unavailable(tmp_path: Path, directory: Path) -> None:
    runtime = TritonRuntime("127.0.0.1:1", tmp_path)
    with pytest.raises(Unavailable):
        await runtime.infer("any", np.zeros((1, SIDE, SIDE, 3), dtype=np.uint8))
    with pytest.raises(Unavailable):
        await runtime.load("any", Folder(directory))
    with pytest.raises(Unavailable):
        await runtime.unload("any")
    await runtime.close()


async def test_a_load_that_hangs_is_given_up_and_its_files_stay(tmp_path: Path, directory: Path) -> None:
    async with hanging_triton() as target:
        runtime = TritonRuntime(target, tmp_path / "repository", load_timeout=0.2)
        with pytest.raises(Unavailable, match=r"has not loaded it within 0\.2 s"):
            await runtime.load("any", Folder(directory))
        await runtime.close()
    assert (tmp_path / "repository/any/config.pbtxt").exists()


@asynccontextmanager
async def hanging_triton() -> AsyncIterator[str]:
    """A server that has no model and never ends loading one."""

    class Hanging(GRPCInferenceServiceServicer):  # type: ignore[misc]
        async def RepositoryIndex(self, request: Any, context: Any) -> RepositoryIndexResponse:
            return RepositoryIndexResponse()

        async def RepositoryModelLoad(self, request: Any, context: Any) -> None:
            await asyncio.Event().wait()

    server = grpc.aio.server()
    add_GRPCInferenceServiceServicer_to_server(Hanging(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_predictions_at_once_do_not_take_each_others_answers(directory: Path) -> None:
    to_openvino(directory)
    runtime = LocalRuntime(threads=1)
    await runtime.load("shared", Folder(directory))
    batches = [np.full((1, SIDE, SIDE, 3), value, dtype=np.uint8) for value in range(0, 256, 5)]
    answers = await asyncio.gather(*(runtime.infer("shared", batch) for batch in batches))
    scores = [float(answer["output0"][0, 4, 0]) for answer in answers]
    np.testing.assert_allclose(scores, [0.9 * value / 255 for value in range(0, 256, 5)], rtol=1e-5)


async def test_openvino_computes_in_single_precision_whatever_the_processor_knows(directory: Path) -> None:
    to_openvino(directory)
    runtime = LocalRuntime(threads=1)
    await runtime.load("exact", Folder(directory))
    model = runtime._models["exact"]
    assert isinstance(model, OpenVinoModel)
    assert model.compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    assert model.compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_no_release_is_permitted_that_passes_over_how_long_threads_spin() -> None:
    """Older ones take the key in silence, and their threads take the cores between predictions."""
    project = tomllib.loads((Path(__file__).parents[2] / "services/inference/pyproject.toml").read_text())["project"]
    declared = map(Requirement, project["dependencies"])
    (permitted,) = (one.specifier for one in declared if one.name == "onnxruntime")
    assert "1.31.0" in permitted
    assert "1.30.9" not in permitted
