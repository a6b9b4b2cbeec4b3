"""Which files an import reads: those that the request named, or the lines of an uploaded list."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from bloomery_annotation import checks
from bloomery_annotation.contents import Contents
from bloomery_annotation.importer.files import Files
from bloomery_annotation.model import NOT_SENT, Import
from bloomery_annotation.store import blobs
from bloomery_kit.database import Database
from bloomery_kit.errors import InvalidArgument, Violations
from bloomery_vision.formats import FormatError

_AT_ONCE = 5_000
_SHOWN = 10
_LONGEST_LINE = 16 << 10


async def fill(files: Files, wanted: Import, db: Database, contents: Contents, folder: Path) -> None:
    """Put the files of an import into `files`, by parts; `folder` is for what is fetched.

    Raises:
        FormatError: BAD_FILE_LIST, BLOB_MISSING.
    """
    if wanted.file_list:
        await _from_list(files, wanted, db, contents, folder / "list")
    else:
        await _from_request(files, wanted, db)


async def _from_request(files: Files, wanted: Import, db: Database) -> None:
    after = ""
    while True:
        async with db.read() as tx:
            page = await blobs.of_import(tx, wanted.uid, after, _AT_ONCE)
        if not page:
            return
        await asyncio.to_thread(files.add, list(page.items()))
        after = list(page)[-1]


async def _from_list(files: Files, wanted: Import, db: Database, contents: Contents, path: Path) -> None:
    await contents.download(wanted.project_uid, wanted.file_list, path)
    lines = _lines(path, plan_only=wanted.plan_only)
    missing: list[str] = []
    count = 0
    while part := await asyncio.to_thread(lambda: list(islice(lines, _AT_ONCE))):
        async with db.read() as tx:
            known = await blobs.known(tx, wanted.project_uid, {digest for _, digest in part if digest})
        known[""] = NOT_SENT
        await asyncio.to_thread(files.add, [(name, known[digest]) for name, digest in part if digest in known])
        absent = [f"{name} ({digest})" for name, digest in part if digest not in known]
        count += len(absent)
        missing += absent[: _SHOWN - len(missing)]
    if clashes := await asyncio.to_thread(files.clashes, _SHOWN):
        raise _unreadable(f"{', '.join(clashes)} come twice with different bytes")
    if count:
        raise FormatError("BLOB_MISSING", f"{count} files are not uploaded: {', '.join(missing)}", "upload them first")


def _lines(path: Path, *, plan_only: bool) -> Iterator[tuple[str, str]]:
    """Path and digest of each line. Raise FormatError at the end where lines were none, at the tenth such line."""
    bad: list[str] = []
    number = 0
    with path.open("rb") as file:
        for number, line in enumerate(iter(partial(file.readline, _LONGEST_LINE), b""), 1):
            try:
                if line.strip():
                    yield _entry(line, plan_only=plan_only)
            except ValueError as problem:
                bad.append(f"line {number}: {problem}")
            if len(bad) == _SHOWN:
                break
    if not number:
        raise _unreadable("it is empty")
    if bad:
        raise _unreadable("; ".join(bad))


def _entry(line: bytes, *, plan_only: bool) -> tuple[str, str]:
    """Path and digest. Raise ValueError with what is wrong with the line."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"it is not JSON: {problem}") from None
    if not isinstance(content, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - bad data, not a wrong call
    name, digest = str(content.get("path", "")), str(content.get("digest", ""))
    # JSON may hold halves of characters, which no database takes.
    name.encode()
    violations = Violations()
    checks.file_path(name, "path", violations)
    checks.file_digest(name, digest, "digest", violations, plan_only=plan_only)
    try:
        violations.raise_if_any()
    except InvalidArgument as problem:
        raise ValueError(problem.message) from None
    return name, digest


def _unreadable(what: str) -> FormatError:
    hint = 'a line is {"path": "...", "digest": "sha256:..."}'
    return FormatError("BAD_FILE_LIST", f"the list of files cannot be used: {what}", hint)
