"""What was uploaded: an ONNX file, or a zip file of the folder that it lies in. A stranger may have made either."""

import errno
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from bloomery_recipe_onnx.triton import TritonConfig, read_config
from bloomery_worker.failures import ConfigError
from bloomery_worker.layout import place

MOST_FILES = 100
MOST_BYTES = 8 << 30
"""Of all files of a zip file together, unpacked."""
_CONFIG, _LABELS = "config.pbtxt", "labels.txt"
_MOST_TEXT = 4 << 20
_BLOCK = 1 << 20
_NO_NAME = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})
_SHOWN = 80
_HINT = "give one .onnx file, or a folder with one .onnx file and what belongs to it"


@dataclass(frozen=True, slots=True)
class Package:
    """A model and what lies beside it.

    Attributes:
        model: the ONNX file, in a folder with nothing but the package's files.
        config: Triton's configuration of it; None where there is none.
        labels: names of its classes as a file beside it says; empty where there is none.
    """

    model: Path
    config: TritonConfig | None = None
    labels: tuple[str, ...] = ()


def open_package(file: Path, folder: Path) -> Package:
    """Finds the model in `file`; what has to be unpacked goes below `folder`.

    Raises:
        ConfigError: it is damaged, larger than allowed, or holds no model or several.
    """
    if not zipfile.is_zipfile(file):
        return Package(place(file, folder / "model.onnx"))
    try:
        _unpack(file, folder)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as problem:
        raise ConfigError(f"the zip file is damaged or cannot be read: {problem}", hint=_HINT) from problem
    return _found(folder)


def _unpack(file: Path, folder: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        total = sum(entry.file_size for entry in entries)
        if len(entries) > MOST_FILES or total > MOST_BYTES:
            problem = f"the zip file holds {len(entries)} files of {total >> 20} MiB"
            raise ConfigError(f"{problem}, at most {MOST_FILES} of {MOST_BYTES >> 20} MiB are taken", hint=_HINT)
        for entry in entries:
            with archive.open(entry) as source, _new_file(folder, entry.filename) as sink:
                shutil.copyfileobj(source, sink, _BLOCK)


def _new_file(folder: Path, name: str) -> BinaryIO:
    target = folder.joinpath(*_inside(name).parts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.open("xb")
    except OSError as problem:
        if problem.errno not in _NO_NAME:
            raise
        told = f"the zip file holds {name[:_SHOWN]!r}, for which no file can be made: {problem.strerror}"
        raise ConfigError(told, hint=_HINT) from problem


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ConfigError(f"the zip file holds {name!r}, which lies outside of it", hint=_HINT)
    return path


def _found(folder: Path) -> Package:
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    models = [name for name in files if name.endswith(".onnx")]
    if len(models) != 1:
        listed = ", ".join(models[:5]) or "none"
        raise ConfigError(f"one .onnx file is taken at a time, the folder holds {listed}", hint=_HINT)
    root = _root(folder, files[models[0]])
    config = read_config(_text(root / _CONFIG)) if (root / _CONFIG).is_file() else None
    labels = next((path for path in _label_files(root, config) if path in files.values()), None)
    names = tuple(line.strip() for line in _text(labels).splitlines() if line.strip()) if labels else ()
    return Package(files[models[0]], config, names)


def _root(folder: Path, model: Path) -> Path:
    """The folder of Triton's configuration: that above the version's, or the model's own."""
    above = model.parent.parent
    return above if model.parent != folder and (above / _CONFIG).is_file() else model.parent


def _label_files(root: Path, config: TritonConfig | None) -> Iterator[Path]:
    for name in config.label_files if config else ():
        yield root.joinpath(*_inside(name).parts)
    yield root / _LABELS


def _text(path: Path) -> str:
    if path.stat().st_size > _MOST_TEXT:
        raise ConfigError(f"{path.name} has more than {_MOST_TEXT >> 20} MiB", hint="give a shorter one")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as problem:
        raise ConfigError(f"{path.name} is no UTF-8 text", hint="save it as UTF-8") from problem
