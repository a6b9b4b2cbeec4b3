"""Imports of the real data sets."""

from pathlib import Path

from bloomery.annotation.v1 import FORMAT_VOC, Import, ListLabelsRequest, Project
from tests.annotation.helpers import Server, folder_files


async def labels_of(server: Server, project: Project) -> dict[str, int]:
    answer = await server.stub.ListLabels(ListLabelsRequest(parent=project.name, page_size=1000))
    return {label.display_name: label.shape_count for label in answer.labels}


async def test_blood_cells_come_in_whole(server: Server, project: Project, test_data: Path) -> None:
    done = await server.run_import(project, folder_files(test_data / "blood-cells"))
    assert done.state == Import.STATE_SUCCEEDED
    assert done.format == FORMAT_VOC
    print(done.item_count, done.problem_count, await labels_of(server, project))
