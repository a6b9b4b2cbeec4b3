"""A replica beside a real Triton: it has what its plan says, or tells why not, and what served goes on."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from bloomery_inference.agent.model import Plan
from bloomery_inference.runtime import LocalRuntime, TritonRuntime, _triton
from bloomery_inference.serving.model import LoadedModel, LoadState
from bloomery_kit.errors import Unavailable
from real_parts.triton import TritonServer
from tests.inference.agents import SIDE, Site, good_model, other_model, running_site, with_digest
from tests.inference.models import one_box, write_failing_model, write_model

READY, FAILED, LOADING = LoadState.READY, LoadState.FAILED, LoadState.LOADING


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A replica whose runtime is in this process: what is told here is the same in each."""
    async with running_site(tmp_path, LocalRuntime(1)) as site:
        yield site


@pytest.fixture
async def beside_triton(tmp_path: Path, triton: TritonServer) -> AsyncIterator[Site]:
    async with running_site(tmp_path, TritonRuntime(triton.grpc_url, triton.repository)) as site:
        yield site


async def test_what_is_planned_is_loaded_and_what_left_the_plan_is_freed(site: Site, tmp_path: Path) -> None:
    first, second = [await site.blobs.planned(good_model(tmp_path)) for _ in range(2)]
    told = await site.apply(1, first)
    assert site.states() == {first.uid: READY}
    assert told[first.uid].load_ms >= 0
    await site.apply(2, second)
    assert site.states() == {second.uid: READY}
    assert await site.runtime.loaded() == {second.uid}
    assert site.folders() == {second.uid}
    report = site.replica.report()
    assert report.observed_generation == 2
    site.replica.check_ready()
    await site.apply(3)
    assert site.folders() == set()


async def test_a_triton_server_has_what_is_planned_and_nothing_of_it_stays(
    beside_triton: Site, tmp_path: Path, triton: TritonServer
) -> None:
    site = beside_triton
    first, second = [await site.blobs.planned(good_model(tmp_path)) for _ in range(2)]
    await site.apply(1, first)
    broken = await site.blobs.planned(other_model(tmp_path, b"no model"))
    told = await site.apply(2, second, broken)
    assert site.states() == {second.uid: READY, broken.uid: FAILED}
    assert "Protobuf parsing failed" in told[broken.uid].reason
    assert await site.runtime.loaded() == {second.uid}
    assert [path.name for path in triton.repository.iterdir()] == [second.uid]
    await site.apply(3)
    assert list(triton.repository.iterdir()) == []


