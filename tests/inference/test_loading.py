"""Which models are loaded when, with a runtime that takes its time and forgets."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from bloomery_inference.files import ModelCache
from bloomery_inference.loading import LoadedModels
from bloomery_inference.model import VariantResult
from bloomery_inference.runtime import ModelFiles, NotLoaded, Tensors
from bloomery_kit.errors import Unavailable
from bloomery_kit.objects import FolderObjectStore

if TYPE_CHECKING:
    from bloomery_inference.model import Variant

IMAGES = np.zeros((1, 8, 8, 3), dtype=np.uint8)


class SlowRuntime:
    """Loads and unloads in several turns of the event loop, as a server on the network does."""

    formats = frozenset({"onnx"})

    def __init__(self) -> None:
        self.models: set[str] = set()
        self.loads: list[str] = []
        self.refuses_to_unload = False

    async def load(self, name: str, files: ModelFiles) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        self.loads.append(name)
        self.models.add(name)

    async def infer(self, name: str, images: NDArray[np.uint8]) -> Tensors:
        await asyncio.sleep(0)
        if name not in self.models:
            raise NotLoaded(name)
        return {"name": np.array([ord(name[0])], dtype=np.float32)}

    def runner(self, name: str, together: int) -> None:
        """It has no threads of its own."""

    async def unload(self, name: str) -> None:
        # Gone at the end only: a server answers a while longer.
        for _ in range(5):
            await asyncio.sleep(0)
        if self.refuses_to_unload:
            raise Unavailable("AWAY", "not now")
        self.models.discard(name)

    async def loaded(self) -> frozenset[str]:
        return frozenset(self.models)

    async def close(self) -> None:
        self.models.clear()


def variant(uid: str) -> "Variant":
    class Named:
        result = VariantResult()

        def __init__(self, uid: str) -> None:
            self.uid = uid

    return cast("Variant", Named(uid))


@pytest.fixture
def runtime() -> SlowRuntime:
    return SlowRuntime()


@pytest.fixture
def models(runtime: SlowRuntime, tmp_path: Path) -> LoadedModels:
    store = FolderObjectStore(tmp_path / "blobs", base_url="http://127.0.0.1:1", signing_key=b"k" * 32)
    return LoadedModels(ModelCache(store, tmp_path / "cache", limit=0), runtime, limit=1)


async def ask(models: LoadedModels, uid: str) -> str:
    one = variant(uid)
    async with models.use(one):
        return chr(int((await models.infer(one, IMAGES))["name"][0]))


async def test_models_that_push_each_other_out_all_answer(models: LoadedModels, runtime: SlowRuntime) -> None:
    for _ in range(20):
        answers = await asyncio.gather(*(ask(models, uid) for uid in ("a", "b", "c", "a", "b", "c")))
        assert answers == ["a", "b", "c", "a", "b", "c"]
    assert len(runtime.models) <= 3


async def test_a_model_that_was_asked_for_while_it_was_unloaded_is_loaded_again(
    models: LoadedModels, runtime: SlowRuntime
) -> None:
    await ask(models, "a")
    other = asyncio.create_task(ask(models, "b"))
    for turns in range(12):
        for _ in range(turns):
            await asyncio.sleep(0)
        assert await ask(models, "a") == "a"
    assert await other == "b"


async def test_a_model_that_the_runtime_has_lost_is_loaded_once_more(
    models: LoadedModels, runtime: SlowRuntime
) -> None:
    one = variant("a")
    async with models.use(one):
        runtime.models.clear()
        assert await models.infer(one, IMAGES)
    assert runtime.loads == ["a", "a"]


async def test_a_model_that_stays_lost_is_told(models: LoadedModels, runtime: SlowRuntime) -> None:
    one = variant("a")
    async with models.use(one):
        runtime.infer = lost  # type: ignore[method-assign]
        with pytest.raises(NotLoaded):
            await models.infer(one, IMAGES)
    assert runtime.loads == ["a", "a"]


async def test_a_model_that_cannot_be_unloaded_is_nobody_elses_trouble_and_is_tried_again(
    models: LoadedModels, runtime: SlowRuntime
) -> None:
    await ask(models, "a")
    runtime.refuses_to_unload = True
    assert await ask(models, "b") == "b"
    runtime.refuses_to_unload = False
    assert await ask(models, "c") == "c"
    assert runtime.models == {"c"}


async def test_a_model_that_came_into_use_while_another_one_left_stays(
    models: LoadedModels, runtime: SlowRuntime
) -> None:
    runtime.refuses_to_unload = True
    await ask(models, "a")
    await ask(models, "b")
    runtime.refuses_to_unload = False
    # Two are to leave for it, one after the other.
    other = asyncio.create_task(ask(models, "c"))
    while "c" not in runtime.loads:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    one = variant("b")
    async with models.use(one):
        await other
        await models.infer(one, IMAGES)
    assert runtime.loads == ["a", "b", "c"]


async def test_what_an_earlier_process_has_loaded_counts_and_leaves_first(
    models: LoadedModels, runtime: SlowRuntime
) -> None:
    left, foreign = "f" * 32, "somebody's"
    runtime.models |= {left, foreign}
    assert await ask(models, "a") == "a"
    assert runtime.models == {"a", foreign}


async def test_models_that_are_held_take_no_others_place_and_leave_at_once(
    models: LoadedModels, runtime: SlowRuntime
) -> None:
    for name in "ab":
        await models.hold(variant(name))
    for _ in range(2):
        assert await ask(models, "c") == "c"
    assert runtime.loads == ["a", "b", "c"]
    await models.let_go("a")
    assert runtime.models == {"b", "c"}
    async with models.use(variant("b")):
        await models.let_go("b")
        assert "b" in runtime.models


async def lost(name: str, images: NDArray[np.uint8]) -> Tensors:
    raise NotLoaded(name)
