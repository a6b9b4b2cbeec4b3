"""Images with the same bytes are one image of the project, and it is counted as what the project holds in the end."""

from collections.abc import Mapping

import pytest

from bloomery.annotation.v1 import Import, ImportOutcomes, ListAssetsRequest, Project
from bloomery_annotation.importer import run as import_run
from tests.annotation.folders import codes
from tests.annotation.helpers import Server, png
from tests.annotation.test_import_plans import LINE, labels

NAMES = b"cat\ndog\n"


async def imported(server: Server, project: Project, files: Mapping[str, bytes]) -> Import:
    done = await server.run_import(project, {"classes.txt": NAMES, **files})
    assert done.state == Import.STATE_SUCCEEDED, done.error
    return done


async def splits(server: Server, project: Project) -> list[str]:
    listed = await server.stub.ListAssets(ListAssetsRequest(parent=project.name))
    return [asset.split for asset in listed.assets]


def told_splits(done: Import) -> tuple[dict[str, int], int]:
    return dict(done.plan.split_counts), done.plan.without_split_count


def doubts(done: Import) -> dict[str, tuple[int, str]]:
    return {doubt.code: (doubt.count, doubt.example) for doubt in done.plan.doubts}


@pytest.mark.parametrize("batch", [1, 1000])
@pytest.mark.parametrize(
    ("label", "outcomes"),
    [
        (LINE, ImportOutcomes(annotated=1, repeated=1)),
        (b"", ImportOutcomes(empty=1, repeated=1)),
        (b"9 0.5 0.5 0.2 0.2", ImportOutcomes(unannotated=1, repeated=1)),
    ],
)
async def test_an_image_is_annotated_where_any_copy_brings_its_shapes(
    server: Server,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    label: bytes,
    outcomes: ImportOutcomes,
) -> None:
    monkeypatch.setattr(import_run, "BATCH", batch)
    files = {"x/a.png": png(1), "z/b.png": png(1), "z/b.txt": label}
    done = await imported(server, project, files)
    assert done.outcomes == outcomes
    assert (await labels(server, project))["cat"] == outcomes.annotated
    again = await imported(server, project, files)
    assert again.outcomes == outcomes
    assert "STALE_SHAPES" not in codes(again).values()


async def test_a_split_is_counted_for_the_image_and_not_for_its_copies(server: Server, project: Project) -> None:
    files = {"train/a.png": png(1), "train/copy.png": png(1), "train/a.txt": LINE, "val/b.png": png(2)}
    done = await imported(server, project, files)
    assert told_splits(done) == ({"train": 1, "val": 1}, 0)
    assert list(doubts(done)) == ["REPEATED_IMAGE"]


@pytest.mark.parametrize(("first", "other"), [("train", "val"), ("test", "val"), ("val", "train")])
async def test_copies_in_two_splits_are_a_doubt(server: Server, project: Project, first: str, other: str) -> None:
    files = {f"{first}/a.png": png(1), f"{first}/a.txt": LINE, f"{other}/b.png": png(1)}
    done = await imported(server, project, files)
    taken = next(split for split in ("train", "val", "test") if split in (first, other))
    assert told_splits(done) == ({taken: 1}, 0)
    assert await splits(server, project) == [taken]
    assert doubts(done)["SPLIT_CONFLICT"] == (1, min(files, key=lambda name: (not name.endswith(".png"), name)))


async def test_an_image_is_in_the_split_of_the_copy_that_has_one(server: Server, project: Project) -> None:
    files = {"all/a.png": png(1), "all/a.txt": LINE, "val/a.png": png(1)}
    done = await imported(server, project, files)
    assert (told_splits(done), await splits(server, project)) == (({"val": 1}, 0), ["val"])
    assert not doubts(done).keys() & {"SPLIT_CONFLICT", "NO_SPLIT"}


async def test_images_that_cannot_be_used_are_in_no_count_of_splits(server: Server, project: Project) -> None:
    files = {"train/a.png": png(1), "train/a.txt": LINE, "train/bad.png": b"no image", "other/bad.png": b"none"}
    done = await imported(server, project, files)
    assert told_splits(done) == ({"train": 1}, 0)
    assert "NO_SPLIT" not in doubts(done)
    done = await imported(server, project, {**files, "other/b.png": png(2)})
    assert (told_splits(done), doubts(done)["NO_SPLIT"]) == (({"train": 1}, 1), (1, "other/b.png"))


async def test_a_label_file_with_the_bytes_of_an_image_is_broken_and_no_copy(server: Server, project: Project) -> None:
    files = {"labels/b.txt": png(1), "train/b.png": png(1), "labels/c.txt": LINE, "train/c.png": png(2)}
    done = await imported(server, project, files)
    assert codes(done) == {"train/b.png": "BROKEN_FILE"}
    assert done.outcomes == ImportOutcomes(annotated=1, failed=1)
    assert told_splits(done) == ({"train": 2}, 0)
    assert "REPEATED_IMAGE" not in doubts(done)
