"""The order of a migration: look at both sides, copy rows and files, compare both sides."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import sqlalchemy as sa

from bloomery.errors import FailedPrecondition
from bloomery_kit.objects import ObjectStat, ObjectStore
from bloomery_server.migrate import journal
from bloomery_server.migrate.blobs import Copying, Outcome, digests, files_of, is_damaged
from bloomery_server.migrate.folder import Folder, newer, revisions, tables_of
from bloomery_server.migrate.parts import PARTS
from bloomery_server.migrate.report import Obstacle, Report
from bloomery_server.migrate.rows import Columns, Content, batches
from bloomery_server.migrate.source import Source, place
from bloomery_server.migrate.target import Target, name_of

Tell = Callable[[str], None]


class Migration:
    """One folder into one database and one bucket; `tell` hears what is being done."""

    def __init__(self, folder: Folder, target: Target, bucket: ObjectStore, report: Report, tell: Tell) -> None:
        self._folder, self._target, self._bucket, self._tell = folder, target, bucket, tell
        self.report = report
        self._files: list[ObjectStat] = []
        self._digests: dict[str, str] = {}

    async def look(self, *, deep: bool) -> None:
        """Fill the report with what there is and what stands in the way; `deep`: read all files too."""
        report = self.report
        report.obstacles += [*await self._folder.running(), *await self._target_obstacles()]
        if unreadable := list(self._folder.obstacles()):
            report.obstacles += unreadable
            return
        self._tell("reading the tables")
        report.tables, bad = await self._folder.scan()
        report.obstacles += bad
        report.notes += self._folder.open_jobs()
        self._files, foreign = await files_of(self._folder.store)
        report.notes += [f"blobs/{name} is no file of ours, and stays" for name in foreign]
        report.files, report.size_bytes = len(self._files), sum(stat.size for stat in self._files)
        report.missing = await self._folder.missing()
        if deep:
            self._tell(f"reading {report.files:,} files")
            self._digests = await digests(self._folder.store, [stat.key for stat in self._files])
            report.damaged = sorted(key for key, digest in self._digests.items() if is_damaged(key, digest))

    async def copy(self, run: journal.Run | None) -> None:
        """Bring over what is not there yet."""
        await self._target.prepare()
        progress = await self._progress(run)
        for source, table in tables_of(self._folder.sources):
            await self._copy_table(source, table, progress[name_of(source.part, table)])
        await self._target.settle_sequences()
        await self._copy_files()

    async def compare(self) -> None:
        """Say where both sides are not the same."""
        report = self.report
        self._tell("comparing the tables")
        for part in PARTS:
            for table in part.tables:
                name = name_of(part, table)
                if (there := await self._target.content(part, table)) != (here := report.tables[name]):
                    report.differences.append(_difference(name, here, there))
        self._tell(f"comparing {report.files:,} files")
        there_digests = await digests(self._bucket, self._digests)
        for key, digest in sorted(self._digests.items()):
            if key not in report.damaged and there_digests.get(key) != digest:
                report.differences.append(f"{key}: {there_digests.get(key, 'missing')} in place of {digest}")
        report.state = "DIFFERENT" if report.differences else "COMPLETE"

    async def finish(self) -> None:
        """Write down that all is there."""
        async with self._target.db.write() as tx:
            await journal.end(tx, datetime.now(UTC))

    async def _target_obstacles(self) -> list[Obstacle]:
        found = []
        for part in PARTS:
            revision = await self._target.revision(part)
            head, known = revisions(part)
            if revision is not None and revision not in known:
                found.append(newer(f"the database's {part.schema}", revision, head))
        if others := await self._target.others():
            hint = "scale the services down to 0 replicas, and close other sessions of the database's owner"
            found.append(Obstacle(f"others are connected to the database, from {', '.join(others)}", hint))
        return found

    async def _progress(self, run: journal.Run | None) -> Mapping[str, journal.Progress]:
        """How far each table is; all are begun anew where the folder was used since."""
        if run is not None:
            async with self._target.db.read() as tx:
                progress = await journal.progress(tx)
            if {name: one.source for name, one in progress.items()} == self.report.tables:
                await self._check_untouched(progress)
                return progress
            self._tell("the folder was used since the migration began: its tables are copied anew")
        async with self._target.db.write() as tx:
            await self._target.clear(tx)
            begun = journal.Run(self._folder.id, datetime.now(UTC), None)
            await journal.begin(tx, begun, self.report.tables)
        return {name: journal.Progress(content, 0, None) for name, content in self.report.tables.items()}

    async def _check_untouched(self, progress: Mapping[str, journal.Progress]) -> None:
        for source, table in tables_of(self._folder.sources):
            name = name_of(source.part, table)
            if (count := await self._target.count(source.part, table)) != progress[name].rows:
                raise FailedPrecondition(
                    f"{name} has {count:,} rows, of which the migration wrote {progress[name].rows:,}",
                    reason="TARGET_NOT_EMPTY",
                    hint="something else wrote there meanwhile: drop the schemas of the services and `migration`, "
                    "keep the services at 0 replicas, and begin again",
                )

    async def _copy_table(self, source: Source, table: sa.Table, progress: journal.Progress) -> None:
        done = progress.rows
        if done == progress.source.rows:
            return
        self._tell(
            f"{name_of(source.part, table)}: {progress.source.rows:,} rows" + f", from row {done:,} on" * bool(done)
        )
        columns = Columns(table)
        waiting = batches(source.rows(table, progress.place))
        while rows := await asyncio.to_thread(next, waiting, None):
            last = place(table, columns, rows[-1])
            await self._target.append(source.part, table, rows, before=done, place=last)
            done += len(rows)

    async def _copy_files(self) -> None:
        async with self._target.db.read() as tx:
            known = await journal.copied(tx)

        async def note(copied: list[journal.Copied]) -> None:
            self._digests |= {one.key: one.digest for one in copied}
            async with self._target.db.write() as tx:
                await journal.note(tx, copied)

        self._tell(f"{self.report.files:,} files")
        self._digests = {key: one.digest for key, one in known.items()}
        outcome = Outcome()
        await Copying(self._folder.store, self._folder.blobs, self._bucket, note).run(self._files, known, outcome)
        self.report.damaged = sorted(outcome.damaged)


def _difference(name: str, here: Content, there: Content) -> str:
    if here.rows != there.rows:
        return f"{name}: {there.rows:,} rows in place of {here.rows:,}"
    return f"{name}: {here.rows:,} rows on both sides, and not the same ones"
