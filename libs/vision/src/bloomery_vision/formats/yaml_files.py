"""Dataset configurations in YAML, as Ultralytics and others write them, and the key files of Darknet (`obj.data`)."""

import re
from collections.abc import Mapping

import yaml

from bloomery_vision.formats.model import FormatError
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.texts import read_lines, read_text

Config = Mapping[str, object]
"""What a configuration says. Every scalar is text as it stands in the file: `no` and `01` are names, not values."""

_SAYS_NAMES = re.compile(r"""^\s*\{?\s*["']?(names|nc)["']?\s*:""", re.MULTILINE)
_HINT = "write valid YAML"


def read_config(source: Source, name: str) -> Config | None:
    """The first document of a YAML file that names classes; None where it has nothing to do with labels.

    Raises:
        FormatError: BROKEN_CONFIG; FILE_TOO_LARGE, UNREADABLE.
    """
    try:
        text = read_text(source, name)
    except FormatError as problem:
        if problem.code != "BROKEN_FILE":
            raise
        return None
    if not _SAYS_NAMES.search(text):
        return None
    try:
        # The loader without types knows no tags either, so that those of other programs do no harm.
        documents = [document for document in yaml.load_all(text, yaml.BaseLoader) if isinstance(document, dict)]
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        if not re.search(r"""^["']?names["']?\s*:""", text, re.MULTILINE):
            return None
        raise FormatError("BROKEN_CONFIG", f"{name} cannot be read: {_plain(problem)}", _HINT) from problem
    return next((one for one in documents if "names" in one or "nc" in one), None)


def read_keys(source: Source, name: str) -> Config:
    """The `key = value` lines of a Darknet file. Raises FormatError as `read_text` does."""
    pairs = (line.partition("=") for line in read_lines(source, name))
    return {key.strip(): value.strip() for key, equals, value in pairs if equals and value.strip()}


def _plain(problem: Exception) -> str:
    return " ".join(str(problem).split())
