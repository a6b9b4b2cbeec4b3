"""The names of a folder's files, sorted into kinds by their endings, before any file is opened."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bloomery_vision.formats.lookup import NameIndex
from bloomery_vision.formats.masks import mask_pictures
from bloomery_vision.formats.names import base_of, fold, split_suffix
from bloomery_vision.images import SUFFIXES

LABEL_SUFFIXES = frozenset({".data", ".json", ".labels", ".names", ".txt", ".xml", ".yaml", ".yml"})
"""The endings, in lower case, of files that may say something about images."""

PICTURES_NOT_READ = frozenset(
    {".arw", ".bif", ".cr2", ".cr3", ".dcm", ".dib", ".dng", ".exr", ".hdr", ".heic", ".heif", ".hif", ".ico", ".j2k"}
    | {".jp2", ".jxl", ".nef", ".orf", ".pbm", ".pcx", ".pgm", ".pnm", ".ppm", ".psd", ".raf", ".raw", ".rw2", ".svg"}
    | {".svs", ".tga", ".xcf"}
)
"""The endings, in lower case, of pictures that are not read."""

VIDEOS = frozenset([".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"])
"""The endings, in lower case, of films, of which single frames would have to be saved."""


@dataclass(frozen=True)
class Tree:
    """The files of a source: all `names` in order, and which of them are of which ending."""

    names: Sequence[str]
    by_suffix: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, names: Iterable[str]) -> "Tree":
        """The tree of these relative POSIX paths."""
        ordered = sorted(names)
        by_suffix: defaultdict[str, list[str]] = defaultdict(list)
        for name in ordered:
            by_suffix[split_suffix(base_of(name))[1]].append(name)
        return cls(ordered, by_suffix)

    def ending(self, *suffixes: str) -> list[str]:
        """The files with one of these endings, in order."""
        return sorted(name for suffix in suffixes for name in self.by_suffix.get(suffix, ()))

    @cached_property
    def pictures(self) -> list[str]:
        """Every file that is an image by its ending, in order."""
        return self.ending(*SUFFIXES)

    @cached_property
    def masks(self) -> frozenset[str]:
        """The pictures that are masks of other pictures by their names."""
        return mask_pictures(self.pictures, self._labelled)

    @cached_property
    def images(self) -> list[str]:
        """The pictures that are no masks, in order."""
        return [name for name in self.pictures if name not in self.masks]

    @cached_property
    def index(self) -> NameIndex:
        """Finds an image by the name that a file gives it."""
        return NameIndex(self.images)

    @cached_property
    def _labelled(self) -> frozenset[str]:
        return frozenset(fold(name.rpartition(".")[0]) for name in self.ending(".txt", ".xml"))
