"""What a model sees on many images, as files that other tools read: written image by image, in place at the end."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol, get_args

import yaml

from bloomery._files import replacing
from bloomery._parquet import ParquetFile, library
from bloomery._predicted_images import read
from bloomery._shapes import bounds, run_lengths, shape_json, single_ring
from bloomery.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from bloomery import Prediction
    from bloomery.vision.v1 import Ring, Shape

PredictionFormat = Literal["jsonl", "coco", "yolo", "parquet"]
"""Formats of files of predictions."""
Origin = Mapping[str, Any]
"""Where an image is from: its asset; its video, with its number there and its time in seconds; its digest and split."""
_PLACES = ("asset", "video", "frame", "time")
"""What of that files of all formats say."""


class _Writer(Protocol):
    def add(self, name: str, prediction: "Prediction", origin: Origin) -> None:
        """Write what is seen on an image."""

    def refuse(self, name: str, error: Mapping[str, str], origin: Origin) -> None:
        """Write that an image could not be predicted on."""

    def close(self) -> None:
        """Write what comes at the end."""


class SeenFiles:
    """The files in a folder, all of them told about each image."""

    def __init__(self, writers: Sequence[_Writer], paths: Sequence[Path]) -> None:
        self._writers = writers
        self.paths = paths

    def add(self, name: str, prediction: "Prediction", origin: Origin) -> None:
        """Take in what is seen on the next image."""
        for writer in self._writers:
            writer.add(name, prediction, origin)

    def refuse(self, name: str, error: Mapping[str, str], origin: Origin) -> None:
        """Take in that an image could not be predicted on, with `reason` and `message`."""
        for writer in self._writers:
            writer.refuse(name, error, origin)


def check(formats: Sequence[str], task: str, *, outlines: bool) -> None:
    """Refuse formats that cannot hold what a model of a task sees, whose masks are `outlines` or run lengths.

    Raises:
        InvalidArgument: there is no such format.
        FailedPrecondition: one cannot hold it, or what writes it is not installed.
    """
    for one in formats:
        if one not in get_args(PredictionFormat):
            raise InvalidArgument(f"format must be one of {', '.join(get_args(PredictionFormat))}, not {one}")
    if task == "classify" and "coco" in formats:
        raise FailedPrecondition(
            "coco cannot hold what a model to classify sees", hint=f"take {' or '.join(holding(task))}"
        )
    if task == "segment" and "yolo" in formats and not outlines:
        raise FailedPrecondition("yolo holds outlines, and these are masks", hint="predict with masks as polygons")
    if "parquet" in formats:
        library()


def holding(task: str) -> Sequence[str]:
    """The formats that hold what a model of a task sees."""
    return [one for one in get_args(PredictionFormat) if task != "classify" or one != "coco"]


def convert(lines: Path, folder: Path, formats: Sequence[str], classes: Sequence[str]) -> Sequence[Path]:
    """Write the lines of a job in other formats to `folder`; return the files."""
    with writing(folder, formats, classes, nested=True) as files:
        for image in read(lines, ""):
            origin = {"digest": image.digest, "split": image.split}
            if image.prediction:
                files.add(image.file_name, image.prediction, origin)
            elif image.error:
                files.refuse(image.file_name, image.error, origin)
    return files.paths


@contextmanager
def writing(
    folder: Path, formats: Sequence[str], classes: Sequence[str], *, nested: bool = False
) -> Iterator[SeenFiles]:
    """Files of some formats in `folder`; `classes` are the model's in the order of their numbers.

    One that was there is replaced once the block has ended well. The label files of `nested` images lie in folders as
    the images do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        writers: list[_Writer] = []
        paths: list[Path] = []
        for kind in dict.fromkeys(formats):
            paths.append(folder / _NAMES[kind])
            if kind == "yolo":
                writers.append(_Yolo(folder, classes, nested=nested))
                continue
            part = stack.enter_context(replacing(paths[-1]))
            if kind == "parquet":
                writers.append(stack.enter_context(ParquetFile(part)))
                continue
            file = stack.enter_context(part.open("w", encoding="utf-8", newline="\n"))
            writers.append(_Lines(file) if kind == "jsonl" else _Coco(file, classes))
        yield SeenFiles(writers, paths)
        for writer in writers:
            writer.close()


_NAMES = {"jsonl": "predictions.jsonl", "coco": "coco.json", "yolo": "labels", "parquet": "predictions.parquet"}


