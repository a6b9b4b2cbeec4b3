"""Which images are meant by a filter: now, by a condition of the database, or at one moment, image by image."""

from dataclasses import dataclass

import sqlalchemy as sa

from bloomery_annotation import shapes
from bloomery_annotation.model import AnnotationSet, Asset, Project
from bloomery_annotation.store import assets
from bloomery_kit.errors import Violations
from bloomery_kit.fields import check_text

_WORDS = ("annotated", "unannotated")
_NOW = ("suggested",)
"""What is known of the present only."""
_WITH_VALUES = {"label": "ID", "split": "NAME", "name": "TEXT", "parent": "ID"}


@dataclass(frozen=True)
class AssetFilter:
    """What images are asked for: all with an empty `kind`, else one of the contract's words, some with a value."""

    kind: str = ""
    value: str = ""

    @property
    def order(self) -> assets.Order:
        """In which order the images of the present are listed."""
        return assets.BY_TIME if self.kind == "parent" else assets.BY_CREATION

    def condition(self, project: Project) -> assets.Condition:
        """The images of the present, in the database."""
        match self.kind:
            case "annotated":
                return assets.annotated()
            case "unannotated":
                return ~assets.annotated()
            case "suggested":
                return assets.suggested()
            case "label":
                return assets.carries(project, self.value)
            case "split":
                return assets.in_split(self.value)
            case "name":
                return assets.named(self.value)
            case "parent":
                return assets.frames_of(self.value)
        return sa.true()

    def matches(self, asset: Asset, main: AnnotationSet | None) -> bool:
        """Whether an image of some moment is meant, with the people's set as it was then."""
        match self.kind:
            case "annotated":
                return main is not None
            case "unannotated":
                return main is None
            case "label":
                return main is not None and any(one.label == self.value for one in shapes.unpack(main.blob).shapes)
            case "split":
                return asset.split == self.value
            case "name":
                return self.value.lower() in asset.display_name.lower()
            case "parent":
                return asset.parent == self.value != ""
        return True


def parse(text: str, *, past: bool = False) -> AssetFilter:
    """What a text asks for; of a `past` moment less is known.

    Raises:
        InvalidArgument: it is none of the words.
    """
    violations = Violations()
    check_text(text, "filter", violations)
    kind, colon, value = text.partition(":")
    words = _WORDS if past else (*_WORDS, *_NOW)
    if text and not (kind in _WITH_VALUES if colon else kind in words):
        known = ", ".join((*words, *(f"{name}:{what}" for name, what in _WITH_VALUES.items())))
        violations.add("filter", f"{text[:80]!r} must be empty or one of {known}")
    violations.raise_if_any()
    return AssetFilter(kind, value)
