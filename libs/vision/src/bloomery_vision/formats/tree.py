"""The names of a folder's files, sorted into kinds by their endings, before any file is opened."""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from bloomery_vision.formats.lookup import NameIndex
from bloomery_vision.formats.masks import mask_pictures
from bloomery_vision.formats.names import base_of, split_suffix
from bloomery_vision.formats.packed import NO_NAMES, Names
from bloomery_vision.formats.stems import Stems
from bloomery_vision.images import SUFFIXES

LABEL_SUFFIXES = frozenset({".csv", ".data", ".json", ".labels", ".names", ".pbtxt", ".txt", ".xml", ".yaml", ".yml"})
"""The endings, in lower case, of files that may say something about images."""

PICTURES_NOT_READ = frozenset(
    {
        ".apng",
        ".arw",
        ".bif",
        ".cr2",
        ".cr3",
        ".dcm",
        ".dib",
        ".dng",
        ".exr",
        ".hdr",
        ".heic",
        ".heif",
        ".hif",
        ".ico",
        ".j2k",
    }
    | {
        ".jp2",
        ".jpg_large",
        ".jxl",
        ".nef",
        ".orf",
        ".pbm",
        ".pcx",
        ".pgm",
        ".pjp",
        ".pjpeg",
        ".pnm",
        ".ppm",
        ".psd",
        ".raf",
        ".raw",
        ".rw2",
        ".svg",
    }
    | {".svs", ".tga", ".xcf"}
)
"""The endings, in lower case, of pictures that are not read."""

VIDEOS = frozenset([".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"])
"""The endings, in lower case, of films, of which single frames would have to be saved."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list of images says: places of images, lines that mean none or several, and why it cannot be read."""

    images: "array[int]" = field(default_factory=lambda: array("I"))
    missing: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Tree:
    """The files of a source: all `names` in order, and which of them are of which ending.

    `listed` is what lists say by their paths, kept by whoever reads one first: each format asks again.
    """

    names: Names
    by_suffix: Mapping[str, Names]
    listed: dict[str, Listed] = field(default_factory=dict)

    @classmethod
    def of(cls, names: Iterable[str]) -> "Tree":
        """The tree of these relative POSIX paths."""
        packed = Names.of(names)
        return cls(packed, packed.by(lambda name: split_suffix(base_of(name))[1]))

    def ending(self, *suffixes: str) -> Names:
        """The files with one of these endings, in order."""
        first, *others = [self.by_suffix[suffix] for suffix in suffixes if suffix in self.by_suffix] or [NO_NAMES]
        return first.and_of(*others)

    @cached_property
    def pictures(self) -> Names:
        """Every file that is an image by its ending, in order."""
        return self.ending(*SUFFIXES)

    @cached_property
    def masks(self) -> frozenset[str]:
        """The pictures that are masks of other pictures by their names."""
        return mask_pictures(self.pictures, lambda: self.ending(".txt", ".xml"))

    @cached_property
    def images(self) -> Names:
        """The pictures that are no masks, in order."""
        return self.pictures.without(self.masks) if self.masks else self.pictures

    @cached_property
    def index(self) -> NameIndex:
        """Finds an image by the name that a file gives it."""
        return NameIndex(self.images)

    @cached_property
    def unread(self) -> Stems:
        """Finds a picture that is not read by its stem: of a kind that is not, or without an ending that says so."""
        return Stems(self.ending(*PICTURES_NOT_READ, ""))
