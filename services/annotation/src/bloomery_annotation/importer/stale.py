"""Images that keep the shapes of an earlier import, since the files of this one give them none."""

from collections.abc import Iterator, Sequence

from bloomery_annotation.importer.outcome import Images
from bloomery_annotation.importer.parsing import Prepared
from bloomery_annotation.model import Asset, Problem, Project
from bloomery_annotation.names import MAIN_SET, asset_id
from bloomery_annotation.store import annotation_sets, assets
from bloomery_kit.database import Transaction
from bloomery_vision.findings import warning
from bloomery_vision.formats import ImportItem


async def stale_shapes(
    tx: Transaction, project: Project, prepared: Sequence[Prepared], images: Images
) -> Sequence[Problem]:
    """That images of a batch keep what an earlier import said, and why; `images` are those with their assets."""
    found = {
        asset.uid: one.item
        for one, asset in [*images, *await _of_broken_labels(tx, project, prepared)]
        if one.entry.is_first and one.entry.is_image and not one.entry.labelled_by_copy
    }
    for one, asset in images:
        if one.shapes is not None:
            found.pop(asset.uid, None)
    there = await annotation_sets.imported(tx, found.keys(), MAIN_SET) if found else ()
    return [_stale(item) for uid, item in found.items() if uid in there]


async def _of_broken_labels(
    tx: Transaction, project: Project, prepared: Sequence[Prepared]
) -> Iterator[tuple[Prepared, Asset]]:
    """Images that are not imported because their label file is broken, as far as an earlier import made them."""
    broken = [(one, asset_id(one.entry.unused.digest)) for one in prepared if one.entry.unused]
    known = await assets.known(tx, project, {identifier for _, identifier in broken}) if broken else ()
    there = {asset.id: asset for asset in known}
    return ((one, there[identifier]) for one, identifier in broken if identifier in there)


def _stale(item: ImportItem) -> Problem:
    message, hint = "no label file of the folder that can be read is about it any more", "add a label file"
    if item.annotation_path is not None:
        message = f"nothing that {item.annotation_path} says of it can be used"
        hint = "correct that file"
    message = f"it keeps the shapes of an earlier import; {message}"
    hint = f"if they are wrong, {hint}, or save an empty list by `bloomery annotations set`"
    return Problem(item.image_path, warning("STALE_SHAPES", message, hint=hint))
