"""Labels that are deleted with their shapes, in batches that others come between."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bloomery.annotation.v1 import (
    Asset,
    DeleteLabelRequest,
    GetAnnotationSetRequest,
    GetLabelRequest,
    Label,
    Project,
    UpdateLabelRequest,
)
from bloomery_annotation import labelling
from bloomery_annotation.housekeeping import Housekeeper
from bloomery_annotation.settings import AnnotationSettings
from bloomery_annotation.store import projects
from bloomery_kit.database import Database
from bloomery_kit.times import utc_now
from tests.annotation.helpers import Server, box, fields_of, png, reason_of, status_of

RBC = "projects/p/labels/rbc"
FORCE = DeleteLabelRequest(name=RBC, force=True)


@pytest.fixture
async def images(both: Server, monkeypatch: pytest.MonkeyPatch) -> list[Asset]:
    """Five images with an rbc and a wbc each, and a deletion that takes two at once."""
    monkeypatch.setattr(labelling, "_AT_ONCE", 2)
    project = await both.project()
    for label in ("rbc", "wbc"):
        await both.label(label)
    made = await both.assets(project, [png(seed) for seed in range(5)])
    for asset in made:
        await both.save(asset, [box("rbc"), box("wbc", x=20)])
    return made


async def labels_on(server: Server, asset: Asset) -> tuple[list[str], int, str]:
    found = await server.stub.GetAnnotationSet(GetAnnotationSetRequest(name=f"{asset.name}/annotationSets/main"))
    return [shape.label for shape in found.shapes], found.revision, found.author


def after_the_first(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Do something when the first batch of a deletion is over."""
    real, left = labelling._remove_some, [1]

    async def remove_some(*args: Any) -> bool:
        more = await real(*args)
        if left and left.pop():
            await act()
        return more

    monkeypatch.setattr(labelling, "_remove_some", remove_some)


async def test_others_work_on_while_a_label_goes(
    both: Server, images: list[Asset], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    async def meanwhile() -> None:
        (new,) = await both.assets(Project(name="projects/p", uid=await uid_of(both)), [png(9)])
        seen.append((await both.stub.GetLabel(GetLabelRequest(name=RBC))).deleting)
        seen.append((await both.save(new, [box("wbc")])).revision)
        seen.append(fields_of(await status_of(both.save(new, [box("rbc")], set_id="other"))))
        renamed = UpdateLabelRequest(label=Label(name=RBC, display_name="other"))
        seen.append(reason_of(await status_of(both.stub.UpdateLabel(renamed))))

    after_the_first(monkeypatch, meanwhile)
    await both.stub.DeleteLabel(FORCE)
    assert seen == [True, 1, ["annotation_set.shapes[0].label"], "LABEL_DELETING"]
    assert reason_of(await status_of(both.stub.GetLabel(GetLabelRequest(name=RBC)))) == "NOT_FOUND"
    assert [await labels_on(both, asset) for asset in images] == [(["wbc"], 2, "owner")] * 5
    await both.label("rbc")


async def uid_of(server: Server) -> str:
    from bloomery.annotation.v1 import GetProjectRequest

    return str((await server.stub.GetProject(GetProjectRequest(name="projects/p"))).uid)


async def test_a_deletion_that_was_cut_off_is_brought_to_its_end(
    both: Server, both_settings: AnnotationSettings, images: list[Asset], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die() -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        after_the_first(patched, die)
        async with both.as_user("TRAINER:vera") as vera:
            await status_of(vera.DeleteLabel(FORCE))
    assert (await both.stub.GetLabel(GetLabelRequest(name=RBC))).shape_count == 3
    db = Database.connect(both_settings.database_url, "annotation")
    await Housekeeper(db, both.objects, url_seconds=60).tidy()
    await db.close()
    assert reason_of(await status_of(both.stub.GetLabel(GetLabelRequest(name=RBC)))) == "NOT_FOUND"
    assert [await labels_on(both, asset) for asset in images] == [(["wbc"], 2, "vera")] * 5


async def test_all_labels_of_a_shape_may_go_at_once(both: Server, images: list[Asset]) -> None:
    other = DeleteLabelRequest(name="projects/p/labels/wbc", force=True)
    await asyncio.gather(both.stub.DeleteLabel(FORCE), both.stub.DeleteLabel(other))
    assert [(await labels_on(both, asset))[0] for asset in images] == [[]] * 5


async def test_two_who_delete_a_label_do_it_once(both: Server, images: list[Asset]) -> None:
    outcomes = await asyncio.gather(*(both.stub.DeleteLabel(FORCE) for _ in range(2)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert all("NOT_FOUND" in str(one) for one in refused)
    assert len(refused) <= 1
    assert [(await labels_on(both, asset))[:2] for asset in images] == [(["wbc"], 2)] * 5


class Counted(str):
    """An id that counts how often it is looked up."""

    __slots__ = ()
    looked_up = 0

    def __hash__(self) -> int:
        Counted.looked_up += 1
        return super().__hash__()


async def test_a_new_id_costs_the_same_however_many_labels_there_are(
    both: Server, both_settings: AnnotationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Counted, "looked_up", 0)
    await both.project()
    known = [labelling.NewLabel(Counted(f"known-{number}"), f"k{number}") for number in range(100)]
    new = [labelling.NewLabel("", f"new {number}") for number in range(100)]
    db = Database.connect(both_settings.database_url, "annotation")
    async with db.write() as tx:
        ids = await labelling.ensure(tx, await projects.lock(tx, "p"), [*known, *new], utc_now())
    await db.close()
    assert len(set(ids.values())) == 200
    assert Counted.looked_up <= 10 * len(known)
