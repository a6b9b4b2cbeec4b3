"""Images without label files, which is where labelling starts."""

from collections.abc import Iterable, Iterator

from bloomery_vision.formats.claims import Claim
from bloomery_vision.formats.cleaning import unannotated
from bloomery_vision.formats.model import Format, ImportItem
from bloomery_vision.formats.plan import Plan
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.split_lists import SplitReader
from bloomery_vision.formats.tree import Tree


def claim_images(source: Source, tree: Tree) -> Claim:
    """The images, and the lists that put them in splits."""
    splits = SplitReader(source, tree)
    splits.read_lists(tree.ending(".txt"))
    return Claim(Format.IMAGES, "images without label files", lists=sorted(splits.used), splits=splits.found)


def read_images(source: Source, plan: Plan, images: Iterable[str]) -> Iterator[ImportItem]:
    """Each of `images`, not annotated."""
    return (unannotated(source, image, plan.splits.get(image)) for image in images)
