"""What of a folder is COCO: which JSON files describe which images, and what else they are about.

A category that no annotation uses and that others name as their supercategory is the group of those others, as Roboflow
writes it, and no class.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from bloomery_vision.colors import color
from bloomery_vision.formats.claims import Claim
from bloomery_vision.formats.coco_doubts import about_files
from bloomery_vision.formats.coco_survey import Category, File, kind_of, looks_like_coco, survey
from bloomery_vision.formats.model import Format, LabelSpec, Split
from bloomery_vision.formats.names import base_of
from bloomery_vision.formats.packed import Column, Names, numbers
from bloomery_vision.formats.plan import Left
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.split_lists import PRECEDENCE, SplitReader
from bloomery_vision.formats.split_words import split_of_file
from bloomery_vision.formats.tree import Tree


def claim_coco(source: Source, tree: Tree) -> Claim | None:
    """What of the folder is COCO."""
    files = [survey(source, name, tree.index) for name in tree.ending(".json") if looks_like_coco(source, name)]
    files = [one for one in files if one.broken or "images" in one.arrays]
    if not files:
        return None
    left = {one.path for one in files if one.captions or one.masks} | _other_kinds(files) | _tags(files)
    own = [one for one in files if one.path not in left]
    splits = SplitReader(source, tree)
    splits.read_lists(tree.ending(".txt"))
    return Claim(
        Format.COCO,
        f"{', '.join(one.path for one in own[:3])} list images",
        label_files=[one.path for one in own],
        label_of=_label_of(own, tree.images),
        lists=sorted(splits.used),
        left=dict.fromkeys(sorted(left), Left.OTHER_KIND if own else Left.OTHER_FORMAT),
        splits=splits.found,
        file_splits=_file_splits(own, tree.images),
        labels=_labels(own),
        doubts=list(about_files(own)),
        masks=_mask_names(files, tree),
    )


def groups(categories: Iterable[Category], used: AbstractSet[str]) -> set[str]:
    """The ids of categories that are groups of others and no classes."""
    listed = list(categories)
    parents = {one.supercategory for one in listed if one.supercategory != one.name}
    return {
        one.id for one in listed if one.name in parents and one.id not in used and one.supercategory in ("", "none")
    }


def _other_kinds(files: Sequence[File]) -> set[str]:
    names = {one.path: base_of(one.path).lower() for one in files}
    if not any(name.startswith("instances") for name in names.values()):
        return set()
    return {path for path in names if kind_of(path)}


def _tags(files: Sequence[File]) -> set[str]:
    """The files that say of images only which categories they are of, beside others that say where."""
    with_objects = [one for one in files if one.objects]
    tags = {one.path for one in with_objects if one.only_tags}
    return tags if len(tags) < len(with_objects) else set()


def _label_of(files: Sequence[File], images: Names) -> Column[str]:
    label_of = Column(images, numbers(len(images)), [one.path for one in files])
    for number, one in enumerate(files, 1):
        for place in one.images if one.is_annotated else ():
            label_of.codes[place] = label_of.codes[place] or number
    return label_of


def _file_splits(files: Sequence[File], images: Names) -> Column[Split]:
    found = Column(images, bytearray(len(images)), PRECEDENCE)
    for one in files:
        split = split_of_file(one.path)
        code = PRECEDENCE.index(split) + 1 if split else 0
        for place in one.images if split else ():
            found.codes[place] = min(filter(None, (code, found.codes[place])))
    return found


def _labels(files: Sequence[File]) -> list[LabelSpec]:
    found: dict[str, Category] = {}
    for one in files:
        left = groups(one.categories, one.used.keys())
        for category in one.categories:
            if category.id not in left:
                found.setdefault(category.name, category)
    return [LabelSpec(one.name, color(index), one.id, one.supercategory) for index, one in enumerate(found.values())]


def _mask_names(files: Sequence[File], tree: Tree) -> frozenset[str]:
    wanted = {base_of(name) for one in files for name in one.masks}
    described = {tree.images[place] for one in files for place in one.images} if wanted else set()
    return frozenset(name for name in tree.pictures if base_of(name) in wanted and name not in described)
