"""Scratch folders last as long as they are used, and those of killed processes until the next start."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bloomery_annotation import scratch as module
from bloomery_annotation.scratch import scratch, sweep
from bloomery_annotation.settings import AnnotationSettings
from tests.annotation.helpers import serving

_HOLDS_ONE = """
import sys, tempfile
from bloomery_annotation.scratch import scratch
tempfile.tempdir = sys.argv[1]
with scratch() as folder:
    (folder / "part").write_bytes(b"x")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@contextmanager
def other_process(temporary: Path) -> Iterator[tuple[Path, "subprocess.Popen[str]"]]:
    command = [sys.executable, "-c", _HOLDS_ONE, str(temporary)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Path(process.stdout.readline().strip()), process
        process.kill()


def test_a_folder_goes_at_the_end() -> None:
    with scratch() as folder:
        (folder / "below").mkdir()
    assert not folder.exists()


def test_a_folder_of_a_killed_process_goes_with_the_next_sweep_and_no_sooner(temporary: Path) -> None:
    with other_process(temporary) as (folder, process):
        sweep()
        assert (folder / "part").exists()
        process.kill()
        process.wait()
        assert (folder / "part").exists()
        sweep()
        assert not folder.exists()


async def test_a_service_sweeps_when_it_starts(temporary: Path, settings: AnnotationSettings) -> None:
    with other_process(temporary) as (folder, process):
        process.kill()
        process.wait()
        async with serving(settings):
            assert not folder.exists()


def test_a_sweep_leaves_what_is_in_use_here_and_what_is_not_called_so(temporary: Path) -> None:
    (temporary / "other").mkdir()
    (temporary / "bloomery-annotation-file").touch()
    (temporary / "bloomery-annotation-link").symlink_to(temporary / "other")
    with scratch() as folder:
        sweep()
        assert folder.exists()
    assert {path.name for path in temporary.iterdir()} == {
        "other",
        "bloomery-annotation-file",
        "bloomery-annotation-link",
    }


def test_a_folder_that_is_swept_before_it_is_locked_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, swept = module._opened, []

    def sweep_first(folder: str) -> object:
        monkeypatch.setattr(module, "_opened", opened)
        sweep()
        swept.append(Path(folder))
        return opened(folder)

    monkeypatch.setattr(module, "_opened", sweep_first)
    with scratch() as folder:
        assert folder.is_dir()
        assert swept
        assert swept[0] != folder
    assert not folder.exists()
