"""Real trainings that are hit at random moments. `make soak` plays many more rounds and writes docs/soak.md.

A round that fails names its seed; the same seed draws the same fault.
"""

import pytest

from tests.faults.faults import DECK, Blow, Target, draw
from tests.faults.rounds import EPOCHS, play
from tests.faults.sites import Site

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(600)]
SEED = 20261125


@pytest.mark.parametrize(
    ("target", "blow"),
    [
        (Target.SUPERVISOR, Blow.KILL),
        (Target.TRAINER, Blow.KILL),
        (Target.SERVER, Blow.KILL),
        pytest.param(Target.LEADER, Blow.STOP, marks=pytest.mark.real_server("minio")),
        pytest.param(Target.REPLICAS, Blow.KILL, marks=pytest.mark.real_server("minio")),
    ],
    ids=lambda value: value.name.lower(),
)
def test_a_training_that_is_hit_ends_with_every_epoch_once(
    target: Target, blow: Blow, request: pytest.FixtureRequest
) -> None:
    number = DECK.index((target, blow))
    fault = draw(number, seed=SEED)
    site: Site = request.getfixturevalue("replicas" if target.needs_replicas else "laptop")
    outcome = play(site, fault, f"round-{number}")
    print(f"seed {SEED}, round {number}: {outcome}")
    assert outcome.struck, outcome
    assert not outcome.problems, outcome
    assert list(outcome.epochs) == list(range(1, EPOCHS + 1))
