"""What the client and the command line offer to choose from is what the contract knows."""

from typing import get_args

from bloomery._aio import job, project
from bloomery._results import Kind
from bloomery.cli import _options, jobs
from bloomery.training.v1 import JobEvent, LogLine
from bloomery.vision.v1 import TaskType


def named(values: list[str], prefix: str) -> set[str]:
    """The names of an enumeration without the first, which stands for none."""
    return {value.removeprefix(prefix) for value in values[1:]}


def test_tasks() -> None:
    tasks = {name.lower() for name in named(TaskType.keys(), "TASK_TYPE_")}
    assert set(get_args(project.Task)) == {choice.value for choice in _options.Task} == tasks


def test_levels_of_logs() -> None:
    levels = named(LogLine.Level.keys(), "LEVEL_")
    assert set(get_args(job.Level)) == {choice.value for choice in jobs.Level} == levels


def test_kinds_of_events() -> None:
    assert set(get_args(Kind)) == {field.name for field in JobEvent.DESCRIPTOR.oneofs_by_name["event"].fields}
