"""One call of the command: what must hold before, what is done, and what is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from bloomery.errors import FailedPrecondition
from bloomery_kit.credentials import database_passwords
from bloomery_kit.objects import open_object_store
from bloomery_server.migrate.folder import Folder
from bloomery_server.migrate.journal import Run
from bloomery_server.migrate.migration import Migration
from bloomery_server.migrate.report import Report
from bloomery_server.migrate.settings import MigrationSettings
from bloomery_server.migrate.target import Target

_NAMED = 5


@dataclass(frozen=True)
class Wish:
    """What is asked for; without any of these, all is copied and compared."""

    dry_run: bool = False
    verify_only: bool = False
    allow_missing: bool = False


async def run(root: Path, settings: MigrationSettings, wish: Wish, *, tell: Callable[[str], None]) -> Report:
    """Move the folder `root`, or look at both sides; `tell` hears what is being done.

    Raises:
        bloomery.errors.BloomeryError: it cannot be begun, and nothing was written.
        bloomery_kit.errors.BloomeryError: a part failed on the way; a repeat goes on from there.
    """
    where = sa.make_url(settings.database_url).render_as_string(hide_password=True)
    report = Report(str(root), f"{where}, bucket {settings.object_store.bucket} at {settings.object_store.endpoint}")
    bucket = open_object_store(settings.object_store)
    with Folder.open(root) as folder:
        async with Target.open(settings.database_url, database_passwords(settings)) as target:
            await bucket.check_ready()
            migration = Migration(folder, target, bucket, report, tell)
            begun = await target.run()
            _check_owner(begun, folder)
            if begun is not None and begun.end_time is not None and not wish.verify_only:
                report.state = "COMPLETE"
                report.notes.append(f"this folder was moved here at {begun.end_time:%Y-%m-%d %H:%M:%S} UTC already")
                return report
            if begun is None:
                _check_not_begun(await target.filled(), wish)
            await migration.look(deep=wish.dry_run or wish.verify_only)
            if not wish.dry_run:
                await _carry_out(migration, begun, wish)
    return report


async def _carry_out(migration: Migration, begun: Run | None, wish: Wish) -> None:
    report = migration.report
    _check_obstacles(report)
    if not wish.verify_only:
        if not wish.allow_missing:
            _check_files(report.missing, "missing")
        await migration.copy(begun)
        if not wish.allow_missing:
            _check_files(report.damaged, "damaged")
    await migration.compare()
    if not (report.differences or wish.verify_only):
        await migration.finish()


def _check_owner(begun: Run | None, folder: Folder) -> None:
    if begun is not None and begun.source != folder.id:
        raise FailedPrecondition(
            "the migration of another folder was begun here",
            reason="TARGET_NOT_EMPTY",
            hint="take an empty database, or the folder that it was begun with",
        )


def _check_not_begun(filled: list[str], wish: Wish) -> None:
    if wish.verify_only:
        raise FailedPrecondition(
            "nothing was moved into this database yet",
            reason="CANNOT_MIGRATE",
            hint="check BLOOMERY_DATABASE_URL, or move the folder first: the same command without --verify-only",
        )
    if filled:
        raise FailedPrecondition(
            f"the installation is not empty: there are rows in {', '.join(filled[:_NAMED])}",
            reason="TARGET_NOT_EMPTY",
            hint="take an empty database; if nothing in this one is needed, drop the schemas of its services",
        )


def _check_obstacles(report: Report) -> None:
    if report.obstacles:
        raise FailedPrecondition(
            "; ".join(one.message for one in report.obstacles[:_NAMED]),
            reason="CANNOT_MIGRATE",
            hint=f"{report.obstacles[0].hint}; --dry-run lists all that stands in the way",
        )


def _check_files(keys: list[str], how: str) -> None:
    if keys:
        raise FailedPrecondition(
            f"{len(keys)} files are {how}, the first of them {keys[0]}",
            reason="FILES_MISSING",
            hint="bring them back from a backup into blobs/, or leave them behind with --allow-missing",
        )
