"""The page about formats and the code agree: which files are read, and what is reported."""

import re
from pathlib import Path

from bloomery_vision.formats import FORMATS, LABEL_SUFFIXES
from bloomery_vision.formats.tree import VIDEOS
from bloomery_vision.images import SUFFIXES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "formats.md").read_text()
VISION = ROOT / "libs" / "vision" / "src" / "bloomery_vision"
CODE = re.compile(r"""(?:\b(?:error|warning|Doubt|FormatError|ImageError)\(\s*)"([A-Z][A-Z_]+)\"""")
WRITERS_ONLY = {"BAD_NAME", "DUPLICATE_NAME", "NOT_A_ZIP", "ZIP_LIMIT"}
"""What writing and archives say, which imports do not."""
IMPORTER = ROOT / "services" / "annotation" / "src" / "bloomery_annotation" / "importer"
WHOLE_IMPORTS = {"BAD_FILE_LIST", "BLOB_MISSING", "DOUBTS"}
"""Why an import fails as a whole; the page of errors has them."""


def row(beginning: str) -> set[str]:
    """Return the endings in a row of the table of files."""
    (line,) = (line for line in PAGE.splitlines() if line.startswith(beginning))
    return set(re.findall(r"`(\.\w+)`", line))


def test_the_endings_are_those_of_the_code() -> None:
    assert row("| an image |") == SUFFIXES
    assert row("| a label file,") == LABEL_SUFFIXES
    assert row("| a film,") == VIDEOS


def test_every_code_is_explained_and_every_explained_code_exists() -> None:
    files = [*VISION.glob("formats/*.py"), VISION / "validate.py", VISION / "images.py", *IMPORTER.glob("*.py")]
    used = {code for path in files for code in CODE.findall(path.read_text())} - WRITERS_ONLY - WHOLE_IMPORTS
    section = PAGE[PAGE.index("## What is reported") : PAGE.index("`bloomery annotations validate` looks again")]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    explained = {code for cell in rows for code in re.findall(r"`([A-Z_]+)`", cell)}
    assert used <= explained
    assert explained <= used


def test_every_format_is_named() -> None:
    assert all(f"`{one}`" in PAGE or f"{one}|" in PAGE or f"|{one}" in PAGE for one in FORMATS)
