"""Labels and classes as people name them: by id, by what they see, in capitals or not."""

import re
from collections.abc import Iterable, Mapping

from bloomery._names import LABEL, enumerated, id_of
from bloomery._session import Session
from bloomery.annotation.v1 import ListLabelsRequest
from bloomery.errors import InvalidArgument, NotFound

_LISTED = 20


def match(text: str, names: Mapping[str, str]) -> str | None:
    """The key among `names` that `text` means, by its key or its value; None for none, or for several.

    The very spelling goes first; then upper and lower case do not matter, where only one is meant.
    """
    if text in names:
        return text
    same = [key for key, name in names.items() if name == text]
    folded = text.casefold()
    like = same or [key for key, name in names.items() if folded in (key.casefold(), name.casefold())]
    return like[0] if len(like) == 1 else None


def class_of(text: str, classes: Iterable[str]) -> str:
    """The class that `text` means, in the spelling of its model; `text` itself where it means none."""
    return match(text, {name: _slug(name) for name in classes}) or text


async def label_names(session: Session, project: str) -> dict[str, str]:
    """The display names of all labels of a project by their ids, in the order of their creation."""
    pages = session.pages(session.annotation.ListLabels, ListLabelsRequest(parent=project, page_size=1000))
    return {id_of(label.name): label.display_name async for page in pages for label in page.labels}


async def label_ids(session: Session, project: str, texts: Iterable[str]) -> dict[str, str]:
    """The id of the label that each text means, be it an id or a display name.

    Raises:
        NotFound: lists all that are no label, and which labels there are.
    """
    wanted = dict.fromkeys(texts)
    if not wanted:
        return {}
    names = await label_names(session, project)
    found = {text: match(text, names) for text in wanted}
    if unknown := [text for text, label in found.items() if label is None]:
        raise _unknown(unknown, names)
    return {text: label for text, label in found.items() if label is not None}


async def by_label_id(session: Session, project: str, given: Mapping[str, str]) -> dict[str, str]:
    """What is given for labels under their ids or display names, by their ids.

    Raises:
        NotFound: lists all that are no label.
        InvalidArgument: two mean one label.
    """
    ids = await label_ids(session, project, given)
    if twice := [text for text in given if list(ids.values()).count(ids[text]) > 1]:
        raise InvalidArgument(f"{' and '.join(twice)} are not all different labels", hint="name each label once")
    return {ids[text]: value for text, value in given.items()}


async def find_label(session: Session, project: str, text: str) -> str:
    """The full name of a label given by it, by its id or its display name.

    Raises:
        NotFound: there is no such label; lists those that there are.
    """
    if LABEL.matches(text):
        return text
    return f"{project}/labels/{(await label_ids(session, project, [text]))[text]}"


async def asset_filter(session: Session, project: str, text: str) -> str:
    """A filter of images as the server knows it: with the id of the label that it names, if any.

    Raises:
        NotFound: there is no such label.
    """
    if not text.startswith("label:"):
        return text
    return f"label:{id_of(await find_label(session, project, text.removeprefix('label:')))}"


def _unknown(texts: Iterable[str], names: Mapping[str, str]) -> NotFound:
    listed = [key if key == name else f"{name} ({key})" for key, name in names.items()]
    there = f"the labels are {enumerated(listed, _LISTED)}" if listed else "the project has no labels yet"
    return NotFound(f"there is no label {', '.join(map(repr, texts))}", hint=there)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
