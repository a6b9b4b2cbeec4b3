"""Which files the rows of a folder name, as far as they must be there."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from bloomery_server.migrate.source import Source

_ALIVE = "job_uid IN (SELECT uid FROM jobs WHERE NOT deleted)"
_CHECKED = (
    "SELECT project_uid || '/' || substr(digest, 8) FROM blobs AS b WHERE NOT going "
    "AND NOT EXISTS (SELECT 1 FROM blob_contents AS c WHERE c.project_uid = b.project_uid AND c.digest = b.digest) "
    "AND project_uid NOT IN (SELECT uid FROM deleted_projects)"
)
# ruff: noqa: S608 - of constants
_KEYS: Mapping[str, tuple[str, ...]] = {
    "access": (),
    "annotation": (_CHECKED,),
    "dataset": ("SELECT logical_key FROM exports",),
    "trainer": (
        "SELECT project_uid || '/inputs/' || substr(digest, 8) FROM inputs WHERE kept",
        f"SELECT manifest_key FROM checkpoints WHERE {_ALIVE}",
    ),
    "inference": (),
}
"""Queries that give keys."""
_DOCUMENTS: Mapping[str, tuple[str, ...]] = {
    "access": (),
    "annotation": (),
    "dataset": ("SELECT product FROM versions WHERE product IS NOT NULL",),
    "trainer": (f"SELECT success FROM results WHERE {_ALIVE}", f"SELECT files FROM checkpoints WHERE {_ALIVE}"),
    "inference": ("SELECT content FROM versions", "SELECT result FROM variants"),
}
"""Queries that give JSON in which keys are."""
_LISTS: Mapping[str, tuple[str, ...]] = {
    "access": (),
    "annotation": (),
    "dataset": ("SELECT json_extract(product, '$.manifest.logical_key') FROM versions WHERE product IS NOT NULL",),
    "trainer": (),
    "inference": (),
}
"""Queries that give keys of JSON files in which more keys are."""
_KEY = "logical_key"


def missing(source: Source, blobs: Path) -> Iterator[str]:
    """The keys of files that rows of a service name and that are not in the folder."""
    for key in _named(source, blobs):
        if not (blobs / key).is_file():
            yield key


def _named(source: Source, blobs: Path) -> Iterator[str]:
    for statement in _KEYS[source.part.service]:
        yield from (_text(value) for (value,) in source.select(statement))
    for statement in _DOCUMENTS[source.part.service]:
        for (value,) in source.select(statement):
            yield from _within(json.loads(_text(value)))
    for statement in _LISTS[source.part.service]:
        for (value,) in source.select(statement):
            # One that is not there was told above.
            with suppress(OSError, ValueError):
                yield from _within(json.loads((blobs / _text(value)).read_bytes()))


def _within(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            if name == _KEY and isinstance(one, str) and one:
                yield one
            else:
                yield from _within(one)
    elif isinstance(value, list):
        for one in value:
            yield from _within(one)


def _text(value: object) -> str:
    assert isinstance(value, bytes)
    return value.decode()
