"""What the client and the command line offer to choose from is what the contract knows, and nothing else is sent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from bloomery import Client, errors
from bloomery._aio import dataset, project, work
from bloomery._results import Kind
from bloomery.annotation.v1 import Format
from bloomery.cli import _options, export, imports, jobs
from bloomery.dataset.v1 import ExportFormat
from bloomery.training.v1 import JobEvent, LogLine
from bloomery.vision.v1 import TASK_TYPE_CLASSIFY, TaskType
from tests.sdk import world
from tests.sdk.fake import Fake

UNKNOWN: Any = "klassify"


def named(values: list[str], prefix: str) -> set[str]:
    """The names of an enumeration without the first, which stands for none."""
    return {value.removeprefix(prefix) for value in values[1:]}


def test_tasks() -> None:
    tasks = {name.lower() for name in named(TaskType.keys(), "TASK_TYPE_")}
    assert set(get_args(project.Task)) == {choice.value for choice in _options.Task} == tasks


def test_formats_of_folders() -> None:
    formats = {name.lower() for name in named(Format.keys(), "FORMAT_")}
    assert set(get_args(project.FolderFormat)) == {choice.value for choice in imports.FolderFormat} == formats


def test_formats_of_exports() -> None:
    formats = {name.lower() for name in named(ExportFormat.keys(), "EXPORT_FORMAT_")}
    assert set(get_args(dataset.ExportFormat)) == {choice.value for choice in export.ExportFormat} == formats


def test_levels_of_logs() -> None:
    levels = named(LogLine.Level.keys(), "LEVEL_")
    assert set(get_args(work.Level)) == {choice.value for choice in jobs.Level} == levels


def test_kinds_of_events() -> None:
    assert set(get_args(Kind)) == {field.name for field in JobEvent.DESCRIPTOR.oneofs_by_name["event"].fields}


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (lambda client: client.project("cells").build_dataset("d", task=UNKNOWN), "task .* detect, segment, classify"),
        (
            lambda client: client.project("cells").import_folder(".", format=UNKNOWN),
            "format .* voc, coco, yolo, images",
        ),
        (lambda client: client.project("cells").plan_import(".", format=UNKNOWN), "format .* voc, coco, yolo, images"),
        (
            lambda client: client.dataset_version("cells-v@1").export(UNKNOWN, "out"),
            "format .* coco, imagefolder",
        ),
        (
            lambda client: client.dataset_version("cells-v@1").export_losses(UNKNOWN),
            "format .* coco, imagefolder",
        ),
        (lambda client: list(client.job("j1").logs(level=UNKNOWN)), "level .* DEBUG, INFO, WARNING, ERROR"),
    ],
    ids=["task", "import", "plan", "export", "losses", "level"],
)
def test_what_cannot_be_chosen_is_refused_with_what_can(
    fake: Fake,
    client: Client,
    use: Callable[[Client], object],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world.settle(fake)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.InvalidArgument, match=f"{told}, not 'klassify'"):
        use(client)
    assert not fake.calls.keys() & {"CreateDatasetVersion", "PrepareUploads", "ExportDatasetVersion", "GetLogs"}


def test_a_choice_may_be_in_capitals(fake: Fake, client: Client) -> None:
    world.settle(fake)
    anyway: Any = "CLASSIFY"
    client.project("cells").build_dataset("d", task=anyway)
    [call] = fake.calls["CreateDatasetVersion"]
    spec = call.dataset_version.spec
    assert (spec.task, spec.include_empty) == (TASK_TYPE_CLASSIFY, False)


def test_a_parameter_of_a_type_that_none_has_is_named(fake: Fake, client: Client) -> None:
    world.settle(fake)
    version = client.dataset_version("cells-v@1")
    thing: Any = object()
    with pytest.raises(
        errors.InvalidArgument, match="epochs must be a number, a text or a boolean, not of type object"
    ):
        version.train("yolo-detect", epochs=thing)
    assert "CreateJob" not in fake.calls
