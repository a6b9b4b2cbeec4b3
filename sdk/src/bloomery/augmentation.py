"""Augmentation policies explained and shown on images. Needs the extra `bloomery[augment]`, which is Albumentations.

A policy is one line, such as "low_contrast,lighting=poor,intensity=high", YAML or JSON; a path names a file of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from bloomery._shapes import bounds
from bloomery.drawing import draw, mask_image, opened
from bloomery.errors import FailedPrecondition, InvalidArgument, Violation
from bloomery.vision import v1 as vision

if TYPE_CHECKING:
    from bloomery_augment.pipeline import Augmented
    from bloomery_augment.policy import Policy

    Pipeline = Callable[..., Augmented]

SIDE = 480
"""Pixels of the longer side of a shown image, at most."""

_GAP = 6


@dataclass(frozen=True)
class Sheet:
    """What a policy makes of an image.

    Attributes:
        asset: resource name of the image.
        file_name: of it in the dataset version.
        picture: the image as it is, and its changed copies, side by side, with shapes drawn.
    """

    asset: str
    file_name: str
    picture: Image.Image


def parse(policy: str | Path) -> "Policy":
    """A policy, or that of a file.

    Raises:
        InvalidArgument: lists all that is wrong with it.
        FailedPrecondition: the extra `bloomery[augment]` is not installed.
    """
    try:
        from bloomery_augment.policy import Policy, PolicyError
    except ImportError:
        raise _missing() from None
    try:
        return Policy.parse(policy.read_text(encoding="utf-8") if isinstance(policy, Path) else policy)
    except UnicodeDecodeError:
        raise _refused([f"{policy} is no text"]) from None
    except PolicyError as error:
        raise _refused(error.problems) from None


def pipeline(policy: "Policy") -> "Pipeline":
    """What changes images by a policy. Raises FailedPrecondition, where the extra is not installed."""
    try:
        from bloomery_augment.pipeline import Pipeline
    except ImportError:
        raise _missing() from None
    return Pipeline(policy)


def sheet(image: bytes, shapes: Sequence[vision.Shape], change: "Pipeline", variants: int, seed: int) -> Image.Image:
    """An image as it is shown, and `variants` changed copies, side by side, with shapes drawn.

    Args:
        image: its file.
        shapes: in its pixels.
        change: what `pipeline` returned.
        variants: how many.
        seed: of the first one; the next has the next number.
    """
    whole = opened(image)
    scale = min(1.0, SIDE / max(whole.size))
    size = max(1, round(whole.width * scale)), max(1, round(whole.height * scale))
    small = whole.resize(size, Image.Resampling.BILINEAR)
    found = [_Labelled(shape, size[0] / whole.width, size[1] / whole.height) for shape in shapes]
    pictures = [draw(small, [one.shape() for one in found])]
    pictures += [_variant(small, found, change, seed + number) for number in range(variants)]
    canvas = Image.new("RGB", ((size[0] + _GAP) * len(pictures) - _GAP, size[1]), "white")
    for number, picture in enumerate(pictures):
        canvas.paste(picture, (number * (size[0] + _GAP), 0))
    return canvas


class _Labelled:
    """A shape as a box and rings of points, as far as it has them, in pixels of the shown image."""

    def __init__(self, shape: vision.Shape, across: float, down: float) -> None:
        import numpy as np

        self._label, kind = shape.label, shape.WhichOneof("geometry")
        rings = _contours(shape.mask) if kind == "mask" else [one.coordinates for one in shape.polygon.rings]
        self.rings = [np.asarray(ring, np.float32).reshape(-1, 2) * (across, down) for ring in rings]
        around = bounds(shape)
        self.box = None
        if around is not None:
            corners = [around.x, around.y, around.x + around.width, around.y + around.height]
            self.box = np.asarray(corners, np.float32) * (across, down, across, down)

    def shape(self) -> vision.Shape:
        """As it is drawn."""
        return self.moved(self.box, self.rings)

    def moved(self, box: Any, rings: Sequence[Any]) -> vision.Shape:
        """The same with other coordinates."""
        if rings:
            outlines = [vision.Ring(coordinates=ring.reshape(-1).tolist()) for ring in rings]
            return vision.Shape(label=self._label, polygon=vision.Polygon(rings=outlines))
        if box is None:
            return vision.Shape(label=self._label, tag=vision.Tag())
        x1, y1, x2, y2 = map(float, box)
        return vision.Shape(label=self._label, box=vision.Box(x=x1, y=y1, width=x2 - x1, height=y2 - y1))


def _variant(image: Image.Image, labelled: Sequence[_Labelled], change: "Pipeline", seed: int) -> Image.Image:
    import numpy as np

    placed = [one for one in labelled if one.box is not None]
    boxes = np.array([one.box for one in placed])
    outlines = [np.concatenate([np.zeros((0, 2)), *one.rings]) for one in placed]
    done = change(np.asarray(image), boxes=boxes, polygons=outlines, seed=seed)
    shapes = [one.shape() for one in labelled if one.box is None]
    for place, index in enumerate(done.kept):
        rings = placed[index].rings
        ends = np.cumsum([len(ring) for ring in rings])[:-1]
        moved = np.split(done.polygons[place], ends) if rings else []
        shapes.append(placed[index].moved(done.boxes[place], moved))
    return draw(Image.fromarray(done.image), shapes)


def _contours(mask: vision.Mask) -> list[Any]:
    """The outlines of a mask, holes too."""
    import cv2
    import numpy as np

    found, _ = cv2.findContours(np.asarray(mask_image(mask)), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return [contour for contour in found if len(contour) > 2]


def _missing() -> FailedPrecondition:
    hint = 'pip install "bloomery[augment]"'
    message = "augmentation policies need Albumentations, which is not here"
    return FailedPrecondition(message, reason="EXTRA_MISSING", hint=hint)


def _refused(problems: Sequence[str]) -> InvalidArgument:
    error = InvalidArgument(f"this is no augmentation policy: {'; '.join(problems)}")
    error.violations = tuple(Violation("policy", problem) for problem in problems)
    return error
