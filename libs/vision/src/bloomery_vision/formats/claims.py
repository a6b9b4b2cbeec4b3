"""What a format claims to know about a folder, before it is decided which format is meant."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bloomery_vision.findings import Finding
from bloomery_vision.formats.class_lists import ClassList
from bloomery_vision.formats.model import Format, LabelSpec, Split
from bloomery_vision.formats.plan import PLAIN_ROWS, Doubt, Left, YoloRows
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.split_lists import Splits
from bloomery_vision.formats.tree import Tree


@dataclass(frozen=True, slots=True)
class Claim:
    """The part of a plan that is one format's to say; the fields are those of `Plan`.

    `why` says in words what was found, `file_splits` are the splits that label files give to their images by their own
    names, and `left` are label files of this family that are not read.
    """

    format: Format
    why: str
    label_files: Sequence[str] = ()
    label_of: Mapping[str, str] = field(default_factory=dict)
    more_labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unplaced: Mapping[str, Finding] = field(default_factory=dict)
    lists: Sequence[str] = ()
    left: Mapping[str, Left] = field(default_factory=dict)
    splits: Splits = field(default_factory=Splits)
    file_splits: Mapping[str, Split] = field(default_factory=dict)
    class_lists: Sequence[ClassList] = ()
    class_list_of: Mapping[str, int] = field(default_factory=dict)
    labels: Sequence[LabelSpec] = ()
    pixel_origin: int = 1
    rows: YoloRows = PLAIN_ROWS
    doubts: Sequence[Doubt] = ()
    stops: Sequence[Finding] = ()
    masks: frozenset[str] = frozenset()


Claimer = Callable[[Source, Tree], Claim | None]
"""Looks at a folder; None where nothing in it is of the format."""
