"""How results are written, to a terminal and to what is none."""

import os
import re
import subprocess
import sys

import pytest

from bloomery.cli._output import fields, grid
from bloomery.cli._plans import tell
from tests.sdk import world
from tests.sdk.fake import Fake

ROWS = (("a", "x" * 300, ""), ("two\nlines", "細胞", "[b] :car:"), ("", "c", "d"), ("e", "f"))
LINES = [
    f"FIRST  SECOND{' ' * 294}  THIRD",
    f"a      {'x' * 300}",
    f"two    細胞{' ' * 296}  [b] :car:",
    "lines",
    f"       c{' ' * 299}  d",
    "e      f",
]


def test_without_a_terminal_nothing_is_cut_off_wrapped_or_filled_up(capsys: pytest.CaptureFixture[str]) -> None:
    grid(("FIRST", "SECOND", "THIRD"), ROWS)
    assert capsys.readouterr().out.splitlines() == LINES
    grid(("NONE",), ())
    assert capsys.readouterr().out == "NONE\n"


def test_titles_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    fields({"name": "cells", "error": "", "made by": None, "images": 0})
    assert capsys.readouterr().out.splitlines() == ["name    cells", "images  0"]


def test_a_terminal_shows_the_same_in_its_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "400"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    grid(("FIRST", "SECOND", "THIRD"), ROWS)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert [line.rstrip() for line in shown.splitlines()] == LINES


def test_what_draws_on_terminals_is_imported_for_them_alone(fake: Fake) -> None:
    world.settle(fake)
    script = """
import sys
from bloomery.cli import app
from bloomery.cli._plans import tell
app(standalone_mode=False)
tell("MISSING_IMAGE 2", "problem")
print("rich" in sys.modules)
"""
    environment = {**os.environ, "BLOOMERY_ENDPOINT": fake.endpoint}
    ran = subprocess.run(
        [sys.executable, "-c", script, "imports", "list", "--project", "cells"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stderr == "problem MISSING_IMAGE 2\n"
    assert ran.stdout.splitlines()[-1] == "False"


def test_a_word_stands_out_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("NO_COLOR", "")):
        monkeypatch.setenv(name, value)
    tell("[b] :car:", "problem")
    told = capsys.readouterr().err
    assert "\x1b[" in told
    assert re.sub(r"\x1b\[[0-9;]*m", "", told) == "problem [b] :car:\n"
