"""The page about formats shows what the command line prints."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.flow.conftest import Run

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
PROGRESS = re.compile(r"(uploading|importing)\b")


def shown(text: str) -> list[str]:
    """Lines without what is never the same twice: progress, names of imports and assets, and their columns' width."""
    named = re.sub(r"/imports/i[0-9a-f]+|/assets/a[a-z0-9]+", "/ID", text)
    return [re.sub(r"  +", "  ", line.rstrip()) for line in named.splitlines() if not PROGRESS.match(line)]


@pytest.fixture
def broken(tmp_path: Path, examples_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that the page speaks of, in the current one."""
    folder = tmp_path / "broken"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    first, second = sorted((examples_dir / "blood-cells" / "JPEGImages").iterdir())[:2]
    for image in (first, second):
        shutil.copy(image, folder / "images")
    (folder / "images" / "c.jpg").write_bytes(b"no picture")
    (folder / "images" / "e.heic").write_bytes(b"a picture of a phone")
    (folder / "data.yaml").write_text("names: [RBC]\n")
    (folder / "labels" / f"{first.stem}.txt").write_text("0 .5 .5 .2 .2\n1 .5 .5 .2 .2\n0 1.4 .5 .2 .2\n")
    (folder / "labels" / f"{second.stem}.txt").write_text("1 .5 .5 .2 .2\n")
    (folder / "labels" / "d.txt").write_text("0 .5 .5 .2 .2\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("broken")
def test_the_page_shows_what_is_printed(run: Run) -> None:
    every = re.findall(r"^```console\n\$ bloomery (.*?)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    blocks = [(command, text) for command, text in every if "broken" in command]
    assert len(blocks) == 3
    run("project", "create", "broken")
    for command, text in blocks:
        done = run(*shlex.split(command))
        assert shown(done.stdout + done.stderr) == shown(text), command
