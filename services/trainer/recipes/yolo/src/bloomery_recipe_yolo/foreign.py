"""A checkpoint that somebody else has trained: read as data, never run as the pickle that it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bloomery_recipe_yolo.lora.adapter import Origin
from bloomery_recipe_yolo.model import read_checkpoint, write_model
from bloomery_recipe_yolo.weights import LICENSE
from bloomery_worker.failures import ConfigError, some


@dataclass(frozen=True)
class Foreign:
    """What such a file says about its model.

    Attributes:
        task: the library's word, such as "detect" or "pose".
        classes: names in the order of their numbers.
        side: of the square input that it was trained for, in pixels; None where the file does not say.
        license: as the file states it; may be empty.
        base: name and digest of what it was made from, where that is another file.
    """

    task: str
    classes: tuple[str, ...]
    side: int | None
    license: str
    base: tuple[str, str] | None
    _model: Any
    _content: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ConfigError where it is no YOLO checkpoint, or its classes cannot be told apart by name."""
        model, content = read_checkpoint(path)
        stated = content.get("license")
        return cls(
            task=str(model.task),
            classes=_names(getattr(model, "names", None)),
            side=_side(model.args.get("imgsz")),
            license=stated if isinstance(stated, str) else "",
            base=None,
            _model=model,
            _content=content,
        )

    @classmethod
    def of(cls, model: Any, origin: Origin) -> Self:
        """What an adapter has made of its base."""
        return cls(
            task=origin.task,
            classes=_names(origin.classes),
            side=_side(origin.arguments.get("imgsz")),
            license=LICENSE,
            base=(origin.base, origin.base_digest),
            _model=model,
            _content={"license": LICENSE},
        )

    def write(self, target: Path, *, side: int) -> None:
        """Writes it as trainings publish theirs, for an input of `side` pixels."""
        for parameter in self._model.parameters():
            parameter.requires_grad = False
        if hasattr(self._model, "criterion"):
            self._model.criterion = None
        known = {key: value for key, value in self._content.items() if isinstance(value, str)}
        content = {**known, "model": self._model.half(), "epoch": -1}
        write_model(content, target, self.classes, {**self._model.args, "imgsz": side})


def _names(names: object) -> tuple[str, ...]:
    if isinstance(names, Mapping):
        names = [names[number] for number in sorted(names)]
    found = tuple(str(name).strip() for name in names) if isinstance(names, list | tuple) else ()
    if not found or not all(found) or len(set(found)) < len(found):
        problem = f"the file's class names cannot be told apart: {some(found) or 'there are none'}"
        raise ConfigError(problem, hint="give each class a name of its own in the model's `names`, and save it again")
    return found


def _side(size: object) -> int | None:
    sides = size if isinstance(size, list | tuple) else [size]
    return max((side for side in sides if isinstance(side, int) and side > 0), default=None)
