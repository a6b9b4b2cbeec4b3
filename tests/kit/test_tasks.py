import asyncio
import threading

import pytest

from bloomery_kit.tasks import at_once, beside, in_thread


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


@pytest.mark.parametrize("trouble", [OSError("broken"), None])
async def test_what_cannot_be_done_at_once_is_left_to_its_loop(
    monkeypatch: pytest.MonkeyPatch, trouble: OSError | None
) -> None:
    monkeypatch.setattr("bloomery_kit.tasks._AT_ONCE_SECONDS", 0.01)
    begun = False
    async with at_once("test"):
        begun = True
        if trouble is not None:
            raise trouble
        await asyncio.Event().wait()
    assert begun


async def test_who_is_called_off_does_not_go_on() -> None:
    gone_on = False

    async def try_at_once() -> None:
        nonlocal gone_on
        async with at_once("test"):
            await asyncio.Event().wait()
        gone_on = True

    task = asyncio.create_task(try_at_once())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not gone_on


async def test_who_is_called_off_waits_for_the_end_of_its_thread() -> None:
    entered, leave, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        assert leave.wait(60)
        ended.set()

    waiting = asyncio.create_task(in_thread(work))
    assert await asyncio.to_thread(entered.wait, 60)
    waiting.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    leave.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
