"""Which images and shapes a version takes, and under which class."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from bloomery_dataset.model import LEFT_OUT, Image, Label, Method, Spec, Task
from bloomery_dataset.splits import PARTS
from bloomery_vision.geometry import Box, Geometry, Mask, Polygon, Shape, Tag
from bloomery_vision.validate import sticks_out


@dataclass(frozen=True)
class Kept:
    """What is left of an image: its shapes with the names of their classes, and how many of each are learnt from.

    `labels` are those of the shapes before they were mapped.
    """

    shapes: tuple[Shape, ...]
    counts: Mapping[str, int]
    labels: tuple[str, ...] = ()


class Selection:
    """Takes images one after another, and counts by reason what it leaves out and what it changes.

    Every image and every shape that comes in is either kept or counted under one reason. A crowd is no single object to
    learn from; it is kept, flagged, because an evaluation has to ignore what is found there. A class has the id and the
    supercategory of the first label that is mapped to it.
    """

    def __init__(self, spec: Spec, labels: tuple[Label, ...]) -> None:
        # What is cut out is what a detector would learn.
        self._spec = replace(spec, task=Task.DETECT, include_empty=False) if spec.crops else spec
        self._known = {label.id for label in labels}
        self._class_of = class_of_label(labels, spec)
        first: dict[str, Label] = {}
        for label in labels:
            if label.id in self._class_of:
                first.setdefault(self._class_of[label.id], label)
        self.classes = tuple(first)
        self.class_ids = _unless_empty([label.source_id for label in first.values()])
        self.supercategories = _unless_empty([label.supercategory for label in first.values()])
        self.images = 0
        self.shapes = 0
        self.skipped_images: Counter[str] = Counter()
        self.skipped_shapes: Counter[str] = Counter()
        self.adjusted_shapes: Counter[str] = Counter()

    def take(self, image: Image) -> Kept | None:
        """What is kept of an image; None where all of it is left out."""
        self.images += 1
        self.shapes += len(image.shapes or ())
        if self._has_no_part(image):
            return self._skip("no official split", image.shapes or ())
        if image.shapes is None:
            return Kept((), {}) if self._spec.include_unannotated else self._skip("not annotated")
        both = [(kept, shape.label) for shape in image.shapes if (kept := self._keep(shape, image))]
        shapes, labels = tuple(kept for kept, _ in both), tuple(label for _, label in both)
        if self._spec.task is Task.CLASSIFY:
            return self._classified(shapes)
        if not shapes and not self._spec.include_empty:
            return self._skip("no shapes")
        return Kept(shapes, Counter(shape.label for shape in shapes if not shape.crowd), labels)

    def _has_no_part(self, image: Image) -> bool:
        policy = self._spec.split
        return policy.method is Method.OFFICIAL and policy.unassigned == LEFT_OUT and image.official not in PARTS

    def _classified(self, tags: tuple[Shape, ...]) -> Kept | None:
        classes = {tag.label for tag in tags}
        if len(classes) != 1:
            return self._skip("several tags" if classes else "no tag", tags)
        for _again in tags[1:]:
            self._leave_out("same tag again")
        return Kept(tags[:1], Counter(classes))

    def _keep(self, shape: Shape, image: Image) -> Shape | None:
        if shape.label not in self._class_of:
            return self._leave_out("unmapped label" if shape.label in self._known else "deleted label")
        cut = shape.geometry.inside(image.width, image.height)
        if cut is None:
            return self._leave_out("outside the image")
        geometry = self._learnt(cut)
        if isinstance(geometry, str):
            return self._leave_out(geometry)
        if shape.crowd and self._spec.task is Task.CLASSIFY:
            return self._leave_out("crowd")
        self._note_changes(shape, image)
        return replace(shape, geometry=geometry, label=self._class_of[shape.label])

    def _learnt(self, geometry: Geometry) -> Geometry | str:
        """The geometry that the task learns, or the reason why there is none."""
        match self._spec.task, geometry:
            case Task.CLASSIFY, Tag():
                return geometry
            case Task.CLASSIFY, _:
                return "no tag"
            case _, Tag():
                return "tag"
            case Task.DETECT, _:
                box = geometry.bounds
                return box if box.area > 0 else "no area"
            case Task.SEGMENT, Polygon():
                return geometry
            case Task.SEGMENT, Mask() as mask:
                return mask if mask.area > 0 else "no area"
            case Task.SEGMENT, Box() as box:
                return Polygon(box.rings[0]) if box.area > 0 else "no area"
        raise AssertionError(f"{self._spec.task} has no rule for {geometry}")

    def _note_changes(self, shape: Shape, image: Image) -> None:
        if sticks_out(shape.geometry, image.width, image.height):
            self.adjusted_shapes["cut at the edge"] += 1
        if self._spec.task is Task.SEGMENT and isinstance(shape.geometry, Box):
            self.adjusted_shapes["box as four corners"] += 1

    def _leave_out(self, reason: str) -> Shape | None:
        self.skipped_shapes[reason] += 1
        return None

    def _skip(self, reason: str, shapes: Collection[Shape] = ()) -> Kept | None:
        """Leave an image out, with the shapes of it that are not counted under a reason of their own."""
        self.skipped_images[reason] += 1
        if shapes:
            self.skipped_shapes[reason] += len(shapes)
        return None


def class_of_label(labels: tuple[Label, ...], spec: Spec) -> dict[str, str]:
    """The class of each label that is kept, by the label's id, in the order of labels."""
    keeps = spec.keep_unmapped or not spec.class_mapping
    classes = {label.id: label.display_name for label in labels if keeps} | dict(spec.class_mapping)
    return {label.id: classes[label.id] for label in labels if classes.get(label.id)}


def _unless_empty(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(values) if any(values) else ()