class _Lines:
    """One JSON object a line, one line an image: the lines of `predict-batch`, of images that have a name only."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def add(self, name: str, prediction: "Prediction", origin: Origin) -> None:
        width, height = prediction.size
        shapes = [_scored(shape) for shape in prediction.shapes]
        self._write({"file_name": name, **origin, "width": width, "height": height, "shapes": shapes})

    def refuse(self, name: str, error: Mapping[str, str], origin: Origin) -> None:
        self._write({"file_name": name, **origin, "error": error})

    def close(self) -> None:
        pass

    def _write(self, record: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")


def _scored(shape: "Shape") -> dict[str, Any]:
    found = shape_json(shape)
    return {"label": found.pop("label"), "score": found.pop("confidence", 0.0), **found}


class _Coco:
    """Images, categories, and annotations with a `score`; ids are counted from 1."""

    def __init__(self, file: IO[str], classes: Sequence[str]) -> None:
        self._file = file
        self._numbers = {name: number for number, name in enumerate(classes, 1)}
        self._images: list[Mapping[str, Any]] = []
        self._count = 0
        file.write('{"annotations": [')

    def add(self, name: str, prediction: "Prediction", origin: Origin) -> None:
        width, height = prediction.size
        image = {"id": len(self._images) + 1, "file_name": name, "width": width, "height": height}
        self._images.append({**image, **{name: origin[name] for name in _PLACES if name in origin}})
        for shape in prediction.shapes:
            self._file.write(",\n" if self._count else "\n")
            self._count += 1
            self._file.write(json.dumps(self._annotation(shape)))

    def refuse(self, name: str, error: Mapping[str, str], origin: Origin) -> None:
        pass

    def close(self) -> None:
        categories = [{"id": number, "name": name} for name, number in self._numbers.items()]
        rest = json.dumps({"images": self._images, "categories": categories}, ensure_ascii=False)
        self._file.write(f"\n],\n{rest[1:]}\n")

    def _annotation(self, shape: "Shape") -> Mapping[str, Any]:
        box, mask = bounds(shape), shape.mask
        assert box is not None
        segmentation: object = [list(ring.coordinates) for ring in shape.polygon.rings]
        area = sum(map(_area, shape.polygon.rings)) if segmentation else box.width * box.height
        if shape.HasField("mask"):
            segmentation = {"size": [mask.height, mask.width], "counts": mask.counts.decode("ascii")}
            area = float(sum(list(run_lengths(mask.counts))[1::2]))
        return {
            "id": self._count,
            "image_id": len(self._images),
            "category_id": self._numbers[shape.label],
            "bbox": [box.x, box.y, box.width, box.height],
            "area": area,
            "segmentation": segmentation,
            "iscrowd": 0,
            "score": shape_json(shape).get("confidence", 0.0),
        }


def _area(ring: "Ring") -> float:
    """Square pixels (shoelace formula)."""
    xs, ys = ring.coordinates[::2], ring.coordinates[1::2]
    return abs(sum(x * ys[place - 1] - xs[place - 1] * y for place, (x, y) in enumerate(zip(xs, ys, strict=True)))) / 2


class _Yolo:
    """A file for each image, a line for each object: class number, place and score.

    The place is centre and size of its box, or the points of its outline, all in parts of the image. Of a classifier a
    line for each class: score and name, as Ultralytics writes them.
    """

    def __init__(self, folder: Path, classes: Sequence[str], *, nested: bool) -> None:
        self._labels = folder / "labels"
        self._labels.mkdir(exist_ok=True)
        self._nested = nested
        self._numbers = {name: number for number, name in enumerate(classes)}
        names = yaml.safe_dump({"names": dict(enumerate(classes))}, allow_unicode=True)
        (folder / "data.yaml").write_text(names, encoding="utf-8")
        self._stems: Counter[str] = Counter()

    def add(self, name: str, prediction: "Prediction", origin: Origin) -> None:  # noqa: ARG002 - as others take it
        stem = self._stem(name)
        self._stems[stem] += 1
        same = self._stems[stem]
        target = self._labels / f"{stem if same == 1 else f'{stem}-{same}'}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(self._line(shape, *prediction.size) for shape in prediction.shapes)
        with replacing(target) as part:
            part.write_text(lines, encoding="utf-8", newline="\n")

    def refuse(self, name: str, error: Mapping[str, str], origin: Origin) -> None:
        pass

    def close(self) -> None:
        pass

    def _stem(self, name: str) -> str:
        """The path of an image's label file in the folder, without its ending."""
        path = PurePosixPath(name)
        inside = not path.is_absolute() and ".." not in path.parts
        return str(path.with_suffix("")) if self._nested and inside else Path(name).stem

    def _line(self, shape: "Shape", width: int, height: int) -> str:
        if shape.HasField("tag"):
            return f"{shape.confidence:.6g} {shape.label}\n"
        if shape.HasField("polygon"):
            place = [part for x, y in single_ring(shape.polygon) for part in (x / width, y / height)]
        else:
            box = shape.box
            centre = ((box.x + box.width / 2) / width, (box.y + box.height / 2) / height)
            place = [*centre, box.width / width, box.height / height]
        values = " ".join(f"{value:.6g}" for value in (*place, shape.confidence))
        return f"{self._numbers[shape.label]} {values}\n"
