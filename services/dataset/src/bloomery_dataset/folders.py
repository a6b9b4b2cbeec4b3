"""A version for classification as folders of images, one for each class, as torchvision's ImageFolder reads them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, count

from bloomery_dataset.naming import safe_part
from bloomery_vision.formats.export import TABLE_HEAD, Notes, folded, stem_of, table_line
from bloomery_vision.formats.names import split_suffix
from bloomery_vision.images import SUFFIXES
from bloomery_vision.manifest import ManifestRow

HEAD = (*TABLE_HEAD, "class", "file_name")


@dataclass
class Folders:
    """Where each image belongs, to be asked in the order of the manifest: `<split>/<class>/<name>`, unique in any case.

    A class whose name is none of a folder on every file system gets one that is.
    """

    classes: Sequence[str]
    _taken: set[str] = field(default_factory=set)
    _there: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._folders: dict[str, str] = {}
        taken: set[str] = set()
        for number, name in enumerate(self.classes):
            self._folders[name] = _free(_folder(name) or f"class_{number}", taken)

    def lines(self, rows: Iterable[ManifestRow], notes: Notes) -> Iterator[bytes]:
        """The table of all images, line by line; the notes count what folders cannot hold."""
        yield table_line(*HEAD)
        for row in rows:
            (shape,) = row.shapes
            notes["attributes left out"] += bool(shape.attributes)
            notes["class called otherwise"] += self._folders[shape.label] != shape.label
            names = (row.original_name, row.source_name, row.source_id, row.asset, row.digest)
            yield table_line(self._place(row, shape.label), row.split, *names, shape.label, row.file_name)

    def empty(self) -> Iterator[str]:
        """The folders without images, which trainers need: they number the classes of each split by its folders."""
        for split in sorted({split for split, _ in self._there}):
            for name, folder in self._folders.items():
                if (split, name) not in self._there:
                    yield f"{split}/{folder}/"

    def _place(self, row: ManifestRow, label: str) -> str:
        self._there.add((row.split, label))
        # A folder below that of its class would not be read as the class.
        flat = row.file_name.replace("/", "-")
        stem = stem_of(flat)
        # Folders and stem are parts that fit each by itself; a number behind it keeps what is cut unique.
        return f"{_free(f'{row.split}/{self._folders[label]}/{safe_part(stem)}', self._taken)}{flat[len(stem) :]}"


def _folder(name: str) -> str:
    plain = safe_part(name.replace("/", "_").replace("\\", "_"))
    # Nobody takes these for a class.
    odd = plain.lower() == "images" or split_suffix(plain)[1] in (*SUFFIXES, ".txt")
    return f"{plain}_" if odd else plain


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where another has it."""
    candidates = chain([name], (f"{name}-{number}" for number in count(2)))
    free = next(candidate for candidate in candidates if folded(candidate) not in taken)
    taken.add(folded(free))
    return free
