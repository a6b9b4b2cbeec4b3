"""Random schedules of wishes, replicas and failures: what serves never vanishes, and changes only to what is loaded."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery_inference.serving.model import Deployment, LoadedModel, LoadState, Replica
from bloomery_inference.serving.rollout import Facts, Rollouts, Step, decide
from bloomery_inference.serving.wishes import DeploymentChange, reshared, retargeted
from bloomery_kit.errors import FailedPrecondition
from bloomery_kit.feeds import Notifier
from tests.inference.simulated import deployment

DRAIN = 30.0
UIDS = ("a", "b", "c")


def replica(name: str, *, live: bool = True, **states: LoadState) -> Replica:
    models = tuple(LoadedModel(uid, state, f"{uid} is broken") for uid, state in states.items())
    return Replica(name, "first", "triton", "t:1", 1, models, 1, live)


class World:
    """A deployment and its replicas, moved at random; `clock` is the database's, which may jump."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.deployment: Deployment = deployment(candidate="a")
        self.replicas = {"r0": replica("r0")}
        self.clock = 1000.0
        self.rollouts = Rollouts(None, changed=Notifier(), silence=30, drain=DRAIN, interval=1)  # type: ignore[arg-type]

    def step(self) -> None:
        action = self.random.choice(
            (self.report, self.report, self.wish, self.come_or_go, self.tick, self.move, self.move)
        )
        action()

    def report(self) -> None:
        """A replica loads something that is planned, or cannot, or has freed what is not."""
        one = self.random.choice(list(self.replicas.values()))
        states = {model.uid: model.state for model in one.models if model.uid in self.deployment.planned}
        for uid in self.deployment.planned:
            if self.random.random() < 0.7:
                states[uid] = self.random.choice(
                    (LoadState.LOADING, LoadState.READY, LoadState.READY, LoadState.FAILED)
                )
        self.replicas[one.id] = replica(one.id, **states)  # type: ignore[arg-type]

    def come_or_go(self) -> None:
        name = f"r{self.random.randrange(3)}"
        if name not in self.replicas:
            self.replicas[name] = replica(name)
        elif self.random.random() < 0.5:
            self.replicas[name] = replace(self.replicas[name], live=not self.replicas[name].live)
        elif len(self.replicas) > 1:
            del self.replicas[name]

    def tick(self) -> None:
        self.clock += self.random.choice((1.0, DRAIN, 3600.0, -3600.0))

    def wish(self) -> None:
        before = self.deployment
        change = DeploymentChange(
            "d", "", traffic=self.random.choice((None, 0, 10, 100)), shadow=self.random.choice((None, True))
        )
        if change.shadow:
            change = replace(change, traffic=None)
        kind = self.random.randrange(4)
        values: dict[str, object] = {"paused": not before.paused}
        if kind < 3:
            uid = self.random.choice(UIDS)
            try:
                values = retargeted(before, change, uid) if kind else reshared(before, change)
            except FailedPrecondition:
                # What serves has no share.
                assert (kind and uid == before.serving) or not (before.serving and before.candidate)
                return
        self.deployment = replace(before, generation=before.generation + 1, **values)  # type: ignore[arg-type]

    def move(self) -> None:
        before, known = self.deployment, list(self.replicas.values())
        values: dict[str, Any] = self.rollouts._values(before, Facts(known, self.clock))
        self.deployment = replace(before, **values)
        live = [one for one in known if one.live]
        if self.deployment.serving != before.serving:
            assert self.deployment.serving == before.candidate
            assert live
            assert all(one.has(before.candidate, LoadState.READY) for one in live)
            assert not before.serving or (before.traffic == 100 and not before.shadow)
            assert self.deployment.previous == (before.serving or before.previous)
        if values.get("failure"):
            assert "is broken" in values["failure"]
            assert (self.deployment.serving, self.deployment.candidate) == (before.serving, before.candidate)

    def check(self, before: Deployment) -> None:
        now = self.deployment
        assert now.serving or not before.serving
        assert now.candidate != now.serving or not now.serving
        assert now.paused or not now.serving or now.serving in now.planned
        assert now.observed <= now.generation
        assert not now.shadow or now.traffic == 0


@given(st.integers(0, 2**32))
def test_what_serves_never_vanishes_and_changes_only_to_what_every_live_replica_has(seed: int) -> None:
    world = World(seed)
    for _ in range(80):
        before = world.deployment
        world.step()
        world.check(before)


@given(st.integers(0, 2**32))
def test_once_every_replica_has_loaded_all_that_is_planned_what_is_wanted_is_reached(seed: int) -> None:
    world = World(seed)
    for _ in range(40):
        world.step()
    if world.deployment.paused:
        world.deployment = replace(world.deployment, paused=False, generation=world.deployment.generation + 1)
    ready = dict.fromkeys(world.deployment.planned, LoadState.READY)
    world.replicas = {name: replica(name, **ready) for name in ("r0", "r1")}  # type: ignore[arg-type]
    world.move()
    assert (world.deployment.observed, world.deployment.failure) == (world.deployment.generation, "")
    world.clock += 10 * DRAIN
    world.move()
    assert world.deployment.drained is None


READY, FAILED, LOADING = LoadState.READY, LoadState.FAILED, LoadState.LOADING


@pytest.mark.parametrize(
    ("fields", "known", "expected"),
    [
        ({"candidate": "a"}, [], (Step.NOTHING, "")),
        ({"candidate": "a"}, [replica("r", live=False, a=READY)], (Step.NOTHING, "")),
        ({"candidate": "a"}, [replica("r", a=READY), replica("s", a=LOADING)], (Step.NOTHING, "")),
        ({"candidate": "a"}, [replica("r", a=READY), replica("s", live=False)], (Step.PROMOTE, "")),
        ({"candidate": "a"}, [replica("r", a=READY), replica("s", a=FAILED)], (Step.FAIL, "replica s: a is broken")),
        (
            {"candidate": "a"},
            [replica("r", a=FAILED), replica("s", a=FAILED)],
            (Step.FAIL, "replica r: a is broken (and 1 more)"),
        ),
        ({"serving": "a", "candidate": "b", "traffic": 10}, [replica("r", a=READY, b=READY)], (Step.REACH, "")),
        ({"serving": "a", "candidate": "b", "traffic": 0, "shadow": True}, [replica("r", b=READY)], (Step.REACH, "")),
        ({"serving": "a"}, [replica("r", a=READY), replica("s", a=FAILED)], (Step.REACH, "")),
        ({"serving": "a"}, [replica("r", a=READY), replica("s")], (Step.NOTHING, "")),
        ({"serving": "a"}, [replica("r", a=FAILED)], (Step.FAIL, "replica r: a is broken")),
        ({"serving": "a", "candidate": "b", "paused": True}, [], (Step.REACH, "")),
    ],
)
def test_what_is_to_be_done_follows_from_what_the_live_replicas_have(
    fields: dict[str, object], known: list[Replica], expected: tuple[Step, str]
) -> None:
    assert decide(deployment(**fields), known) == expected
