"""The commands as people type them."""

import json
import os
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from typer.main import get_command
from typer.testing import CliRunner

from bloomery.annotation import v1 as annotation
from bloomery.cli import _group, app
from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake

SHOWN: dict[str, tuple[Message, str]] = {
    "project list": (world.PROJECT, "Blood cells"),
    "project show cells": (world.PROJECT, "projects/cells"),
    "project create cells": (annotation.Project(name="projects/cells"), "projects/cells"),
    "imports list": (world.IMPORT, "364/364"),
    "imports show i1": (world.IMPORT, "SUCCEEDED"),
    "assets list": (world.ASSET, "JPEGImages/1.jpg"),
    "assets show a1": (world.ASSET, "640 x 480"),
    "labels list": (world.LABEL, "4155"),
    "labels show rbc": (world.LABEL, "#e6194b"),
    "labels create RBC": (world.LABEL, "RBC"),
    "labels rename RBC RBC": (world.LABEL, "RBC"),
    "project rename cells Blood": (world.PROJECT, "projects/cells"),
    "annotations list": (world.SET, "main"),
    "annotations show a1": (world.SET, "10.0 20.0 30.0 40.0"),
    "dataset list": (world.DATASET, "cells-v@1"),
    "dataset show cells-v@1": (world.VERSION, "RBC             2900"),
    "dataset versions cells-v": (world.VERSION, "RBC, WBC"),
    "dataset build cells-v --split 70/20/10 --seed 7 --kind detect": (world.VERSION, "READY"),
    "recipes list": (world.RECIPE, "AGPL-3.0-only"),
    "recipes show yolo-detect": (world.RECIPE, "sgd|adamw"),
    "train cells-v@1 --recipe yolo-detect": (world.JOB, "projects/cells/jobs/j1"),
    "jobs list": (world.JOB, "100% 2/2 publishing"),
    "jobs show j1": (world.JOB, "recipes/yolo-detect"),
    "jobs cancel j1": (world.JOB, "SUCCEEDED"),
    "jobs update j1 --priority 5": (world.JOB, "SUCCEEDED"),
    "jobs pause j1": (world.JOB, "SUCCEEDED"),
    "jobs resume j1": (world.JOB, "SUCCEEDED"),
    "groups list": (world.GROUP, "1 RUNNING, 2 SUCCEEDED"),
    "groups show sweep": (world.GROUP, "75%"),
    "groups cancel sweep --force": (world.GROUP, "projects/cells/jobGroups/sweep"),
    "models list": (world.MODEL, "cells-v@1"),
    "models versions cells-v": (world.MODEL_VERSION, "test/map50=0.91"),
    "models show cells-v@1": (world.MODEL_VERSION, "onnx-fp32"),
    "models variants cells-v@1": (world.VARIANT, "passed on 32 images"),
    "evaluate cells-v@1 --on cells-v@1": (world.JOB, "projects/cells/jobs/j1"),
    "predict-batch cells-v@1 --on cells-v@1": (world.JOB, "projects/cells/jobs/j1"),
    "optimize cells-v@1 --to onnx": (world.VARIANT, "passed on 32 images"),
}


@pytest.mark.parametrize("line", SHOWN)
def test_a_table_is_for_people(run: Run, line: str) -> None:
    result = run(line)
    assert result.exit_code == 0, result.output
    assert SHOWN[line][1] in result.stdout


@pytest.mark.parametrize("line", SHOWN)
def test_json_is_the_messages_own_and_yaml_the_same(run: Run, line: str) -> None:
    expected = SHOWN[line][0]
    found = json.loads(run(f"{line} -o json").stdout)
    assert yaml.safe_load(run(f"{line} -o yaml").stdout) == found
    assert ParseDict(found[0] if isinstance(found, list) else found, type(expected)()) == expected


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (served.NotFound("job", "projects/cells/jobs/j1"), 3),
        (served.InvalidArgument([served.FieldViolation("name", "is wrong")]), 4),
        (served.FailedPrecondition("NOT_READY", "wait for it"), 4),
        (served.ResourceExhausted("DISK_LOW", "free space"), 4),
        (served.Unauthenticated(), 6),
        (served.PermissionDenied("no"), 6),
        (served.Internal("oops"), 1),
    ],
)
def test_an_error_tells_reason_and_code(fake: Fake, run: Run, error: served.BloomeryError, code: int) -> None:
    fake.queue("ListJobs", error)
    result = run("jobs show j1")
    assert (result.exit_code, result.stdout) == (code, "")
    assert error.message in result.stderr
    assert f"reason: {error.reason}" in result.stderr


def test_all_violations_are_told(fake: Fake, run: Run) -> None:
    bad = [served.FieldViolation("job.parameters.epochs", "at least 1"), served.FieldViolation("job.base", "unknown")]
    fake.queue("CreateJob", served.InvalidArgument(bad))
    stderr = run("train cells-v@1 --recipe yolo-detect --set epochs=0").stderr
    assert stderr == (
        "error: 2 things are wrong\n"
        "  job.parameters.epochs: at least 1\n"
        "  job.base: unknown\n"
        "reason: INVALID_ARGUMENT\n"
    )


def test_without_a_server_the_hint_says_how_to_start_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BLOOMERY_ENDPOINT")
    result = run("project list")
    assert result.exit_code == 5
    assert "hint: start one with `bloomery up`" in result.stderr


