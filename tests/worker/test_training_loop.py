"""Our own training loop: exact whatever interrupts it, and what its parameters do."""

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bloomery_worker.best import BestBy
from bloomery_worker.context import Context, StopRequestedError
from bloomery_worker.failures import ConfigError
from bloomery_worker.messages import CheckpointNote, MetricsNote, Note
from bloomery_worker.training import batches, optimizers
from bloomery_worker.training import state as states
from bloomery_worker.training.learner import Batch
from bloomery_worker.training.loop import STATE_FILE, Loop, Trained
from bloomery_worker.training.plan import Plan
from bloomery_worker.training.schedules import factor
from bloomery_worker.training.stopping import Stopper
from bloomery_worker.training.telling import Telling
from tests.worker.test_parts import JOB
from tests.worker.tiny_learner import TinyLearner

pytestmark = pytest.mark.timeout(300)

PLAN = Plan(
    epochs=4, batch=8, accumulate=3, seed=5, optimizer="AdamW", lr0=0.02, warmup_epochs=1.5, weight_decay=0.05,
    layer_decay=0.5, clip=1.0, ema=0.9, frozen_epochs=1,
)  # fmt: skip
"""Steps of the optimizer that are no whole number of batches, a warm-up that ends in mid-epoch, and a frozen epoch."""
CPU = torch.device("cpu")


class _KilledError(Exception):
    """Stands for the process being killed."""


class Run:
    """A training in a folder, and what it told."""

    def __init__(self, folder: Path, plan: Plan = PLAN, *, learner: TinyLearner | None = None) -> None:
        self.folder, self.plan, self.told = folder, plan, list[Note]()
        self.learner, self.stop, self.batch = learner or TinyLearner(), threading.Event(), plan.batch
        self.after: Callable[[int], None] = lambda _: None
        self.done: Trained | None = None

    def train(self, resume_from: Path | None = None) -> Trained:
        """Trains to the end, or as far as `after` lets it."""
        context = Context(JOB, self._take, self.stop, clock=count().__next__)
        telling = Telling(context, epochs=self.plan.epochs, device="cpu", done=0)
        loop = Loop(
            self.learner,
            self.plan,
            batch=self.batch,
            device=CPU,
            folder=self.folder,
            telling=telling,
            write=self.write,
            resume_from=resume_from,
        )
        self.done = loop.run(lambda *_: None)
        return self.done

    def write(self, weights: Mapping[str, Tensor], folder: Path) -> None:
        states.save(weights, folder / "weights.pt")

    def _take(self, note: Note) -> None:
        self.told.append(note)
        self.after(len(self.told))

    @property
    def checkpoints(self) -> list[Path]:
        return [Path(note.folder) for note in self.told if isinstance(note, CheckpointNote)]

    @property
    def last(self) -> Mapping[str, Any]:
        return states.load(self.checkpoints[-1] / STATE_FILE)


def same(one: object, other: object) -> bool:
    match one, other:
        case Tensor(), Tensor():
            return torch.equal(one, other)
        case dict(), dict():
            return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one if key not in _TIMES)
        case list(), list():
            return len(one) == len(other) and all(map(same, one, other))
        case _:
            return one == other


