"""What a step takes, and how many images fit."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bloomery_worker import memory
from bloomery_worker.failures import GpuMemoryError, HostMemoryError, batch_hint, classify
from bloomery_worker.memory import DeviceMemory, NoRoomError, Rehearsal, Step, largest_batch, rehearse, sizes

MIB = 1 << 20
BASE, IMAGE = 500 * MIB, 100 * MIB


def device(limit: int, *, gpu: bool = False) -> DeviceMemory:
    found = DeviceMemory("cpu", host_bytes=limit)
    found.device = "cuda" if gpu else "cpu"
    return found


def steps_of(tried: list[int], *, room: int = 1 << 50, seconds: float = 0.1) -> Callable[[int], Step]:
    """A device on which memory and time grow with the images; a step beyond `room` fails."""

    def measure(batch: int) -> Step:
        tried.append(batch)
        if BASE + IMAGE * batch > room:
            raise NoRoomError
        return Step(batch, BASE + IMAGE * batch, seconds * batch)

    return measure


@pytest.mark.parametrize(
    ("batch", "tried"),
    [(1, [1]), (2, [2]), (3, [2, 3]), (4, [2, 3, 4]), (16, [2, 4, 16]), (64, [2, 16, 64]), (999, [2, 16, 999])],
)
def test_a_few_small_steps_come_before_the_job_s_own(batch: int, tried: list[int]) -> None:
    assert sizes(batch) == tried


def test_the_largest_batch_leaves_headroom() -> None:
    done = rehearse(steps_of([]), 16, device(5_000 * MIB))
    assert done == Rehearsal(Step(16, BASE + 16 * IMAGE, 1.6), 40)


def test_a_batch_that_has_run_fits_whatever_the_estimate() -> None:
    assert rehearse(steps_of([]), 16, device(2_150 * MIB)).largest_batch == 16


def test_a_single_step_does_not_tell_how_many_fit() -> None:
    assert rehearse(steps_of([]), 1, device(5_000 * MIB)).largest_batch == 0


def test_memory_that_does_not_grow_tells_nothing() -> None:
    assert largest_batch([Step(2, BASE, 1), Step(4, BASE, 1)], 5_000 * MIB) == 0


def test_a_step_that_would_take_too_long_is_estimated() -> None:
    tried: list[int] = []
    done = rehearse(steps_of(tried), 16, device(5_000 * MIB), seconds=1.0)
    assert tried == [2, 4, 4, 4, 4]
    assert done == Rehearsal(Step(16, BASE + 16 * IMAGE, 1.6), 40)


def test_the_first_step_of_a_size_does_not_tell_the_time() -> None:
    tried: list[int] = []
    warm = steps_of(tried)

    def cold_first(batch: int) -> Step:
        first = batch not in tried
        step = warm(batch)
        return Step(batch, step.peak_bytes, 50 * step.seconds) if first else step

    assert rehearse(cold_first, 16, device(5_000 * MIB)).step.seconds == pytest.approx(1.6)
    assert tried == [2, 4, 16, 16]


def test_a_burst_of_other_work_does_not_tell_the_time() -> None:
    tried: list[int] = []
    calm = steps_of(tried, seconds=0.01)

    def disturbed(batch: int) -> Step:
        step = calm(batch)
        return Step(batch, step.peak_bytes, (4 if len(tried) % 2 else 1) * step.seconds)

    assert rehearse(disturbed, 16, device(5_000 * MIB)).step.seconds == pytest.approx(0.16)
    assert tried == [2, 4, 16, 16, 16, 16]


def test_a_step_that_would_not_fit_is_not_made() -> None:
    tried: list[int] = []
    with pytest.raises(HostMemoryError, match=r"16 images does not fit.*machine has 2\.0 GiB") as refused:
        rehearse(steps_of(tried), 16, device(2_000 * MIB))
    assert tried == [2, 4]
    assert "a batch of at most 13" in refused.value.hint


def test_a_batch_that_is_far_too_large_is_refused_before_a_part_of_it_fills_the_machine() -> None:
    tried: list[int] = []
    with pytest.raises(HostMemoryError) as refused:
        rehearse(steps_of(tried, room=10_000 * MIB), 1024, device(10_000 * MIB))
    assert tried == [2, 16]
    assert "a batch of at most 85" in refused.value.hint


def test_a_gpu_that_runs_out_in_the_rehearsal_names_what_fits() -> None:
    with pytest.raises(GpuMemoryError) as refused:
        # The estimate says that 16 fit; fragments take what is missing.
        rehearse(steps_of([], room=2_000 * MIB), 16, device(2_200 * MIB, gpu=True))
    failure = classify(refused.value)
    assert (failure.code, failure.retriable) == ("OOM_GPU", False)
    assert "a batch of at most 14" in failure.hint


def test_a_gpu_without_room_for_two_images_wants_them_smaller() -> None:
    with pytest.raises(GpuMemoryError) as refused:
        rehearse(steps_of([], room=0), 16, device(2_000 * MIB, gpu=True))
    assert refused.value.hint == "choose a smaller batch or image size"


def test_a_hint_says_when_more_seemed_to_fit() -> None:
    assert batch_hint(16, 20).startswith("choose a batch smaller than 16: 20 seemed to fit")


def test_the_peak_of_this_process_is_seen_and_forgotten() -> None:
    here = DeviceMemory("cpu")
    here.forget_peak()
    before = here.peak_bytes()
    block = bytearray(64 * MIB)
    assert here.peak_bytes() - before > 48 * MIB
    del block
    here.forget_peak()
    assert here.peak_bytes() - before < 32 * MIB


def test_a_kernel_that_keeps_the_peak_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t  2048 kB\n")
    (tmp_path / "clear_refs").mkdir()
    monkeypatch.setattr(memory, "_PROCESS", tmp_path)
    here = DeviceMemory("cpu")
    here.forget_peak()
    assert here.peak_bytes() == 2 * MIB