def test_a_wrong_command_line_exits_with_2(run: Run) -> None:
    assert run("train cells-v@1").exit_code == 2
    assert run("train cells-v@1 --recipe r --set epochs").exit_code == 2
    assert run("jobs fly").exit_code == 2
    assert run("project list -o xml").exit_code == 2


def test_a_listing_that_is_cut_says_so(fake: Fake, run: Run) -> None:
    two = [annotation.Project(name=f"projects/{name}") for name in ("first", "second")]
    fake.answer("ListProjects", annotation.ListProjectsResponse(projects=two))
    result = run("project list --limit 1")
    assert "second" not in result.stdout
    assert "--limit 0" in result.stderr
    assert "second" in run("project list --limit 0").stdout


def test_the_project_comes_from_option_or_environment(fake: Fake, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("jobs list --project one")
    monkeypatch.setenv("BLOOMERY_PROJECT", "two")
    run("jobs list")
    monkeypatch.delenv("BLOOMERY_PROJECT")
    run("jobs list")
    assert [call.parent for call in fake.calls["ListJobs"]] == ["projects/one", "projects/two", "projects/-"]


def test_markup_in_what_people_named_is_text(fake: Fake, run: Run) -> None:
    fake.answer(
        "ListProjects",
        annotation.ListProjectsResponse(projects=[annotation.Project(name="projects/a", display_name="[bold]x[/]")]),
    )
    assert "[bold]x[/]" in run("project list").stdout


def commands(command: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """All commands of our own that do something, with what is typed to reach them."""
    below = getattr(command, "commands", None)
    if below is None:
        return [(path, command)]
    return [found for name in below for found in commands(command.get_command(None, name), (*path, name))]


def test_the_help_of_each_command_has_an_example_of_it() -> None:
    for path, command in commands(get_command(app)):
        assert f"Example: bloomery {' '.join(path)}" in str(getattr(command, "epilog", "")), path
        assert getattr(command, "help", ""), path


def test_help_tells_the_exit_codes_and_what_plugins_bring(run: Run) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["--help"])
    assert "130 interrupted" in result.stdout
    lines = [line.strip("│ ").split(maxsplit=1) for line in result.stdout.splitlines()]
    assert ["up", metadata("bloomery-server")["Summary"]] in lines


def test_a_command_that_cannot_be_imported_is_not_taken_for_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_module: str) -> None:
        raise KeyError("HOME")

    monkeypatch.setattr(_group, "import_module", failing)
    result = CliRunner().invoke(app, ["version"])
    assert isinstance(result.exception, KeyError)
    assert "No such command" not in result.output


def test_a_command_that_is_spelt_wrongly_is_guessed(run: Run) -> None:
    assert "Did you mean 'models'?" in CliRunner().invoke(app, ["modles"]).output


def test_the_version_is_told_without_a_server(run: Run) -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"bloomery {metadata('bloomery')['Version']}\n")


def test_the_versions_of_client_and_server_are_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"client  {metadata('bloomery')['Version']}\n"
    assert run("version").stdout == f"{own}server  9.8.7\n"
    monkeypatch.delenv("BLOOMERY_ENDPOINT")
    alone = run("version")
    assert (alone.exit_code, alone.stdout) == (5, own)


def test_a_plugin_is_imported_when_it_is_run(run: Run) -> None:
    result = run("up --help")
    assert result.exit_code == 0
    assert "--data" in result.stdout


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from bloomery.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('grpc', 'httpx', 'google.protobuf', 'PIL', 'bloomery_server')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_command_loads_no_other() -> None:
    script = (
        "import sys; from bloomery.cli import app\n"
        "try: app(['import', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('bloomery.cli.') and '._' not in name))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['bloomery.cli.imports']"


def test_a_command_that_calls_the_server_loads_neither_what_makes_http_nor_what_checks_types() -> None:
    script = (
        "import sys; from bloomery.cli import app\n"
        "try: app(['project', 'list'])\nexcept SystemExit: pass\n"
        "print([name for name in ('grpc', 'httpx', 'pydantic', 'PIL', 'importlib.metadata') if name in sys.modules])"
    )
    environment = {**os.environ, "BLOOMERY_ENDPOINT": "127.0.0.1:1", "BLOOMERY_TOKEN": "t"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "['grpc']"


def test_a_mistyped_command_is_put_right(run: Run) -> None:
    result = run("jobz list")
    assert result.exit_code == 2
    assert "Did you mean 'jobs'?" in result.stderr


def test_a_client_loads_what_speaks_http_when_it_first_moves_bytes_that_way(tmp_path: Path) -> None:
    script = (
        "import sys; from bloomery import Client, errors\n"
        "try: list(Client('127.0.0.1:1', token='t').projects())\nexcept errors.ServerNotFound: pass\n"
        "print([name for name in ('grpc', 'httpx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "['grpc']"


@pytest.mark.parametrize(
    "line",
    [
        "train cells-v@1 --recipe yolo-detect --gpus",
        "evaluate cells-v@1 --gpus",
        "predict-batch cells-v@1 --gpus",
        "jobs logs j1 --tail",
        "jobs samples j1 --epoch",
        "models alias set cells-v@1 champion --expect",
        "models promote cells-v@1 --to champion --expect",
        "train cells-v@1 --recipe yolo-detect --priority",
        "train cells-v@1 --recipe yolo-detect --memory",
        "jobs update j1 --priority",
        "jobs list --limit",
        "dataset build cells-v --seed",
    ],
)
def test_numbers_that_the_api_cannot_take_are_refused(run: Run, line: str) -> None:
    result = run(line, str(2**63))
    assert result.exit_code == 2, result.output
