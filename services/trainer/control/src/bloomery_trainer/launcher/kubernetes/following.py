"""Watches, which only make looks come sooner: whatever becomes of them, what is true is what a list says."""

import asyncio
import math
from collections.abc import Callable

import aiohttp

from bloomery_kit.errors import Unavailable
from bloomery_trainer import metrics
from bloomery_trainer.launcher.kubernetes.api import Api, Call, RefusedError
from bloomery_trainer.launcher.kubernetes.manifest import selector
from bloomery_trainer.launcher.kubernetes.reading import WATCHED, Reading
from bloomery_trainer.settings import KubernetesLauncherSettings

_GONE = 410
_ERROR = b'{"type":"ERROR"'
_PAUSE = 1.0


class Following:
    """Watches that begin where the last look has ended."""

    def __init__(self, api: Api, settings: KubernetesLauncherSettings, reading: Reading) -> None:
        self._api, self._settings, self._reading = api, settings, reading

    async def follow(self, tell: Callable[[], None]) -> None:
        """Call `tell` at each change, for about `watch_seconds`, and where changes may have been missed."""
        await self._reading.has_looked.wait()
        ends = await asyncio.gather(*(self._watch(kind, tell) for kind in WATCHED), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _watch(self, resource: str, tell: Callable[[], None]) -> None:
        try:
            reason = await self._until_over(resource, tell)
        except TimeoutError:
            reason = "timeout"
        except Unavailable:
            reason = "error"
        except RefusedError as refused:
            if refused.status != _GONE:
                raise
            reason = "gone"
        metrics.K8S_WATCH_RESTARTS.labels(reason).inc()
        if reason != "agreed":
            tell()
            await asyncio.sleep(_PAUSE)

    async def _until_over(self, resource: str, tell: Callable[[], None]) -> str:
        seconds = math.ceil(self._settings.watch_seconds)
        query: dict[str, str | int] = {
            "watch": "true",
            "resourceVersion": self._reading.versions[resource],
            "timeoutSeconds": seconds,
            "labelSelector": selector(self._settings),
        }
        # The server ends it; where it cannot tell us, we do.
        patience = self._settings.request_timeout
        timeout = aiohttp.ClientTimeout(total=seconds + patience, connect=patience)
        call = Call("watch", "GET", resource, self._reading.path(resource), query)
        async with self._api.stream(call, timeout) as answer:
            begins = True
            async for text in answer.content.iter_any():
                if begins and text.startswith(_ERROR):
                    return "gone"
                begins = text.endswith(b"\n")
                tell()
        return "agreed"
