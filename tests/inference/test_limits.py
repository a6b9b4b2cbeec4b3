"""How much predictions hold at once."""

import asyncio
import random
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from bloomery.inference.v1 import PredictRequest
from bloomery_inference import outputs
from bloomery_inference.budget import Budget
from bloomery_inference.loading import LoadedModels
from bloomery_inference.predictor import Predictor
from bloomery_inference.question import Stopwatch
from bloomery_kit.errors import ResourceExhausted
from tests import databases
from tests.inference.asking import V1, recorded
from tests.inference.conftest import Service
from tests.inference.models import one_box, write_model
from tests.inference.samples import trained, with_facts, with_variant
from tests.inference.test_predict import white

if TYPE_CHECKING:
    import grpc

DATABASES = databases.SQLITE


async def test_no_more_bytes_wait_than_are_allowed_but_one_large_image_is_taken() -> None:
    models = cast("LoadedModels", None)
    predictor = Predictor(models, running=1, waiting=100, waiting_bytes=10, decoding_bytes=1)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def hold(size: int) -> None:
        async with predictor._slot(Stopwatch(), size):
            entered.set()
            await leave.wait()

    holding = asyncio.create_task(hold(25))
    await entered.wait()
    with pytest.raises(ResourceExhausted) as refused:
        await hold(1)
    assert refused.value.reason == "TOO_MANY_PREDICTIONS"
    leave.set()
    await holding
    await hold(10)


async def test_a_budget_is_kept_by_all_and_what_is_larger_goes_alone_in_its_turn() -> None:
    budget, held, order = Budget(10), [0], list[int]()
    sizes = [random.Random(seed).choice([1, 3, 10, 25]) for seed in range(200)]

    async def hold(number: int, size: int) -> None:
        async with budget.hold(size):
            order.append(number)
            held[0] += size
            assert held[0] <= 10 or held[0] == size
            await asyncio.sleep(0)
            held[0] -= size

    await asyncio.gather(*(hold(number, size) for number, size in enumerate(sizes)))
    assert order == list(range(200))


async def test_who_gives_up_waiting_or_fails_leaves_the_budget_to_others() -> None:
    budget = Budget(10)
    with pytest.raises(ValueError, match="odd"):
        async with budget.hold(10):
            waiting = asyncio.create_task(_enter(budget))
            await asyncio.sleep(0)
            waiting.cancel()
            raise ValueError("odd")
    async with asyncio.timeout(20), budget.hold(10):
        pass


async def _enter(budget: Budget) -> None:
    async with budget.hold(10):
        pytest.fail("it was cancelled")


class TestShortOfMemory:
    @pytest.fixture
    def limits(self) -> dict[str, int]:
        return {"running_predictions": 4, "decoding_bytes": 1}

    async def test_images_are_decoded_one_after_another(
        self, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory = write_model(tmp_path / "model", one_box(16, 16, 8, 4, [0.2, 0.8]), side=32)
        service.trainer.feed.append(await with_variant(with_facts(trained(1)), service.objects, directory))
        await recorded(service)
        alone, decode = threading.Lock(), outputs.decode_image

        def decode_alone(image: bytes) -> NDArray[np.uint8]:
            assert alone.acquire(blocking=False), "another image is being decoded"
            try:
                return decode(image)
            finally:
                alone.release()

        monkeypatch.setattr(outputs, "decode_image", decode_alone)
        request = PredictRequest(model_version=V1, image=white(2048, 1024))
        answers = await asyncio.gather(*(service.predictions.Predict(request) for _ in range(4)))
        assert [len(answer.shapes) for answer in answers] == [1] * 4


class TestOneAtATime:
    @pytest.fixture
    def database_url(self, tmp_path: Path) -> str:
        return f"sqlite+aiosqlite:///{tmp_path}/inference.db"

    @pytest.fixture
    def limits(self) -> dict[str, int]:
        return {"running_predictions": 1}

    async def test_who_is_called_off_keeps_its_place_until_its_thread_has_ended(
        self, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory = write_model(tmp_path / "model", one_box(16, 16, 8, 4, [0.2, 0.8]), side=32)
        service.trainer.feed.append(await with_variant(with_facts(trained(1)), service.objects, directory))
        await recorded(service)
        entered, leave, decode = threading.Event(), threading.Event(), outputs.decode_image

        def decode_slowly(image: bytes) -> NDArray[np.uint8]:
            entered.set()
            assert leave.wait(60)
            return decode(image)

        monkeypatch.setattr(outputs, "decode_image", decode_slowly)
        servicer = service.app._predictions
        slots = servicer._predictor._slots
        request = PredictRequest(model_version=V1, image=white(64, 64))
        predicting = asyncio.create_task(servicer.Predict(request, cast("grpc.aio.ServicerContext[Any, Any]", None)))
        assert await asyncio.to_thread(entered.wait, 60)
        predicting.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        assert slots.locked()
        leave.set()
        with pytest.raises(asyncio.CancelledError):
            await predicting
        assert not slots.locked()
