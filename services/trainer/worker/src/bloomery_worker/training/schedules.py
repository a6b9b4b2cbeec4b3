"""The learning rate as a function of how far the training is: nothing to store, nothing to restore."""

import math
from collections.abc import Callable, Mapping

from bloomery_worker.training.plan import Plan


def factor(plan: Plan, done: float) -> float:
    """What the learning rate is multiplied with after `done` epochs, a fraction too: warm-up, then the fall."""
    warmup = min(done / plan.warmup_epochs, 1.0) if plan.warmup_epochs else 1.0
    return warmup * SCHEDULES[plan.schedule](plan, done)


def _linear(plan: Plan, done: float) -> float:
    return 1 - (1 - plan.lrf) * min(done / plan.epochs, 1.0)


def _cosine(plan: Plan, done: float) -> float:
    """Half a wave, without restarts (Loshchilov and Hutter 2017, SGDR)."""
    return plan.lrf + (1 - plan.lrf) * (1 + math.cos(math.pi * min(done / plan.epochs, 1.0))) / 2


def _step(plan: Plan, done: float) -> float:
    return plan.step_factor ** (int(done) // plan.step_epochs)


def _constant(_: Plan, __: float) -> float:
    return 1.0


SCHEDULES: Mapping[str, Callable[[Plan, float], float]] = {
    "cosine": _cosine,
    "linear": _linear,
    "step": _step,
    "constant": _constant,
}
"""By name: the factor after so many epochs, without warm-up."""
