"""Models that come from elsewhere: one file, or a folder that travels as one."""

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bloomery.errors import InvalidArgument

Layout = Literal["nchw", "nhwc"]
Scale = Literal["1/255", "imagenet", "-1..1", "none"]
Decoder = Literal["yolo", "yolo-end-to-end", "probabilities", "logits"]
_MOST_FILES = 100
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_YOLO = frozenset({".pt", ".safetensors"})
_MODELS = frozenset({".onnx", ".safetensors"})


def recipe_for(path: Path, task: str | None, recipe: str | None) -> str:
    """The recipe that imports a file: the one that is named, or that of the file's kind for a task.

    Raises:
        InvalidArgument: neither is given, or both are.
    """
    if (task is None) == (recipe is None):
        raise InvalidArgument("give the task of the model, such as detect, or a recipe; not both")
    if recipe is None:
        return f"recipes/{'yolo' if path.suffix.lower() in _YOLO else 'onnx'}-{task}"
    return recipe if recipe.startswith("recipes/") else f"recipes/{recipe}"


def as_one_file(path: Path, scratch: Path) -> Path:
    """The file itself, or a folder as a zip file in `scratch`, which is the same for the same files.

    Raises:
        InvalidArgument: the folder holds no `.onnx` file and no adapter, or more files than belong to a model.
    """
    if not path.is_dir():
        return path
    files = sorted(one for one in path.rglob("*") if one.is_file())
    if not any(one.suffix in _MODELS for one in files) or len(files) > _MOST_FILES:
        hint = "give a folder with one .onnx file and what belongs to it, such as a Triton model directory"
        raise InvalidArgument(f"{path} with {len(files)} files is no model", hint=hint)
    packed = scratch / f"{path.name}.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for one in files:
            entry = zipfile.ZipInfo(one.relative_to(path).as_posix(), _LONG_AGO)
            with one.open("rb") as source, archive.open(entry, "w", force_zip64=True) as sink:
                shutil.copyfileobj(source, sink)
    return packed


def parameters_of(
    *,
    imgsz: int | None,
    classes: Sequence[str] | None,
    size: tuple[int, int] | None,
    layout: Layout | None,
    scale: Scale | None,
    decoder: Decoder | None,
) -> dict[str, int | str]:
    """What an import is told of a model, by the parameters of its recipe; only what is given."""
    given: dict[str, int | str | None] = {
        "imgsz": imgsz,
        "classes": "\n".join(classes) if classes else None,
        "input": "x".join(map(str, size)) if size else None,
        "layout": layout,
        "scale": scale,
        "decoder": decoder,
    }
    return {name: value for name, value in given.items() if value is not None}
