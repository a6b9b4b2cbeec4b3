"""Where a training finds the weights that it starts from."""

import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from bloomery_recipe_yolo.weights import Base, find_base
from bloomery_worker.context import Context
from bloomery_worker.failures import ConfigError
from bloomery_worker.messages import JobSpec
from tests.worker.sample_data import digest
from tests.worker.test_parts import JOB

NAME = "yolov8n.pt"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The download is a process of its own, which ends at once without a file."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.delenv("BLOOMERY_WEIGHTS", raising=False)


@pytest.fixture
def job(tmp_path: Path) -> JobSpec:
    for name in ("work", "cache"):
        (tmp_path / name).mkdir()
    return replace(JOB, bases=(NAME, "scratch"), work_dir=str(tmp_path / "work"), cache_dir=str(tmp_path / "cache"))


def found(job: JobSpec) -> Base:
    return find_base(Context(job, lambda _: None, threading.Event()))


def test_weights_that_cannot_be_had_end_the_job_and_say_what_to_do(job: JobSpec) -> None:
    with pytest.raises(ConfigError, match=rf"no base weights: {NAME} is neither in") as refused:
        found(job)
    assert "BLOOMERY_WEIGHTS" in refused.value.hint
    assert "choose the base scratch" in refused.value.hint


def test_random_weights_are_there_for_who_asks_for_them(job: JobSpec) -> None:
    assert found(replace(job, base="scratch")) == Base("yolov8n.yaml", "scratch")


def test_weights_stay_with_the_job_whatever_becomes_of_the_cache(job: JobSpec) -> None:
    cached = Path(job.cache_dir) / "weights" / NAME
    cached.parent.mkdir()
    cached.write_bytes(b"weights")
    base = found(job)
    cached.unlink()
    assert (base.name, base.digest) == (NAME, digest(b"weights"))
    assert Path(base.model).read_bytes() == b"weights"
    assert Path(base.model).is_relative_to(job.work_dir)
