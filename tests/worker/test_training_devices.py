"""What a training computes on, and how many samples of a step fit there."""

import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bloomery_recipe_timm import networks, published
from bloomery_recipe_timm.classifiers import Classifiers
from bloomery_worker import machine
from bloomery_worker.context import Context
from bloomery_worker.failures import HostMemoryError
from bloomery_worker.training import devices, rehearsal
from bloomery_worker.training.applied import applied
from bloomery_worker.training.learner import Batch
from bloomery_worker.training.plan import Plan
from tests.worker.test_parts import JOB
from tests.worker.tiny_learner import TinyLearner

pytestmark = pytest.mark.timeout(300)


def context(**changes: object) -> Context:
    return Context(replace(JOB, **changes), lambda _: None, threading.Event())  # type: ignore[arg-type]


class Narrow(TinyLearner):
    """Has room for steps of so many samples."""

    room = 5

    def losses(self, network: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        if len(batch["classes"]) > self.room:
            raise MemoryError
        return dict(super().losses(network, batch))


def test_an_automatic_batch_is_halved_until_it_fits() -> None:
    assert rehearsal.report(context(), Narrow(samples=200), Plan(epochs=1, batch=0), devices.CPU) == 4


def test_an_automatic_batch_that_never_fits_is_refused() -> None:
    learner = Narrow(samples=200)
    learner.room = 1
    with pytest.raises(HostMemoryError, match="a step of 2 images does not fit"):
        rehearsal.report(context(), learner, Plan(epochs=1, batch=0), devices.CPU)


def test_a_batch_that_was_given_is_not_halved() -> None:
    with pytest.raises(HostMemoryError, match="a step of 8 images does not fit"):
        rehearsal.report(context(), Narrow(), Plan(epochs=1, batch=8), devices.CPU)


def test_a_job_with_a_gpu_that_cuda_does_not_find_is_warned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(machine, "device", lambda: "cpu")
    with caplog.at_level(logging.WARNING):
        assert devices.usable(context()) == devices.CPU
        assert caplog.messages == []
        assert devices.usable(context(gpus=1)) == devices.CPU
    assert "much slower: CUDA finds none" in caplog.text


def test_work_that_the_processor_did_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU is there by its name, and does not compute."""

    ones = torch.ones

    def broken(*size: int, device: object = None, **changes: Any) -> torch.Tensor:
        if str(device) == "cuda:0":
            raise RuntimeError("CUDA error: no kernel image is available")
        return ones(*size, device=device, **changes)  # type: ignore[call-overload,no-any-return]

    about = published.About("resnet18", ("a", "b"), 32, "center-crop", "softmax", (0.0, 0.0))
    published.write(tmp_path / "model", networks.build("resnet18", 2).state_dict(), about)
    monkeypatch.setattr(machine, "device", lambda: "cuda:0")
    monkeypatch.setattr(machine, "device_name", lambda: "NVIDIA H100")
    monkeypatch.setattr(torch, "ones", broken)
    job = context(task="classify", base_file=str(tmp_path / "model"), gpus=1)
    assert applied(job, Classifiers("resnet18")).device == "cpu"
