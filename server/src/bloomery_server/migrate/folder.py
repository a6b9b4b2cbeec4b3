"""The data folder that is moved: nobody works on it meanwhile, and what of it stands in the way is said at once."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from pydantic import SecretStr

from bloomery.errors import FailedPrecondition, NotFound
from bloomery_kit.objects import ObjectStore, open_object_store
from bloomery_kit.settings import FolderStoreSettings
from bloomery_server.folder import (
    IDENTITY_FILE,
    DamagedFolderError,
    DataFolder,
    FolderInUseError,
    Identity,
    read_identity,
)
from bloomery_server.migrate import needs
from bloomery_server.migrate.parts import PARTS, Part
from bloomery_server.migrate.report import Obstacle
from bloomery_server.migrate.rows import Content
from bloomery_server.migrate.source import Source
from bloomery_server.migrate.target import name_of
from bloomery_trainer.launcher import Phase
from bloomery_trainer.launcher.process import ProcessLauncher
from bloomery_trainer.settings import ProcessLauncherSettings

_UPDATE = "start `bloomery up` of this version on the folder once and stop it: it brings the tables up to date"


class Folder:
    """A locked data folder and what is in it."""

    def __init__(self, root: Path, sources: list[Source]) -> None:
        identity = _identity(root)
        self.root = root
        self.blobs = root / "blobs"
        self.sources = sources
        # Tells folders apart; from it nobody learns the key.
        self.id = hashlib.sha256(f"migrate {identity.signing_key}".encode()).hexdigest()[:32]
        settings = FolderStoreSettings(
            root=self.blobs, base_url="http://127.0.0.1", signing_key=SecretStr(identity.signing_key)
        )
        self.store: ObjectStore = open_object_store(settings)

    @classmethod
    @contextmanager
    def open(cls, root: Path) -> "Iterator[Folder]":
        """Lock the folder. Raise NotFound where it is none, FailedPrecondition while a server runs on it."""
        if not (root / IDENTITY_FILE).is_file():
            raise NotFound(
                f"{root} is no data folder", reason="NO_FOLDER", hint="name one of `bloomery up` with --from"
            )
        try:
            lock = DataFolder.open(root)
        except FolderInUseError:
            hint = "stop it with its jobs: `bloomery up --stop-jobs`, then Ctrl-C"
            raise FailedPrecondition(f"a server runs on {root}", reason="FOLDER_IN_USE", hint=hint) from None
        with ExitStack() as stack:
            stack.callback(lock.close)
            yield cls(root, [stack.enter_context(Source.open(part, root)) for part in PARTS])

    def obstacles(self) -> Iterator[Obstacle]:
        """What keeps it from being read: schemas of another version, workers that still run."""
        for source in self.sources:
            yield from schema_obstacles(source.part, source.revision(), f"{self.root}/{source.part.service}.db")

    async def running(self) -> list[Obstacle]:
        """Workers that are still at work."""
        jobs_dir = self.root / "jobs"
        if not jobs_dir.is_dir():
            return []
        settings = ProcessLauncherSettings(jobs_dir=jobs_dir, cache_dir=self.root / "cache" / "worker")
        seen = await ProcessLauncher(settings).observe()
        uids = sorted({one.job_uid for one in seen if one.phase is not Phase.ENDED})
        hint = "start `bloomery up --stop-jobs` on the folder and stop it: each saves a checkpoint and ends"
        return [Obstacle(f"the worker of job {uid} still runs", hint) for uid in uids]

    async def scan(self) -> tuple[dict[str, Content], list[Obstacle]]:
        """What every table holds, and the rows that cannot be moved."""
        contents: dict[str, Content] = {}
        obstacles: list[Obstacle] = []
        for source in self.sources:
            for table in source.part.tables:
                contents[name_of(source.part, table)], bad = await asyncio.to_thread(source.scan, table)
                hint = f"mend the row in {self.root}/{source.part.service}.db, by hand or through the API"
                obstacles += [Obstacle(text, hint) for text in bad]
        return contents, obstacles

    async def missing(self) -> list[str]:
        """The keys of files that rows name and that are not there."""
        found: set[str] = set()
        for source in self.sources:
            found |= await asyncio.to_thread(lambda its: set(needs.missing(its, self.blobs)), source)
        return sorted(found)

    def open_jobs(self) -> Iterator[str]:
        """What is to be known about the jobs that are not over."""
        (trainer,) = (source for source in self.sources if source.part.service == "trainer")
        recipes: dict[str, int] = {}
        for (spec,) in trainer.select("SELECT spec FROM jobs WHERE state < 8 AND NOT deleted"):
            assert isinstance(spec, bytes)
            recipe = str(json.loads(spec).get("recipe", ""))
            recipes[recipe] = recipes.get(recipe, 0) + 1
        for recipe, count in sorted(recipes.items()):
            yield f"{count} jobs of {recipe} are not over: the cluster's workers must have that recipe"


def _identity(root: Path) -> Identity:
    try:
        return read_identity(root / IDENTITY_FILE)
    except DamagedFolderError as error:
        hint = "restore it from a backup, or start and stop `bloomery up` once without it: it makes a new one"
        raise FailedPrecondition(str(error), reason="NO_FOLDER", hint=hint) from error


def schema_obstacles(part: Part, revision: str | None, where: str) -> Iterator[Obstacle]:
    """What is wrong with a schema that should be at its newest migration."""
    head, known = revisions(part)
    if revision == head:
        return
    if revision is None or revision in known:
        yield Obstacle(f"{where} is at the schema {revision}, of an older version; this one has {head}", _UPDATE)
    else:
        yield newer(where, revision, head)


def newer(where: str, revision: str, head: str | None) -> Obstacle:
    """A schema that this version does not know."""
    hint = "migrate with the version that wrote it, and run the same one on both sides"
    return Obstacle(f"{where} is at the schema {revision}, of a newer version; this one has {head}", hint)


def revisions(part: Part) -> tuple[str | None, set[str]]:
    """The newest migration of a service, and all that it knows."""
    config = Config()
    config.set_main_option("script_location", str(part.migrations))
    scripts = ScriptDirectory.from_config(config)
    return scripts.get_current_head(), {script.revision for script in scripts.walk_revisions()}


def tables_of(sources: list[Source]) -> Iterator[tuple[Source, sa.Table]]:
    """All tables in the order in which they are filled."""
    for source in sources:
        for table in source.part.tables:
            yield source, table
