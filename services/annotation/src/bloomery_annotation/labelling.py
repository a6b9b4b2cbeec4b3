"""What happens to labels: making them with an id and a colour, and taking them off shapes."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from bloomery_annotation import shapes
from bloomery_annotation.model import Label, Project
from bloomery_annotation.saving import Overwrite, Saved, SetDraft
from bloomery_annotation.store import annotation_sets, assets, labels, projects, revisions
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import FailedPrecondition, PreconditionViolation
from bloomery_kit.names import make_id, new_uid
from bloomery_kit.times import Clock
from bloomery_vision.colors import color

_AT_ONCE = 200


@dataclass(frozen=True)
class NewLabel:
    """A label to make; what is empty is made up."""

    id: str
    display_name: str
    color: str = ""
    supercategory: str = ""
    source_id: str = ""


def label_id(display_name: str, taken: Collection[str]) -> str:
    """A readable id for a display name, or a less readable one where another label has that."""
    slug = re.sub(r"[^a-z0-9]+", "-", display_name.lower()).strip("-")
    readable = make_id(slug or display_name)
    return readable if readable not in taken else make_id(f"{display_name} ")


def defaults(label: Label, values: Mapping[str, str]) -> dict[str, str]:
    """The values with an empty one replaced by what a label has without it."""
    made_up = {"display_name": label.id, "color": color(label.position - 1), "supercategory": ""}
    return {field: value or made_up[field] for field, value in values.items()}


async def create(tx: Transaction, project: Project, wanted: NewLabel, now: datetime) -> Label:
    """Make a label in a locked project. Raise AlreadyExists if the id or the display name is taken."""
    position = await labels.next_position(tx, project)
    identity = wanted.id or await _free_id(tx, project, wanted.display_name)
    label = _made(project, replace(wanted, id=identity), position, now)
    await labels.create(tx, project, label)
    return label


async def ensure(tx: Transaction, project: Project, wanted: Collection[NewLabel], now: datetime) -> dict[str, str]:
    """The ids of a locked project's labels by what files call them, once those of `wanted` are among them.

    Their names differ. What is missing is made; what is there gets what files say of it and it does not have yet.
    """
    known = await _by_name(tx, project)
    await _describe(tx, project, known, [one for one in wanted if one.display_name in known], now)
    ids = {name: label.id for name, label in known.items()}
    if new := _with_ids([one for one in wanted if one.display_name not in known], set(ids.values())):
        first = await labels.next_position(tx, project, len(new))
        made = [_made(project, one, first + number, now) for number, one in enumerate(new)]
        await labels.create_some(tx, project, made)
    return ids | {one.display_name: one.id for one in new}


def _with_ids(wanted: Collection[NewLabel], taken: set[str]) -> list[NewLabel]:
    named = list[NewLabel]()
    for one in wanted:
        named.append(replace(one, id=one.id or label_id(one.display_name, taken)))
        taken.add(named[-1].id)
    return named


def _made(project: Project, wanted: NewLabel, position: int, now: datetime) -> Label:
    return Label(
        project_id=project.id,
        id=wanted.id,
        uid=new_uid(),
        display_name=wanted.display_name or wanted.id,
        color=wanted.color or color(position - 1),
        create_time=now,
        update_time=now,
        position=position,
        supercategory=wanted.supercategory,
        source_id=wanted.source_id,
    )


async def _describe(
    tx: Transaction, project: Project, known: Mapping[str, Label], said: Collection[NewLabel], now: datetime
) -> None:
    # Several names may be one label's: what the first of them says counts.
    there = {label.id: label for label in known.values()}
    for one in said:
        label = there[known[one.display_name].id]
        values = {name: getattr(one, name) for name in ("supercategory", "source_id") if not getattr(label, name)}
        if any(values.values()):
            there[label.id] = await labels.change(tx, project, label, values, now)


async def _by_name(tx: Transaction, project: Project) -> dict[str, Label]:
    """A project's labels by their display names, and by former ones that no other label has."""
    found = await labels.everything(tx, project)
    former = {name: label for label in found for name in label.former_names}
    return former | {label.display_name: label for label in found}


async def _free_id(tx: Transaction, project: Project, display_name: str) -> str:
    return label_id(display_name, {label.id for label in await labels.everything(tx, project)})


async def delete(tx: Transaction, project: Project, label: Label) -> None:
    """Delete a label of a locked project. Raise FailedPrecondition LABEL_IN_USE if shapes carry it."""
    if await labels.carriers(tx, project, label, 1):
        message = f"{label.shape_count} shapes carry {label.name}; relabel them, or delete them with force"
        raise FailedPrecondition("LABEL_IN_USE", message, [PreconditionViolation("LABEL_IN_USE", label.name, message)])
    await labels.delete(tx, project, label)


async def delete_with_shapes(db: Database, project_id: str, label_id: str, author: str, clock: Clock) -> None:
    """Delete a label and the shapes that carry it, each set as a new revision, in batches that others may come between.

    From the beginning on no new shape may carry it, so that this ends; if it is interrupted, `finish` goes on.
    Raise NotFound if there is no such label.
    """
    async with db.write() as tx:
        project = await projects.lock(tx, project_id)
        label = await labels.mark_deleted(tx, project, await labels.find(tx, project, label_id), author)
    await finish(db, label, clock)


async def finish(db: Database, label: Label, clock: Clock) -> None:
    """Bring the deletion of a label that somebody began to its end."""
    while await _remove_some(db, label, clock):
        pass


async def _remove_some(db: Database, label: Label, clock: Clock) -> bool:
    """Take a label off some sets, or delete it where no set has it any more; whether there is more to do."""
    async with db.write() as tx:
        project = await projects.lock(tx, label.project_id)
        if not await labels.is_there(tx, project, label):
            return False
        carriers = await labels.carriers(tx, project, label, _AT_ONCE)
        if not carriers:
            await labels.delete(tx, project, label)
            return False
        there = {asset.uid: asset for asset in await assets.by_uid(tx, project, {key[0] for key in carriers})}
        drafts = [
            SetDraft(
                asset=there[old.asset_uid],
                set_id=old.id,
                shapes=shapes.without_label(old.blob, label.id),
                provenance=old.provenance,
                author=label.deleted_by,
                guard=Overwrite(),
            )
            for old in await annotation_sets.newest(tx, project, carriers)
        ]
        results = await revisions.save(tx, project, drafts, clock())
        assert all(isinstance(result, Saved) for result in results)
        return True
