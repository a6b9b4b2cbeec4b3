"""What one build, cleanup or hold meets holds up no other, and no step of the housekeeping another."""

from typing import Any

import pytest
import sqlalchemy as sa

from bloomery.dataset.v1 import DeleteDatasetVersionRequest
from bloomery_dataset import housekeeping
from bloomery_dataset.build import LOOP as BUILDS
from bloomery_dataset.builder import Builder
from bloomery_dataset.holding import Holding
from bloomery_dataset.housekeeping import Housekeeper
from bloomery_dataset.store import builds, datasets
from bloomery_dataset.store.tables import DATASETS
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import Service, fill
from tests.passes import Work, each, fail_first, fail_step, turns

WORKS = {
    BUILDS: [
        Work(builds, "claim", lambda _tx, uid, **_: uid),
        Work(Builder, "_work", lambda _, build, _progress: build.version.uid),
    ],
    housekeeping.LOOP: [
        Work(Holding, "hold", lambda _, dataset: dataset.uid),
        Work(Housekeeper, "_clean", lambda _, cleanup: cleanup.uid),
    ],
}
STEPS: list[tuple[Any, str]] = [(housekeeping, "forget_requests"), (datasets, "unheld"), (builds, "cleanups")]


@each(WORKS)
async def test_one_items_trouble_holds_up_no_other(
    idle: Service, fake: FakeAnnotations, monkeypatch: pytest.MonkeyPatch, loop: str, work: Work
) -> None:
    fill(fake, 3)
    made = [await idle.create(parent=f"projects/cells/datasets/d{number}") for number in range(2)]
    if loop == housekeeping.LOOP:
        async with idle.app._db.write() as tx:
            await tx.execute(sa.update(DATASETS).values(held=False))
        for version in made:
            await idle.stub.DeleteDatasetVersion(DeleteDatasetVersionRequest(name=version.name))
    done = fail_first(monkeypatch, work)
    await turns(idle.app.loops, loop)
    assert len(done) == 1


@pytest.mark.parametrize("step", [name for _, name in STEPS])
async def test_a_step_of_the_housekeeping_that_fails_keeps_no_other_from_being_done(
    idle: Service, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    done = fail_step(monkeypatch, STEPS, step)
    await turns(idle.app.loops, housekeeping.LOOP)
    assert done == {name for _, name in STEPS} - {step}
