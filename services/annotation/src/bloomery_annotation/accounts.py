"""The access service as a neighbour: it is told which project has an id, so that roles are those of a project for ever.

Each piece of news is written with what it tells of, and kept until it was told; all of it may be told twice.
"""

import grpc

from bloomery.access.v1 import AccessServiceStub, ForgetProjectRequest, RegisterProjectRequest
from bloomery_annotation.store import untold
from bloomery_annotation.store.untold import News
from bloomery_kit.database import Database
from bloomery_kit.loops import guarded
from bloomery_kit.tasks import at_once

LOOP = "annotation accounts"
NEWS = "news of projects"
"""Key of the notifier that says that there is something to tell."""


class Accounts:
    """Tells of projects; without a channel nobody is to be told, and the news waits until somebody is."""

    def __init__(self, db: Database, channel: grpc.aio.Channel | None) -> None:
        self._db = db
        self._stub = AccessServiceStub(channel) if channel is not None else None
        self._told: set[str] = set()

    async def tell_all(self) -> None:
        """Tell what is to be told; one project's trouble holds up no other."""
        after = ""
        while news := await self._some(after):
            for one in news:
                with guarded(LOOP, project=one.project):
                    await self._tell(one)
            after = news[-1].uid
        await self._tell_unnoted()

    async def _tell_unnoted(self) -> None:
        """Tell once of each project of which nothing is noted: access may have lost it, or an older version made it."""
        async with self._db.read() as tx:
            present = await untold.present(tx)
        self._told.intersection_update(news.uid for news in present)
        for news in present:
            if news.uid not in self._told:
                with guarded(LOOP, project=news.project):
                    await self._tell(news)
                    self._told.add(news.uid)

    async def tell_gone(self, project: str) -> None:
        """Tell that whatever had an id before is gone, or raise: what was allowed there is not allowed in the next."""
        for news in await self._of(project):
            if news.gone:
                await self._tell(news)

    async def tell_soon(self, project: str) -> None:
        """Try to tell at once what is new of a project."""
        async with at_once("tell of a project"):
            for news in await self._of(project):
                await self._tell(news)

    async def _tell(self, news: News) -> None:
        if self._stub is None:
            # Nobody knew of it, so nobody has to forget it.
            if not news.gone:
                return
        elif news.gone:
            await self._stub.ForgetProject(ForgetProjectRequest(uid=news.uid))
        else:
            request = RegisterProjectRequest(project=news.project, uid=news.uid, creator=news.creator)
            await self._stub.RegisterProject(request)
        async with self._db.write() as tx:
            await untold.told(tx, news)

    async def _some(self, after: str) -> list[News]:
        async with self._db.read() as tx:
            return await untold.some(tx, after=after)

    async def _of(self, project: str) -> list[News]:
        async with self._db.read() as tx:
            return await untold.of(tx, project)
