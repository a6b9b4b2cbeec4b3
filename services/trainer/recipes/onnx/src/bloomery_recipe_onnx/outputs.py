"""What a model's outputs mean: found out from what it answers, or asked for."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloomery_recipe_onnx.stated import Stated
from bloomery_vision.decoders import PROBABILITIES, YOLO, YOLO_END_TO_END

Answers = Mapping[str, NDArray[np.float32]]
"""What a model answers to some images, by the names of its outputs, each [B, ...]."""
LOGITS = "logits"
_PIXELS = 2.0
"""Coordinates up to here are no pixels."""
_SLACK = 1e-3
_WANTED = {
    "detect": "one output, [4 + classes, anchors] or [rows, 6]",
    "segment": "two outputs, [4 + classes + k, anchors] or [rows, 6 + k], and prototypes [k, height, width]",
    "classify": "one output, [classes]",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """How outputs are read.

    Attributes:
        outputs: names of those that are used, in the order in which decoders take them.
        decoder: that reads them.
        is_logits: whether they become probabilities only by a softmax.
    """

    outputs: tuple[str, ...]
    decoder: str
    is_logits: bool = False


def read_outputs(task: str, answers: Answers, said: Stated, problems: list[str]) -> Reading | None:
    """How they are read. What is wrong or missing goes to `problems`; None where it is not known."""
    by_rank = {rank: [name for name, one in answers.items() if one.ndim == rank] for rank in (2, 3, 4)}
    wanted = {"detect": (0, 1, 0), "segment": (0, 1, 1), "classify": (1, 0, 0)}[task]
    if tuple(len(names) for names in by_rank.values()) != wanted or len(answers) != sum(wanted):
        listed = ", ".join(f"{name} {_shape(one)}" for name, one in answers.items())
        problems.append(
            f"its outputs are {listed}: a model to {task} gives {_WANTED[task]}; "
            "export it without suppression or other steps behind its head, or choose another --task"
        )
        return None
    if task == "classify":
        return _classifier(by_rank[2][0], answers, said, problems)
    return _detector((*by_rank[3], *by_rank[4]), answers, said, problems)


def _classifier(name: str, answers: Answers, said: Stated, problems: list[str]) -> Reading | None:
    values = answers[name]
    if not _named(values.shape[1], said, problems):
        return None
    positive = bool((values >= 0).all())
    sums_up = positive and bool(np.allclose(values.sum(axis=1), 1, atol=_SLACK))
    if said.decoder == PROBABILITIES and not sums_up:
        problems.append(f"--decoder {PROBABILITIES}: its outputs do not add up to 1; give --decoder {LOGITS}")
    elif not said.decoder and not sums_up and positive and bool((values <= 1).all()):
        problems.append(
            f"its outputs lie between 0 and 1 and do not add up to 1: an image has one class here; "
            f"export it without its sigmoid, or give --decoder {LOGITS} where that is chance"
        )
    return Reading((name,), PROBABILITIES, is_logits=said.decoder == LOGITS or not sums_up)


def _named(count: int, said: Stated, problems: list[str]) -> bool:
    """Whether the classes fit to so many."""
    if not said.classes:
        problems.append(f"it has {count} classes, whose names it does not say: give them by --classes")
    elif len(said.classes) != count:
        problems.append(f"it has {count} classes, and {len(said.classes)} names are given: {_few(said.classes)}")
    return len(said.classes) == count


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + ", ..." * (len(names) > 3)


def _detector(names: tuple[str, ...], answers: Answers, said: Stated, problems: list[str]) -> Reading | None:
    main = answers[names[0]]
    masks = answers[names[1]].shape[1] if len(names) > 1 else 0
    first, second = main.shape[1:]
    ends = second == 6 + masks and (first != 6 + masks or said.decoder == YOLO_END_TO_END)
    if said.decoder == YOLO_END_TO_END and not ends:
        expected = f"[rows, {6 + masks}]"
        problems.append(f"--decoder {said.decoder}: its output {names[0]} is {_shape(main)}, not {expected}")
        return None
    if ends and said.decoder != YOLO:
        if not said.classes:
            problems.append("it does not say the names of its classes: give them by --classes")
        return _checked(Reading(names, YOLO_END_TO_END), main, said, problems)
    count = first - 4 - masks
    if count < 1 or second < first:
        problems.append(
            f"its output {names[0]} is {_shape(main)}: neither [{4 + masks} + classes, anchors] nor [rows, {6 + masks}]"
        )
        return None
    if not _named(count, said, problems):
        return None
    return _checked(Reading(names, YOLO), main, said, problems)


def _checked(reading: Reading, main: NDArray[np.float32], said: Stated, problems: list[str]) -> Reading:
    """Whether the values are what the decoder takes them for."""
    if reading.decoder == YOLO:
        boxes, scores = main[:, :4], main[:, 4 : 4 + len(said.classes)]
    else:
        boxes, scores = main[:, :, :4], main[:, :, 4]
        numbers = main[:, :, 5]
        if said.classes and not bool(((numbers >= 0) & (numbers < len(said.classes)) & (numbers % 1 == 0)).all()):
            seen = f"{numbers.min():g} to {numbers.max():g}"
            problems.append(f"its sixth column should be class numbers up to {len(said.classes) - 1}, and is {seen}")
    if scores.size and (scores.min() < -_SLACK or scores.max() > 1 + _SLACK):
        seen = f"{scores.min():.3g} to {scores.max():.3g}"
        problems.append(f"its scores are {seen}, not 0 to 1: export it with its sigmoid")
    if boxes.size and np.abs(boxes).max() <= _PIXELS:
        problems.append(f"its boxes go up to {np.abs(boxes).max():.3g}: export it with boxes in pixels of its input")
    return reading


def _shape(answer: NDArray[np.float32]) -> str:
    """Without the batch axis."""
    return str(list(answer.shape[1:]))