async def test_what_the_runtime_refuses_is_told_in_its_words_and_the_old_one_goes_on(
    site: Site, tmp_path: Path
) -> None:
    serving = await site.blobs.planned(good_model(tmp_path))
    whole = (good_model(tmp_path) / "1" / "model.onnx").read_bytes()
    broken = await site.blobs.planned(other_model(tmp_path, b"no model"))
    cut = await site.blobs.planned(other_model(tmp_path, whole[: len(whole) // 2]))
    failing = await site.blobs.planned(write_failing_model(tmp_path / "failing", side=SIDE))
    wrong = await site.blobs.planned(write_model(tmp_path / "wrong", one_box(1, 1, 1, 1, [0.1, 0.2, 0.3]), side=SIDE))
    endless = await site.blobs.planned(write_model(tmp_path / "nan", one_box(np.nan, 1, 1, 1, [0.1, 0.2]), side=SIDE))
    await site.apply(1, serving)
    told = await site.apply(2, serving, broken, cut, failing, wrong, endless)
    assert "Protobuf parsing failed" in told[broken.uid].reason
    assert "cannot be loaded" in told[cut.uid].reason
    assert "reshape" in told[failing.uid].reason.lower()
    assert "a model of 2 classes gives 6 numbers for each of its anchors, not 7" in told[wrong.uid].reason
    assert "the model answers with NaN or infinity" in told[endless.uid].reason
    failed = {model.uid for model in (broken, cut, failing, wrong, endless)}
    assert site.states() == {serving.uid: READY} | dict.fromkeys(failed, FAILED)
    assert await site.runtime.loaded() == {serving.uid}
    assert site.replica.report().observed_generation == 2
    site.replica.check_ready()


async def test_bytes_that_are_not_what_was_recorded_are_never_loaded(site: Site, tmp_path: Path) -> None:
    serving, other, longer = [await site.blobs.planned(good_model(tmp_path)) for _ in range(3)]
    await site.blobs.damage(longer, b"x" * 100_000)
    told = await site.apply(1, serving, with_digest(other, f"sha256:{'0' * 64}"), longer)
    assert (told[other.uid].state, told[longer.uid].state, told[serving.uid].state) == (FAILED, FAILED, READY)
    assert "1/model.onnx is not what was recorded" in told[other.uid].reason
    assert "bytes came" in told[longer.uid].reason
    assert site.folders() == {serving.uid}


async def test_what_was_wrong_on_its_way_is_fetched_again(site: Site, tmp_path: Path) -> None:
    model = await site.blobs.planned(good_model(tmp_path))
    whole = await site.blobs.objects.get(f"models/{model.uid}/1/model.onnx")
    await site.blobs.damage(model, b"x" * len(whole))
    await site.apply(1, model)
    assert site.states() == {model.uid: FAILED}
    await site.blobs.damage(model, whole)
    await site.work()
    assert site.states() == {model.uid: FAILED}
    site.clock.now += 40
    await site.work()
    assert site.states() == {model.uid: READY}


async def test_an_object_store_that_is_away_is_waited_for_and_told(site: Site, tmp_path: Path) -> None:
    serving, new = [await site.blobs.planned(good_model(tmp_path)) for _ in range(2)]
    await site.apply(1, serving)
    await site.blobs.stop()
    told = await site.apply(2, new)
    assert site.states() == {serving.uid: READY, new.uid: LOADING}
    assert "the object store does not give" in told[new.uid].reason
    assert await site.runtime.loaded() == {serving.uid}
    assert site.replica.report().observed_generation == 1
    await site.blobs.start()
    site.clock.now += 1.5
    await site.work()
    assert site.states() == {new.uid: READY}
    assert site.replica.report().observed_generation == 2


async def test_a_model_whose_objects_are_gone_goes_on_and_a_new_replica_says_so(site: Site, tmp_path: Path) -> None:
    model = await site.blobs.planned(good_model(tmp_path))
    await site.apply(1, model)
    await site.blobs.lose(model)
    site.clock.now += 60
    await site.work()
    assert site.states() == {model.uid: READY}
    anew = Site(site.blobs, LocalRuntime(1), tmp_path / "anew")
    told = await anew.apply(1, model)
    assert anew.states() == {model.uid: FAILED}
    assert "deleted from the object store" in told[model.uid].reason
    await anew.close()


async def test_a_plan_that_changes_during_a_load_is_taken_up_after_the_present_model(
    site: Site, tmp_path: Path
) -> None:
    first, skipped, wanted = [await site.blobs.planned(good_model(tmp_path)) for _ in range(3)]
    site.replica.want(Plan(1, (first, skipped)))
    working = asyncio.create_task(site.replica.work())
    assert await site.replica.changed.wait(5)
    site.replica.want(Plan(2, (wanted,)))
    await working
    assert site.states() == {first.uid: READY}
    async with asyncio.timeout(20):
        await site.replica.pause()
    await site.work()
    assert site.states() == {wanted.uid: READY}
    assert site.folders() == {wanted.uid}


async def test_models_that_the_runtime_lost_are_loaded_again_in_another_incarnation(site: Site, tmp_path: Path) -> None:
    models = [await site.blobs.planned(good_model(tmp_path)) for _ in range(2)]
    site.replica.want(Plan(1, tuple(models)))
    await site.replica.work()
    before = site.replica.report().incarnation
    assert site.replica.report().sequence == 2
    # As after a restart of the runtime: it has forgotten everything.
    for model in models:
        await site.runtime.unload(model.uid)
    await site.replica.work()
    assert site.replica.report().sequence == 1
    assert site.replica.report().incarnation != before
    assert site.states() == dict.fromkeys((model.uid for model in models), READY)
    assert await site.runtime.loaded() == {model.uid for model in models}


async def test_a_model_that_stopped_to_answer_is_loaded_anew(beside_triton: Site, tmp_path: Path) -> None:
    site = beside_triton
    model, other = [await site.blobs.planned(good_model(tmp_path)) for _ in range(2)]
    await site.apply(1, model, other)
    for stub in processes(model.uid):
        stub.kill()
    site.clock.now += 10
    before = site.replica.report().incarnation
    seen = []
    working = asyncio.create_task(site.replica.work())
    while not working.done():
        seen.append(site.told()[model.uid])
        await asyncio.sleep(0.01)
    await working
    assert any(told.state is LOADING and "not healthy" in told.reason for told in seen)
    assert site.states() == {model.uid: READY, other.uid: READY}
    assert site.replica.report().incarnation == before
    answer = await site.runtime.infer(model.uid, np.full((1, SIDE, SIDE, 3), 255, np.uint8))
    assert answer["output0"].shape == (1, 6, 2)


async def test_a_triton_server_that_hangs_has_nothing_ready_until_it_goes_on(
    beside_triton: Site, tmp_path: Path, triton: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = beside_triton
    model = await site.blobs.planned(good_model(tmp_path))
    await site.apply(1, model)
    monkeypatch.setattr(_triton, "_ANSWER_SECONDS", 0.5)
    servers = processes(f"--model-repository={triton.repository}")
    for server in servers:
        server.suspend()
    # On a busy machine it goes on for a moment.
    while any(server.status() != psutil.STATUS_STOPPED for server in servers):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    try:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await site.replica.work()
        assert site.states() == {model.uid: LOADING}
    finally:
        for server in servers:
            server.resume()
    monkeypatch.undo()
    await site.work()
    assert site.states() == {model.uid: READY}


def processes(text: str) -> list[psutil.Process]:
    """The processes whose command has a text in it, such as the uid of the model that they run."""
    return [each for each in psutil.process_iter(["cmdline"]) if text in " ".join(each.info["cmdline"] or [])]


async def test_a_full_disk_is_a_reason_and_leaves_nothing_half(tmp_path: Path, small_disk: Path) -> None:
    async with running_site(tmp_path, LocalRuntime(1), small_disk / "staged") as site:
        serving, new = [await site.blobs.planned(good_model(tmp_path)) for _ in range(2)]
        large = await site.blobs.planned(other_model(tmp_path, b"x" * (16 << 20)))
        await site.apply(1, serving)
        told = await site.apply(2, serving, large)
        assert told[large.uid].state is FAILED
        assert f"no room for the model: it takes {large.size_bytes} bytes" in told[large.uid].reason
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as stream:
            while True:
                try:
                    stream.write(b"x" * 4096)
                except OSError:
                    break
        told = await site.apply(3, serving, new)
        assert site.states() == {serving.uid: READY, new.uid: FAILED}
        assert "no room" in told[new.uid].reason
        assert [path.name for path in site.staged.iterdir()] == [serving.uid]
        filler.unlink()
        site.clock.now += 40
        await site.work()
        assert site.states() == {serving.uid: READY, new.uid: READY}


async def test_a_runtime_that_does_not_answer_has_nothing_ready(site: Site, tmp_path: Path) -> None:
    model = await site.blobs.planned(good_model(tmp_path))
    with pytest.raises(Unavailable, match="no plan is applied yet"):
        site.replica.check_ready()
    await site.apply(1, model)
    nowhere = Site(site.blobs, TritonRuntime("127.0.0.1:1", tmp_path), tmp_path / "elsewhere")
    nowhere.replica.want(Plan(1, (model,)))
    with pytest.raises(Unavailable, match="cannot be reached"):
        await nowhere.replica.work()
    with pytest.raises(Unavailable, match="cannot be reached"):
        nowhere.replica.check_ready()
    waiting = LoadedModel(model.uid, LOADING, "the Triton server cannot be reached")
    assert nowhere.told() == {model.uid: waiting}
    await nowhere.runtime.close()
