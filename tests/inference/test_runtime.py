"""One suite for both runtimes: ONNX Runtime in process, and a real Triton."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from bloomery_inference.runtime import ModelLoadError, ModelRuntime, OnnxRuntime, TritonRuntime
from tests.inference.models import one_box, write_model

SIDE = 32


@pytest.fixture(params=["onnxruntime", "triton"])
async def runtime(request: pytest.FixtureRequest) -> AsyncIterator[ModelRuntime]:
    opened: ModelRuntime
    if request.param == "onnxruntime":
        opened = OnnxRuntime(threads=1)
    else:
        triton = request.getfixturevalue("triton")
        opened = TritonRuntime(triton.grpc_url, triton.repository)
    yield opened
    for name in await opened.loaded():
        await opened.unload(name)
    await opened.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", one_box(16, 16, 8, 4, [0.9, 0.1]), side=SIDE)


async def test_a_loaded_model_answers_a_batch_image_by_image(runtime: ModelRuntime, directory: Path) -> None:
    await runtime.load("seen", directory)
    images = np.zeros((3, SIDE, SIDE, 3), dtype=np.uint8)
    images[1] = 255
    outputs = await runtime.infer("seen", images)
    assert outputs["output0"].dtype == np.float32
    assert outputs["output0"].shape == (3, 6, 2)
    np.testing.assert_allclose(outputs["output0"][1, :, 0], [16, 16, 8, 4, 0.9, 0.1], rtol=1e-5)
    assert not outputs["output0"][[0, 2]].any()


async def test_loading_and_unloading_twice_changes_nothing(runtime: ModelRuntime, directory: Path) -> None:
    await runtime.load("twice", directory)
    await runtime.load("twice", directory)
    assert await runtime.loaded() == {"twice"}
    await runtime.unload("twice")
    await runtime.unload("twice")
    assert await runtime.loaded() == frozenset()


async def test_a_model_that_is_not_loaded_is_a_key_error(runtime: ModelRuntime) -> None:
    with pytest.raises(KeyError):
        await runtime.infer("absent", np.zeros((1, SIDE, SIDE, 3), dtype=np.uint8))


async def test_a_damaged_model_is_refused_with_the_runtimes_reason(runtime: ModelRuntime, directory: Path) -> None:
    model = directory / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:40])
    with pytest.raises(ModelLoadError, match=r"damaged cannot be loaded: .*(INVALID_PROTOBUF|failed)"):
        await runtime.load("damaged", directory)
    assert "damaged" not in await runtime.loaded()
