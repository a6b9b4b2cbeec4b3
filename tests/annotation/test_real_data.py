"""Imports of the real data sets."""

from collections import Counter
from pathlib import Path

from bloomery.annotation.v1 import (
    FORMAT_COCO,
    FORMAT_VOC,
    Import,
    ListLabelsRequest,
    Project,
    StreamAnnotationSetsRequest,
    ValidateAnnotationsRequest,
)
from tests.annotation.helpers import Server, folder_files


async def labels_of(server: Server) -> dict[str, int]:
    answer = await server.stub.ListLabels(ListLabelsRequest(parent="projects/p", page_size=1000))
    return {label.display_name: label.shape_count for label in answer.labels}


async def read(server: Server) -> tuple[Counter[str], Counter[str]]:
    """How many images each split has, and how many shapes there are of each kind."""
    splits: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    async for message in server.stub.StreamAnnotationSets(StreamAnnotationSetsRequest(parent="projects/p")):
        for item in message.items:
            splits[item.asset.split] += 1
            for shape in item.annotation_set.shapes:
                kinds[str(shape.WhichOneof("geometry")) + (" crowd" if shape.crowd else "")] += 1
    return splits, kinds


async def test_blood_cells_come_in_whole_with_their_official_split(
    server: Server, project: Project, test_data: Path
) -> None:
    files = folder_files(test_data / "blood-cells")
    done = await server.run_import(project, files)
    assert (done.state, done.format) == (Import.STATE_SUCCEEDED, FORMAT_VOC)
    assert (done.item_count, done.asset_count, done.annotated_count, done.failed_count) == (364, 364, 364, 0)
    assert await labels_of(server) == {"Platelets": 361, "RBC": 4155, "WBC": 372}
    splits, kinds = await read(server)
    assert splits.keys() == {"train", "val", "test"}
    assert (splits.total(), kinds) == (364, {"box": 4888})
    again = await server.run_import(project, files)
    assert (again.asset_count, again.annotated_count, again.unchanged_count) == (0, 0, 364)
    findings = await server.stub.ValidateAnnotations(ValidateAnnotationsRequest(parent=project.name))
    assert (findings.error_count, findings.asset_count) == (0, 364)
    assert {problem.code for problem in findings.problems} == {"ONE_PIXEL"}


async def test_raccoons_come_in_and_twins_among_them_are_said(
    server: Server, project: Project, test_data: Path
) -> None:
    files = folder_files(test_data / "raccoons")
    done = await server.run_import(project, files)
    assert (done.item_count, done.asset_count, done.annotated_count) == (200, 196, 196)
    assert [problem.code for problem in done.problems] == ["DUPLICATE_IMAGE"] * 4
    assert await labels_of(server) == {"raccoon": 213}
    again = await server.run_import(project, files)
    assert (again.annotated_count, again.unchanged_count) == (0, 196)


async def test_coco_comes_in_with_outlines_and_crowds(server: Server, project: Project, test_data: Path) -> None:
    done = await server.run_import(project, folder_files(test_data / "coco-tiny"))
    assert (done.format, done.item_count, done.shape_count) == (FORMAT_COCO, 38, 424)
    splits, kinds = await read(server)
    assert splits.total() == 38
    assert kinds["polygon"] > 300
    assert sum(count for kind, count in kinds.items() if kind.endswith("crowd")) > 0
    counts = await labels_of(server)
    assert (counts["person"], sum(counts.values())) == (111, 424)
    assert list(counts)[:3] == ["person", "bicycle", "car"]
