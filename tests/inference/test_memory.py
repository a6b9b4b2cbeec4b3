"""The memory that predictions leave behind: none.

BLOOMERY_PREDICTIONS=100000 for more; `make soak` does that.
"""

import os
import re
from collections import Counter
from pathlib import Path

import grpc
import pytest

from bloomery.inference.v1 import PredictRequest
from tests import databases
from tests.inference.asking import V1, recorded
from tests.inference.conftest import Service
from tests.inference.models import one_box, write_model
from tests.inference.samples import trained, with_facts, with_variant
from tests.inference.test_predict import white

PREDICTIONS = int(os.environ.get("BLOOMERY_PREDICTIONS", "5000"))
WARM = 1000
"""Predictions after which pools and caches are full."""
MOST = 16 << 20
"""Bytes more than after these: what allocators keep, and less than one image for each thousand."""

DATABASES = databases.SQLITE


def held() -> int:
    """Bytes of memory that this process holds."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.timeout(900 + PREDICTIONS // 10)
async def test_thousands_of_predictions_some_of_damaged_images_leave_no_memory_behind(
    service: Service, tmp_path: Path
) -> None:
    directory = write_model(tmp_path / "model", one_box(16, 16, 8, 4, [0.2, 0.8]), side=32)
    service.trainer.feed.append(await with_variant(with_facts(trained(1)), service.objects, directory))
    await recorded(service)
    whole = white(96, 64)
    refused: Counter[tuple[bool, grpc.StatusCode]] = Counter()

    async def predict(number: int) -> None:
        damaged = number % 10 == 0
        image = whole[: len(whole) // 2] if damaged else whole
        try:
            answer = await service.predictions.Predict(PredictRequest(model_version=V1, image=image))
            assert [shape.label for shape in answer.shapes] == ["dog"]
        except grpc.aio.AioRpcError as error:
            refused[damaged, error.code()] += 1

    for number in range(WARM):
        await predict(number)
    before = held()
    seen = [before]
    for number in range(WARM, PREDICTIONS):
        await predict(number)
        if number % (PREDICTIONS // 10) == 0:
            seen.append(held())
    seen.append(held())
    print(f"{PREDICTIONS} predictions, of memory {', '.join(str(one >> 20) for one in seen)} MiB")
    assert seen[-1] - before < MOST
    assert refused == {(True, grpc.StatusCode.INVALID_ARGUMENT): len(range(0, PREDICTIONS, 10))}
