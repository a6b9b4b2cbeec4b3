"""The environment of workers: what the trainer's side describes is what launchers give and what workers read."""

import re
from pathlib import Path

from bloomery_trainer.launcher import environment
from bloomery_trainer.model import Resources

WORKER = Path(__file__).parents[2] / "services" / "trainer"
NAME = re.compile(r"BLOOMERY_[A-Z_]+[A-Z]")
ROW = re.compile(rf"^    ({NAME.pattern}|OMP_[A-Z_]+|CUDA_VISIBLE_DEVICES) ", re.MULTILINE)
DESCRIBED = set(ROW.findall(environment.__doc__ or ""))
# Given by launchers that may start another worker for an attempt, which that of this machine never does.
ELSEWHERE = {"BLOOMERY_INCARNATION"}
ORDERED = {environment.TRAINER_TARGET, environment.ATTEMPT_TOKEN}


def given() -> set[str]:
    """All that a worker on this machine may find, besides what is nobody's in particular."""
    here = Path("/x")
    added = environment.of_machine(work_dir=here, cache_dir=here, termination=here, room=Resources(1, 1, 0), gpus=())
    passed = environment.inherited(dict.fromkeys(DESCRIBED - added.keys() - ORDERED, "x"))
    return ORDERED | added.keys() | passed.keys()


def test_what_is_described_is_given_and_nothing_else() -> None:
    assert given() == DESCRIBED - ELSEWHERE


def test_workers_read_nothing_that_nobody_gives() -> None:
    sources = [*WORKER.glob("worker/src/**/*.py"), *WORKER.glob("recipes/*/src/**/*.py")]
    read = {name for path in sources for name in re.findall(rf'"({NAME.pattern})"', path.read_text())}
    assert len(read) > 5
    assert read <= DESCRIBED


def test_a_workers_last_words_are_as_long_as_launchers_read() -> None:
    source = (WORKER / "worker/src/bloomery_worker/termination.py").read_text()
    longest = re.search(r"^LARGEST = (\d+) << (\d+)$", source, re.MULTILINE)
    assert longest is not None
    assert int(longest[1]) << int(longest[2]) == environment.TERMINATION_BYTES
