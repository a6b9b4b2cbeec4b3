"""What becomes of a batch beside being saved: splits, edits of people that stay, and the count of everything."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from bloomery_annotation.importer.parsing import Prepared
from bloomery_annotation.labelling import NewLabel
from bloomery_annotation.model import Asset, AssetDraft, Blob, Import, Label, Problem, Provenance, Source
from bloomery_annotation.names import MAIN_SET
from bloomery_annotation.saving import KeepEdits, Outcome, Saved, SetDraft
from bloomery_vision.findings import warning
from bloomery_vision.formats import Format, FormatError, ImportItem, Plan

_SHOWN = 10
_STAYS = "what people changed stays; change it there if the files are right"

Images = Sequence[tuple[Prepared, Asset]]
Changes = Sequence[tuple[Asset, Mapping[str, object]]]


def listed(plan: Plan) -> list[NewLabel]:
    """The labels of a plan in its order; numbers of classes are no ids."""
    keep_ids = plan.format is Format.COCO
    return [
        NewLabel("", one.name, supercategory=one.supercategory, source_id=one.source_id if keep_ids else "")
        for one in plan.labels
    ]


def refuse_doubts(plan: Plan, *, strict: bool) -> None:
    """Raise FormatError DOUBTS where a plan has some and none are wanted."""
    if strict and plan.doubts and not plan.stops:
        told = (f"{one.code} ({one.count}): {one.message}, such as {one.example}" for one in plan.doubts[:_SHOWN])
        raise FormatError("DOUBTS", "; ".join(told), "correct the folder, or import it without being strict")


def asset_draft(item: ImportItem, blob: Blob) -> AssetDraft:
    """The image as it is to be made."""
    return AssetDraft(
        blob.digest, item.image_path, item.split or "", source_name=item.source_name, source_id=item.source_id
    )


def set_drafts(images: Images, current: Import) -> list[SetDraft]:
    """The shapes to save."""
    author = current.name
    provenance, guard = Provenance(Source.IMPORT, author), KeepEdits()
    return [
        SetDraft(asset, MAIN_SET, one.shapes, provenance, author, guard)
        for one, asset in images
        if one.shapes is not None
    ]


@dataclass(frozen=True)
class Splits:
    """What happens to the splits of images: the changes to make, and the splits of people that stay."""

    changes: Changes
    edited: Sequence[Problem]


def decide_splits(images: Images, *, has_splits: bool) -> Splits:
    """What to do with the splits of images; `has_splits` says whether the files put any image in one.

    Where they do, an image that they put in none is in none. What people changed since the last import stays.
    """
    changes: list[tuple[Asset, Mapping[str, object]]] = []
    edited: list[Problem] = []
    for one, asset in images if has_splits else ():
        split = one.item.split or ""
        if not one.entry.is_first or split == asset.split:
            continue
        if asset.split == asset.imported_split:
            changes.append((asset, {"split": split, "imported_split": split}))
        else:
            edited.append(_edited_split(one, asset, split))
    return Splits(changes, edited)


def sources(images: Images) -> Changes:
    """What label files call images now, where they say so and it is not what they said before."""
    found = ((asset, one.item) for one, asset in images if one.entry.is_first)
    named = ((asset, {"source_name": item.source_name, "source_id": item.source_id}) for asset, item in found)
    return [
        (asset, given)
        for asset, given in named
        if any(given.values()) and given != {name: getattr(asset, name) for name in given}
    ]


def together(*changes: Changes) -> Changes:
    """All changes, those of one asset as one."""
    found: dict[str, tuple[Asset, Mapping[str, object]]] = {}
    for asset, values in (one for some in changes for one in some):
        found[asset.uid] = (asset, {**found.get(asset.uid, (asset, {}))[1], **values})
    return list(found.values())


def _edited_split(one: Prepared, asset: Asset, split: str) -> Problem:
    message = f"its split was changed to {asset.split or 'none'} since it was imported; the files say {split or 'none'}"
    return Problem(one.item.image_path, warning("EDITED_SINCE", message, hint=_STAYS))


def edited_shapes(images: Images, saved: Sequence[Saved]) -> Iterator[Problem]:
    """The images whose shapes people or models have changed since they were imported."""
    paths = {asset.uid: one.item.image_path for one, asset in images if one.shapes is not None}
    for result in saved:
        if result.outcome is Outcome.KEPT:
            who = result.head.author or "somebody"
            message = f"its shapes were changed by {who} since they were imported, and are not what the files say"
            yield Problem(paths[result.draft.asset.uid], warning("EDITED_SINCE", message, hint=_STAYS))


def stale_labels(before: Sequence[str], plan: Plan, there: Iterable[Label]) -> Sequence[Problem]:
    """The labels that the import before named, this one does not, and no shape has; none where it names nothing."""
    named = {one.name for one in plan.labels}
    gone = set(before) - named if named else ()
    message = "no list of the folder names it any more, and no shape has it: new dataset versions have it as a class"
    return [
        Problem(label.name, warning("STALE_LABEL", message, hint=f"delete it by `bloomery labels delete {label.id}`"))
        for label in there
        if label.display_name in gone and not label.shape_count
    ]


def reordered_labels(before: Sequence[str], plan: Plan) -> Sequence[Problem]:
    """That lists name labels in another order than at the import before: it is not that of the project."""
    now = {one.name: place for place, one in enumerate(plan.labels)}
    known = [name for name in before if name in now]
    moved = next((later for first, later in pairwise(known) if now[later] < now[first]), None)
    if moved is None:
        return []
    where = next(chain((one.path for one in plan.class_lists), plan.lists, plan.label_files), "")
    message = f"it names its classes in another order than the import before, such as {moved}; that of the labels stays"
    hint = (
        "dataset versions number classes in the order of the labels; import into a new project to have that of the list"
    )
    return [Problem(where, warning("LABEL_ORDER", message, hint=hint))]


def added(
    prepared: Sequence[Prepared], saved: Sequence[Saved], edited: Sequence[Problem], splits: Splits
) -> dict[str, int]:
    """What a batch adds to the counts of an import, by their names."""
    written = [result.draft for result in saved if result.outcome is Outcome.SAVE]
    outcomes = Counter[str]()
    for one in prepared:
        outcomes.update(one.outcomes)
    return {
        **outcomes,
        "read_count": len(prepared),
        "done_count": sum(one.entry.is_image for one in prepared),
        "annotated_count": len(written),
        "unchanged_count": len(saved) - len(written),
        "failed_count": sum(one.failed for one in prepared),
        "shape_count": sum(draft.shapes.count for draft in written),
        "edited_count": len({problem.item for problem in edited}),
        "split_count": len(splits.changes),
    }