_TIMES = {"time", "elapsed"}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training that nothing interrupts."""
    run = Run(tmp_path_factory.mktemp("straight"))
    run.train()
    return run


@pytest.mark.parametrize("notes", [5, 22, 31, 51, 65])
def test_a_training_that_dies_anywhere_goes_on_with_the_same_bits(notes: int, straight: Run, tmp_path: Path) -> None:
    broken = Run(tmp_path / "broken")

    def die(told: int) -> None:
        if told == notes:
            raise _KilledError

    broken.after = die
    with pytest.raises(_KilledError):
        broken.train()
    resumed = Run(tmp_path / "resumed")
    done = resumed.train(broken.checkpoints[-1] if broken.checkpoints else None)
    assert same(resumed.last, straight.last)
    assert straight.done is not None
    assert same(done.weights, straight.done.weights)
    assert same(done.history, straight.done.history)


def test_another_number_of_loader_processes_gives_the_same_batches() -> None:
    learner = TinyLearner()
    keys = batches.split(batches.keys(learner, seed=1, epoch=2), 8)
    alone, together = (list(batches.load(learner, keys, workers=workers)) for workers in (0, 2))
    assert same(alone, together)


def test_a_sample_that_is_left_over_alone_is_taken_twice() -> None:
    keys = batches.split([(number, 7 * number) for number in range(9)], 4)
    assert [[index for index, _ in batch] for batch in keys] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 8]]
    assert keys[2][0] != keys[2][1]


def test_batches_of_one_are_taken_twice_each(tmp_path: Path) -> None:
    keys = batches.split([(number, 7 * number) for number in range(3)], 1)
    assert [[index for index, _ in batch] for batch in keys] == [[0, 0], [1, 1], [2, 2]]
    assert Run(tmp_path, replace(PLAN, batch=1, epochs=1), learner=TinyLearner(samples=5)).train().epochs == 1


def test_accumulated_batches_are_one_large_one(tmp_path: Path) -> None:
    """Without norms and dropout, whose values depend on the batch."""
    ends = []
    for batch, accumulate in ((48, 1), (16, 3)):
        learner = TinyLearner(samples=48)
        first, last = learner.network[0], learner.network[4]  # type: ignore[index]
        learner.network = nn.Sequential(first, nn.Identity(), nn.ReLU(), nn.Identity(), last)
        plan = Plan(epochs=3, batch=batch, accumulate=accumulate, lr0=0.1, optimizer="SGD")
        run = Run(tmp_path / str(batch), plan, learner=learner)
        run.train()
        ends.append(learner.network.state_dict())
    for name, value in ends[0].items():
        assert torch.allclose(value, ends[1][name], atol=1e-5), name


def test_a_stop_ends_a_training_at_the_next_step(tmp_path: Path) -> None:
    run = Run(tmp_path)

    def stop(told: int) -> None:
        if len(run.checkpoints) == 2 and not isinstance(run.told[-1], CheckpointNote):
            run.stop.set()

    run.after = stop
    with pytest.raises(StopRequestedError) as asked:
        run.train()
    assert asked.value.epoch == 2


def test_a_training_ends_when_there_is_no_hope(tmp_path: Path) -> None:
    run = Run(tmp_path, replace(PLAN, epochs=50, patience=2, lr0=1e-9, ema=0.0))
    done = run.train()
    assert done.epochs == done.best_epoch + 2
    again = Run(tmp_path / "again", run.plan)
    assert again.train(run.checkpoints[-1]).epochs == done.epochs
    assert again.told == []


def test_the_best_epoch_is_the_one_of_the_measurement(tmp_path: Path) -> None:
    run = Run(tmp_path, replace(PLAN, best_by="loss"))
    done = run.train()
    losses = [row["val/loss"] for row in done.history]
    assert done.best_epoch == losses.index(min(losses)) + 1


def test_a_measurement_that_nobody_makes_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    run = Run(tmp_path, replace(PLAN, best_by="map50"))
    with pytest.raises(ConfigError, match="best_by: nothing is measured under the name map50") as refused:
        run.train()
    assert refused.value.hint == "name one of accuracy, loss"
    assert run.told == []


def test_frozen_layers_stay_as_they_are_and_learn_later(tmp_path: Path) -> None:
    run = Run(tmp_path, replace(PLAN, ema=0.0))
    before = {name: value.clone() for name, value in run.learner.network.state_dict().items()}
    run.train()
    first, last = (states.load(folder / STATE_FILE)["network"] for folder in (run.checkpoints[0], run.checkpoints[-1]))
    changed = {name for name, value in before.items() if not torch.equal(value, first[name])}
    assert changed == {"4.weight", "4.bias"}
    assert not torch.equal(before["0.weight"], last["0.weight"])
    assert not torch.equal(before["1.running_mean"], last["1.running_mean"])


def test_all_layers_frozen_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="freeze: 2 layers of 2 would leave none to learn"):
        Run(tmp_path, replace(PLAN, freeze=2)).train()


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    class Broken(TinyLearner):
        def losses(self, network: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            return {"class_loss": super().losses(network, batch)["class_loss"] * math.nan}

    with pytest.raises(ConfigError, match="the loss is no finite number in epoch 1") as ended:
        Run(tmp_path, learner=Broken()).train()
    assert "smaller lr0" in ended.value.hint


def test_a_checkpoint_of_another_training_is_refused(straight: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="training cannot go on from its checkpoint: plan was"):
        Run(tmp_path, replace(PLAN, lr0=0.5)).train(straight.checkpoints[1])


@pytest.mark.parametrize("name", sorted(optimizers.OPTIMIZERS))
def test_every_optimizer_learns_with_a_rate_for_each_layer(name: str) -> None:
    learner = TinyLearner()
    made = optimizers.optimizer(learner.network, learner.layers, replace(PLAN, optimizer=name))
    optimizers.set_rates(made, 1.0)
    assert [(group["lr"], group["weight_decay"]) for group in made.param_groups] == [
        (0.5, 0.0), (0.5, 0.05), (1.0, 0.0), (1.0, 0.05),
    ]  # fmt: skip
    batch = learner.collate([learner.sample(index, np.random.default_rng(0)) for index in range(8)])
    before = learner.losses(learner.network, batch)["class_loss"]
    before.backward()  # type: ignore[no-untyped-call]
    made.step()
    assert all(torch.isfinite(value).all() for value in learner.network.parameters())


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", [0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2, 0.55, 0.1]),
        ("linear", [0.775, 0.55, 0.1]),
        ("step", [0.5, 0.25, 0.0625]),
        ("constant", [1, 1, 1]),
    ],
)
def test_rates_rise_and_fall_as_scheduled(schedule: str, expected: list[float]) -> None:
    plan = Plan(epochs=8, schedule=schedule, lrf=0.1, step_epochs=2, step_factor=0.5)
    assert [factor(plan, done) for done in (2, 4, 8)] == pytest.approx(expected)
    warm = replace(plan, warmup_epochs=4)
    assert factor(warm, 2) == pytest.approx(expected[0] / 2)
    assert factor(warm, 0) == 0


def test_of_equal_epochs_the_better_one_by_the_recipes_own_measure_is_the_best_else_the_earlier() -> None:
    stopper = Stopper(BestBy("recall/a"), BestBy("accuracy"), patience=2)
    measured = [(0.5, 0.5), (0.5, 0.5), (0.5, 0.6), (0.6, 0.1)]
    values = [{"val/recall/a": recall, "val/accuracy": accuracy} for recall, accuracy in measured]
    found = [stopper.is_best(epoch, one) for epoch, one in enumerate(values, 1)]
    assert found == [True, False, True, True]


def test_steps_and_epochs_are_told(straight: Run) -> None:
    ends = [note for note in straight.told if isinstance(note, MetricsNote) and note.epoch_end]
    assert [note.epoch for note in ends] == [1, 2, 3, 4]
    assert set(ends[0].values) == {
        "train/loss", "train/class_loss", "train/data_wait", "lr", "val/accuracy", "val/loss",
    }  # fmt: skip
    assert all(0 < one.values["train/data_wait"] < 1 for one in ends)
