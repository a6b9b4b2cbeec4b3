import asyncio

import pytest

from bloomery_kit.tasks import beside


async def forever() -> str:
    await asyncio.Event().wait()
    return "never"


async def end(result: str | Exception) -> str:
    if isinstance(result, Exception):
        raise result
    return result


async def test_the_work_is_what_counts() -> None:
    assert await beside(end("done"), forever()) == "done"
    assert await beside(end("done"), end(KeyError())) == "done"
    with pytest.raises(KeyError):
        await beside(end(KeyError()), forever())


async def test_work_without_its_beat_ends() -> None:
    with pytest.raises(KeyError):
        await beside(forever(), end(KeyError()))


async def test_neither_outlives_the_call() -> None:
    let_go = []

    async def hold(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            let_go.append(name)

    both = asyncio.create_task(beside(hold("work"), hold("beat")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    both.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both
    assert let_go == ["work", "beat"]
