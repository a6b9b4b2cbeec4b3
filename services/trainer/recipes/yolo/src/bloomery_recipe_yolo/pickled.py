"""What a pickle would look up and run, found without running it."""

import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

_READ = 16 << 20
"""Of a file that is one pickle behind the other, at most: code comes before weights."""
_OF_MODELS = {"torch", "ultralytics", "collections", "numpy"}
_MODULE = re.compile(r"[A-Za-z_][\w.]*")


def foreign_code(path: Path) -> list[str]:
    """The functions and classes that a file's pickles name, such as "os.system", but for those of models; in order."""
    names = dict.fromkeys(name for pickle in _pickles(path) for name in _named(pickle))
    return [name for name in names if name.partition(".")[0] not in _OF_MODELS] or list(names)


def _pickles(path: Path) -> Iterator[bytes]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            yield file.read(_READ)
        return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".pkl") and entry.file_size <= _READ:
                yield archive.read(entry)


def _named(content: bytes) -> Iterator[str]:
    """Reads the operations as far as there are some; what a name is made of stands right before it is looked up."""
    texts: list[str] = []
    try:
        for operation, argument, _ in pickletools.genops(content):
            if operation.name in ("GLOBAL", "INST"):
                texts = str(argument).split(" ", 1)
            elif isinstance(argument, str):
                texts = [*texts[-1:], argument]
            if operation.name in ("GLOBAL", "INST", "STACK_GLOBAL") and len(texts) == 2 and _MODULE.fullmatch(texts[0]):
                yield ".".join(texts)
    except (ValueError, UnicodeError):
        return
