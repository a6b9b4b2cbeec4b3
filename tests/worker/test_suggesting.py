"""What a job predicts is suggested before it ends, and each image is accounted for."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from bloomery.training.v1 import JobImage, PredictedImage
from bloomery_worker import suggesting
from bloomery_worker.client import WorkerClient
from bloomery_worker.messages import FileNote, ProgressNote, ResultNote
from bloomery_worker.suggesting import Suggesting
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import attempt, job, recipe, served, trainer_for
from tests.worker.sample_data import Version

BOX = {"label": "rbc", "score": 0.5, "box": {"x": 1, "y": 2, "width": 3, "height": 4}}
MASK = {"label": "wbc", "score": 0.25, "mask": {"width": 4, "height": 4, "counts": "04"}, "bounds": {}}
OUTLINE = {"label": "wbc", "score": 0.25, "polygon": {"rings": [{"coordinates": [0, 0, 2, 0, 2, 2]}]}, "bounds": {}}
TAG = {"label": "few", "score": 1, "tag": {}}


def written(folder: Path, lines: Sequence[dict[str, Any]]) -> ResultNote:
    path = folder / "predictions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    file = FileNote(path=str(path), role="predictions", file_name=path.name)
    return ResultNote(files=(file,), metrics={}, details={"images": len(lines)}, versions={})


def line(number: int, *shapes: dict[str, Any]) -> dict[str, Any]:
    return {"digest": f"sha256:{number:064}", "shapes": shapes}


@pytest.fixture
def trainer(cells: Version) -> FakeTrainer:
    return trainer_for(job("yolo-detect", "PREDICT"), recipe("yolo-detect"), cells)


async def suggested(trainer: FakeTrainer, cells: Version, result: ResultNote) -> tuple[Any, list[Any], list[str]]:
    """What the result's details say then, the progress that was told, and the warnings."""
    told, warned = list[ProgressNote](), list[str]()
    async with served(trainer, cells):
        client = WorkerClient(trainer.target)
        try:
            done = await Suggesting(client, told.append, warned.append).suggested(result)
        finally:
            await client.close()
    return done.details["suggestions"], told, warned


async def test_each_kind_of_shape_is_sent(trainer: FakeTrainer, cells: Version, tmp_path: Path) -> None:
    account, told, _ = await suggested(trainer, cells, written(tmp_path, [line(1, BOX, MASK, OUTLINE, TAG), line(2)]))
    [request] = trainer.suggested
    assert [image.digest[-1] for image in request.images] == ["1", "2"]
    box, mask, outline, tag = request.images[0].shapes
    assert (box.label, box.confidence, box.box.width) == ("rbc", 0.5, 3)
    assert (mask.mask.width, mask.mask.counts) == (4, b"04")
    assert [list(ring.coordinates) for ring in outline.polygon.rings] == [[0, 0, 2, 0, 2, 2]]
    assert tag.WhichOneof("geometry") == "tag"
    assert account["images"] == account["saved"] == 2
    assert (account["shapes"], account["failed"], account["annotation_set"]) == (4, {}, "d-1")
    assert [(note.phase, note.step, note.steps, note.fraction) for note in told] == [("suggesting", 2, 2, 1.0)]


async def test_many_images_go_in_several_calls(
    trainer: FakeTrainer, cells: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggesting, "IMAGES", 3)
    size = PredictedImage(digest=line(1)["digest"]).ByteSize()
    account, _, _ = await suggested(trainer, cells, written(tmp_path, [line(number) for number in range(7)]))
    assert [len(request.images) for request in trainer.suggested] == [3, 3, 1]
    trainer.suggested.clear()
    monkeypatch.setattr(suggesting, "BYTES", 2 * size)
    await suggested(trainer, cells, written(tmp_path, [line(number) for number in range(5)]))
    assert [len(request.images) for request in trainer.suggested] == [2, 2, 1]
    assert account["images"] == 7


async def test_images_that_nothing_was_suggested_on_are_counted_by_reason(
    trainer: FakeTrainer, cells: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.unknown = frozenset({line(2)["digest"]})
    monkeypatch.setattr(suggesting, "LARGEST", 150)
    lines = [line(1, BOX), line(2, BOX), line(3, *[BOX] * 9)]
    account, _, warned = await suggested(trainer, cells, written(tmp_path, lines))
    assert (account["images"], account["saved"]) == (3, 1)
    assert account["failed"] == {"NOT_FOUND": 1, "TOO_LARGE": 1}
    assert "not there" in warned[0]


@pytest.mark.real_training
@pytest.mark.timeout(300)
async def test_a_job_suggests_all_that_it_predicts(detector: FakeTrainer, cells: Version, tmp_path: Path) -> None:
    wanted = job("yolo-detect", "PREDICT", split="all", threshold=0.0)
    wanted.suggest = True
    trainer = trainer_for(wanted, recipe("yolo-detect"), cells)
    trainer.base = detector.kept["checkpoint"]
    blobs = {**cells.blobs, trainer.base.logical_key: detector.content("checkpoint")}
    await attempt(trainer, blobs, tmp_path)
    assert trainer.finished is not None
    details = MessageToDict(trainer.finished.success.details)
    assert details["suggestions"]["saved"] == details["images"] == 16
    assert details["suggestions"]["shapes"] == details["shapes"] > 0
    seen = {image.digest: len(image.shapes) for request in trainer.suggested for image in request.images}
    lines = [json.loads(text) for text in trainer.content("predictions").decode().splitlines()]
    assert seen == {one["digest"]: len(one["shapes"]) for one in lines}


@pytest.mark.real_training
@pytest.mark.timeout(300)
async def test_a_job_predicts_on_images_of_its_project(detector: FakeTrainer, cells: Version, tmp_path: Path) -> None:
    wanted = job("yolo-detect", "PREDICT", threshold=0.0)
    wanted.dataset_version, wanted.suggest = "", True
    wanted.project_images.read_sequence = 7
    trainer = trainer_for(wanted, recipe("yolo-detect"), cells)
    trainer.manifest, trainer.base = None, detector.kept["checkpoint"]
    images = sorted(key for key in cells.blobs if "/datasets/" not in key)
    trainer.images = [
        JobImage(
            asset=f"projects/cells/assets/a{number}",
            display_name=f"{number}.jpg",
            digest=f"sha256:{key.rpartition('/')[2]}",
            size_bytes=len(cells.blobs[key]),
            logical_key=key,
            width=640,
            height=480,
        )
        for number, key in enumerate(images)
    ]
    blobs = {**cells.blobs, trainer.base.logical_key: detector.content("checkpoint")}
    await attempt(trainer, blobs, tmp_path)
    assert trainer.finished is not None
    details = MessageToDict(trainer.finished.success.details)
    assert details["project"] == {"uid": "", "sequence": 7}
    assert details["suggestions"]["saved"] == details["images"] == len(images) == 16
    lines = [json.loads(text) for text in trainer.content("predictions").decode().splitlines()]
    assert [one["file_name"] for one in lines] == [f"{number}.jpg" for number in range(16)]
    assert all(one["shapes"] for one in lines)
