"""The server is killed at random moments of an import. `make soak` plays many more rounds and writes docs/soak.md.

A round that fails names its seed; the same seed draws the same hit.
"""

import asyncio

import pytest

from tests.imports.rounds import draw, play
from tests.imports.site import Site, Undisturbed

SEED = 20261129


@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", range(20))
def test_what_a_killed_server_acknowledged_is_there_and_an_import_ends_as_if_nothing_had_been(
    site: Site, undisturbed: Undisturbed, number: int
) -> None:
    outcome = asyncio.run(play(site, undisturbed, draw(number, seed=SEED), f"round-{number}"))
    print(f"seed {SEED}, round {number}: {outcome}")
    assert not outcome.problems, outcome
