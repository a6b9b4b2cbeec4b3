"""`bloomery up` on a folder of its own, which people import into and which is hit meanwhile."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bloomery import AsyncClient
from bloomery.annotation.v1 import Import
from tests.faults.sites import embedded
from tests.imports.contents import Contents, contents, digest_of, images_of

_DIGEST = re.compile("[0-9a-f]{64}")


class Site:
    """A server that is killed and comes back, on the folder `data` of a folder."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self.server = embedded(folder, settings or {})

    @contextmanager
    def running(self) -> Iterator["Site"]:
        self.server.start()
        try:
            yield self
        finally:
            self.server.end()

    @property
    def address(self) -> tuple[str, str]:
        """Endpoint and token."""
        about = json.loads((self.data / "server.json").read_text())
        return about["endpoint"], about["token"]

    def client(self, endpoint: str = "") -> AsyncClient:
        """A client of its own, of another endpoint where one is given."""
        own, token = self.address
        return AsyncClient(endpoint or own, token=token)

    def damaged(self) -> Sequence[str]:
        """The stored files that have other bytes than the digest that is their name."""
        stored = (path for path in (self.data / "blobs").rglob("*") if _DIGEST.fullmatch(path.name))
        return [f"{path} is damaged" for path in stored if digest_of(path) != path.name]


@dataclass(frozen=True)
class Undisturbed:
    """What a folder becomes when nothing is in the way.

    Attributes:
        contents: what the project holds then.
        done: the import, at its end.
        seconds: what it took.
    """

    folder: Path
    contents: Contents
    done: Import
    seconds: float


async def import_undisturbed(site: Site, folder: Path) -> Undisturbed:
    """Import a folder with nothing in the way, the second time that the server does it."""
    loop = asyncio.get_running_loop()
    async with site.client() as client:
        await (await client.create_project("warm")).import_folder(folder)
        project = await client.create_project("undisturbed")
        began = loop.time()
        done = await project.import_folder(folder)
        seconds = loop.time() - began
        found = await contents(project)
    assert [(image.path, image.digest) for image in found.images] == images_of(folder)
    return Undisturbed(folder, found, done.proto, seconds)
