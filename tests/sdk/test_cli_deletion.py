"""The command line asks before it deletes, and says what it takes along."""

import pytest
from google.protobuf.empty_pb2 import Empty

from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake


def test_delete_asks_first(fake: Fake, run: Run) -> None:
    fake.answer("DeleteProject", Empty())
    assert run("project delete cells").exit_code == 1
    assert "DeleteProject" not in fake.calls
    assert run("project delete cells --yes").exit_code == 0
    assert len(fake.calls["DeleteProject"]) == 1


DELETED = {
    "dataset delete cells-v": ("DeleteDataset", world.DATASET.name),
    "dataset delete cells-v@1": ("DeleteDatasetVersion", world.VERSION.name),
    f"dataset delete {world.VERSION.name}": ("DeleteDatasetVersion", world.VERSION.name),
    "models delete cells-v@1": ("DeleteModelVersion", world.MODEL_VERSION.name),
    "models delete cells-v --all": ("DeleteModel", world.MODEL.name),
    "assets delete a1": ("DeleteAsset", world.ASSET.name),
    "labels delete rbc": ("DeleteLabel", world.LABEL.name),
    "jobs delete j1": ("DeleteJob", world.JOB.name),
}


@pytest.mark.parametrize("line", DELETED)
def test_what_is_deleted_is_asked_for_first(fake: Fake, run: Run, line: str) -> None:
    method, name = DELETED[line]
    fake.answer(method, Empty())
    assert run(line).exit_code == 1
    assert method not in fake.calls
    assert run(f"{line} --yes").exit_code == 0
    assert [call.name for call in fake.calls[method]] == [name]


def test_shapes_are_deleted_with_their_label_only_where_that_is_said(fake: Fake, run: Run) -> None:
    fake.answer("DeleteLabel", Empty())
    assert "4155 shapes" not in run("labels delete rbc").output
    assert "4155 shapes" in run("labels delete rbc --force").output
    run("labels delete rbc --yes")
    run("labels delete rbc --force --yes")
    assert [call.force for call in fake.calls["DeleteLabel"]] == [False, True]


def test_the_newest_version_of_a_model_is_not_deleted_by_leaving_the_number_out(fake: Fake, run: Run) -> None:
    assert run("models delete cells-v --yes").exit_code == 2
    assert run("models delete cells-v@1 --all --yes").exit_code == 2
    assert not {"DeleteModelVersion", "DeleteModel"} & fake.calls.keys()


def test_a_label_in_use_is_refused_with_the_option_that_helps(fake: Fake, run: Run) -> None:
    fake.queue("DeleteLabel", served.FailedPrecondition("LABEL_IN_USE", "shapes carry it"))
    assert "--force" in run("labels delete rbc --yes").output
