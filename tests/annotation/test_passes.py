"""What one import, burial, label or project meets holds up no other, and no step of the housekeeping another."""

from typing import Any

import pytest
import sqlalchemy as sa

from bloomery.annotation.v1 import DeleteProjectRequest
from bloomery_annotation import housekeeping, labelling
from bloomery_annotation.housekeeping import Housekeeper
from bloomery_annotation.importer import runner
from bloomery_annotation.store import graves, imports, labels
from bloomery_annotation.store.tables import LABELS
from bloomery_annotation.sweep import Sweeper
from tests.annotation.folders import voc_folder
from tests.annotation.helpers import Server
from tests.passes import Work, each, fail_first, fail_step, turns

_IMPORTS = [
    Work(imports, "claim", lambda _tx, wanted, _now, **_: wanted.import_uid),
    Work(runner, "run_import", lambda _tools, claim, _term: claim.import_uid),
]
WORKS = {
    "imports 1": _IMPORTS,
    "imports 2": _IMPORTS,
    housekeeping.BURIALS: [Work(Housekeeper, "_bury", lambda _, grave: grave.project_uid)],
    housekeeping.LOOP: [
        Work(labelling, "finish", lambda _db, label, _clock: label.project_id),
        Work(Housekeeper, "_drop_abandoned", lambda _, uid: uid),
        Work(Sweeper, "sweep", lambda _, project_id: project_id),
    ],
}
STEPS: list[tuple[Any, str]] = [
    (housekeeping, "forget_requests"),
    (labels, "marked"),
    (graves, "living"),
    (imports, "forget_files"),
]


@pytest.fixture
async def idle(server: Server) -> Server:
    """A server that takes requests and does nothing by itself."""
    await server.app.loops.close()
    return server


@each(WORKS)
async def test_one_items_trouble_holds_up_no_other(
    idle: Server, monkeypatch: pytest.MonkeyPatch, loop: str, work: Work
) -> None:
    for name in ("p", "q"):
        project = await idle.project(name)
        await idle.label("cell", project.name)
        await idle.start_import(project, voc_folder(1))
        if loop == housekeeping.BURIALS:
            await idle.stub.DeleteProject(DeleteProjectRequest(name=project.name))
    if loop == housekeeping.LOOP:
        async with idle.app._db.write() as tx:
            await tx.execute(sa.update(LABELS).values(deleted_by="somebody"))
    done = fail_first(monkeypatch, work)
    await turns(idle.app.loops, loop)
    assert len(done) == 1


@pytest.mark.parametrize("step", [name for _, name in STEPS])
async def test_a_step_of_the_housekeeping_that_fails_keeps_no_other_from_being_done(
    idle: Server, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    done = fail_step(monkeypatch, STEPS, step)
    await turns(idle.app.loops, housekeeping.LOOP)
    assert done == {name for _, name in STEPS} - {step}
