"""What became of images and frames: told line by line, written at the end."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape

from bloomery import errors
from bloomery._names import counted
from bloomery.cli._options import Output
from bloomery.cli._output import as_json, dump, grid
from bloomery.cli._sources import frame_name
from bloomery.cli.annotations import place

if TYPE_CHECKING:
    from bloomery import Asset, Blob, Frame, Predicted, Prediction
    from bloomery._seen_files import SeenFiles
    from bloomery.video import VideoWriter


@dataclass
class Report:
    """Takes in one after the other."""

    output: Output
    save: Path | None
    to_annotations: bool
    failed: int = 0
    files: "SeenFiles | None" = None
    _rows: list[tuple[object, ...]] = field(default_factory=list)
    _is_shown: bool = False
    _entries: list[dict[str, Any]] = field(default_factory=list)
    _names: Counter[str] = field(default_factory=Counter)
    _console: Console = field(default_factory=lambda: Console(stderr=True, soft_wrap=True, highlight=False))

    def add(self, one: "Predicted[Path | Blob | Asset]") -> None:
        """Take in the next image."""
        from bloomery import Asset, Blob

        image = one.image
        name = image.uri if isinstance(image, Blob) else str(image)
        origin = {}
        if isinstance(image, Asset):
            name, origin = image.display_name or image.id, {"asset": image.name}
        if one.error:
            self.refuse(name, one.error, origin)
        elif one.prediction:
            self.take(name, one.prediction, origin)
            self.say(f"{name}: {', '.join(self._done(image, one.prediction))}")

    @contextmanager
    def video(self, name: str) -> "Iterator[Video]":
        """Take in the frames of a video while the block runs, and tell about all of it."""
        if not self.save:
            yield Video(self, name)
            return
        from bloomery.video import writing

        target = self._target(Path(frame_name(name, 0).replace("_000000", "")).with_suffix(".mp4"), self.save)
        with writing(target) as writer:
            yield Video(self, name, writer, target)

    def say(self, line: str) -> None:
        """Tell something beside the result."""
        self._console.print(escape(line))

    def write(self) -> None:
        """Write the shapes to stdout, or the files that have them."""
        if self.output is not Output.table:
            dump(self._entries, self.output)
            return
        for path in self.files.paths if self.files else ():
            typer.echo(path)
        if self._is_shown:
            grid(("IMAGE", "LABEL", "SCORE", "X Y WIDTH HEIGHT"), self._rows)

    def refuse(self, name: str, error: errors.BloomeryError, origin: Mapping[str, Any]) -> None:
        """Take in that something could not be used."""
        self.failed += 1
        # Of the violations, all are about the image.
        violations = error.violations if isinstance(error, errors.InvalidArgument) else ()
        message = "; ".join(violation.description for violation in violations) or error.message
        told = {"reason": error.reason, "message": message}
        if self.output is not Output.table:
            self._entries.append({"image": name, **origin, "error": told})
        if self.files:
            self.files.refuse(name, told, origin)
        # The message of a file that could not be read names it.
        prefix = "" if message.startswith(name) else f"{escape(name)}: "
        self._console.print(f"[bold red]error:[/] {prefix}{escape(message)}")

    def take(self, name: str, prediction: "Prediction", origin: Mapping[str, Any]) -> None:
        """Take in what is seen, and where the image is from."""
        if self.files:
            self.files.add(name, prediction, origin)
        if self.output is not Output.table:
            self._entries.append({"image": name, **origin, **as_json(prediction.proto)})
        elif not self.files:
            # Not the prediction, which has the image to draw on: a minute of a video would fill the memory.
            self._is_shown = True
            self._rows += [(name, shape.label, shape.confidence, place(shape)) for shape in prediction.shapes]

    def _done(self, image: "Path | Blob | Asset", prediction: "Prediction") -> Iterator[str]:
        yield f"{counted(len(prediction.shapes), 'shape')} in {prediction.timings.total_ms:.0f} ms"
        from bloomery import Asset, Blob

        if self.save and not isinstance(image, Blob):
            yield f"drawn in {self._draw(image, prediction, self.save)}"
        if self.to_annotations and isinstance(image, Asset):
            yield _annotate(image, prediction)

    def _draw(self, image: "Path | Asset", prediction: "Prediction", folder: Path) -> Path:
        from bloomery import Prediction

        name = Path(image if isinstance(image, Path) else image.display_name or f"{image.id}.png")
        target = self._target(name, folder)
        if isinstance(image, Path):
            return prediction.save(target)
        with tempfile.TemporaryDirectory() as scratch:
            return Prediction(prediction.proto, image.download(Path(scratch, "image"))).save(target)

    def _target(self, name: Path, folder: Path) -> Path:
        """Where the picture of an image goes: those of one name from several folders do not overwrite each other."""
        self._names[name.name] += 1
        same = self._names[name.name]
        return folder / (name.name if same == 1 else f"{name.stem}-{same}{name.suffix}")


@dataclass
class Video:
    """What is seen on the frames of one video."""

    report: Report
    name: str
    writer: "VideoWriter | None" = None
    target: Path | None = None
    frames: int = 0
    shapes: int = 0
    _started: float = field(default_factory=time.monotonic)

    def add(self, one: "Predicted[Frame]") -> None:
        """Take in the next frame."""
        frame = one.image
        name = frame_name(self.name, frame.number)
        origin = {"video": self.name, "frame": frame.number, "time": round(frame.time, 6)}
        self.frames += 1
        if one.error:
            self.report.refuse(name, one.error, origin)
        elif one.prediction:
            self.report.take(name, one.prediction, origin)
            self.shapes += len(one.prediction.shapes)
        if self.writer:
            self._draw(self.writer, one)

    def tell(self) -> None:
        """Tell about all of it."""
        seconds = time.monotonic() - self._started
        done = f"{counted(self.frames, 'frame')}, {counted(self.shapes, 'shape')} in {seconds:.1f} s"
        drawn = f", drawn in {self.target}" if self.target else ""
        self.report.say(f"{self.name}: {done} ({self.frames / max(seconds, 1e-3):.1f} frames/s){drawn}")

    def _draw(self, writer: "VideoWriter", one: "Predicted[Frame]") -> None:
        from PIL import Image

        from bloomery.drawing import draw

        picture = one.image.image
        assert isinstance(picture, Image.Image)
        writer.add(draw(picture, one.prediction.shapes if one.prediction else ()), one.image.time)


def _annotate(asset: "Asset", prediction: "Prediction") -> str:
    try:
        asset.save_annotations(prediction)
    except errors.FailedPrecondition as error:
        if error.reason != "ANNOTATED_BY_PEOPLE":
            raise
        return "left alone: people annotated it"
    except errors.Conflict:
        return "left alone: somebody saved at the same time"
    return "saved"
