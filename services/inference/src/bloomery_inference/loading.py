"""Which models are in the runtime: loaded when they are first asked for, the least recently used unloaded."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from bloomery_inference.runtime import ModelLoadError, NotLoaded
from bloomery_kit.loops import guarded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bloomery_inference.files import ModelCache
    from bloomery_inference.model import Variant
    from bloomery_inference.runtime import ModelRuntime, Run, Tensors

_UID = re.compile(r"[0-9a-f]{32}")


class LoadedModels:
    """At most about `limit` models in a runtime, beside those that are held; one that is in use stays."""

    def __init__(self, files: ModelCache, runtime: ModelRuntime, *, limit: int) -> None:
        self._files = files
        self._runtime = runtime
        self._limit = limit
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._in_use: defaultdict[str, int] = defaultdict(int)
        self._held: set[str] = set()
        self._adopted = False
        # Loading and unloading one model take turns; whoever waits for a turn keeps the lock alive.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def formats(self) -> frozenset[str]:
        """Of the models that can be loaded."""
        return self._runtime.formats

    @asynccontextmanager
    async def use(self, variant: Variant) -> AsyncIterator[None]:
        """Keep a model loaded while the block runs. Raise ModelLoadError, Unavailable."""
        await self._enter(variant)
        try:
            yield
        finally:
            self._leave(variant.uid)

    async def hold(self, variant: Variant) -> None:
        """Load a model and keep it until `let_go`. Raise ModelLoadError, Unavailable."""
        await self._enter(variant)
        self._held.add(variant.uid)

    async def let_go(self, uid: str) -> None:
        """Free a model that was held, unless it is in use."""
        self._held.discard(uid)
        self._leave(uid)
        await self._unload(uid)

    async def _enter(self, variant: Variant) -> None:
        self._in_use[variant.uid] += 1
        try:
            await self._ensure(variant)
        except BaseException:
            self._leave(variant.uid)
            raise

    def _leave(self, uid: str) -> None:
        self._in_use[uid] -= 1
        if not self._in_use[uid]:
            del self._in_use[uid]

    async def infer(self, variant: Variant, images: NDArray[np.uint8]) -> Tensors:
        """Run a model that is in use or held; where the runtime has lost it, as by a restart, load it once more."""
        try:
            return await self._runtime.infer(variant.uid, images)
        except NotLoaded:
            self._recent.pop(variant.uid, None)
            await self._ensure(variant)
            return await self._runtime.infer(variant.uid, images)

    def runner(self, variant: Variant, together: int) -> Run | None:
        """What runs a model that is in use in the calling thread; None where only `infer` does."""
        return self._runtime.runner(variant.uid, together)

    async def _ensure(self, variant: Variant) -> None:
        async with self._turn(variant.uid):
            if variant.uid not in self._recent:
                await self._load(variant)
            self._recent[variant.uid] = None
            self._recent.move_to_end(variant.uid)
        for uid in [uid for uid in self._recent if uid not in self._in_use][: self._surplus()]:
            with guarded("inference unloading", model=uid):
                await self._unload(uid)

    async def _load(self, variant: Variant) -> None:
        if not self._adopted:
            # What an earlier process has left in a server is as good as ours, and would never leave it.
            left = [name for name in await self._runtime.loaded() if _UID.fullmatch(name)]
            self._recent.update(dict.fromkeys(left))
            self._adopted = True
        try:
            await self._runtime.load(variant.uid, self._files.of(variant))
        except ModelLoadError:
            await self._files.forget(variant)
            raise

    async def _unload(self, uid: str) -> None:
        async with self._turn(uid):
            if uid in self._recent and uid not in self._in_use:
                await self._runtime.unload(uid)
                self._recent.pop(uid, None)

    def _turn(self, uid: str) -> asyncio.Lock:
        return self._turns.setdefault(uid, asyncio.Lock())

    def _surplus(self) -> int:
        return max(0, len(self._recent.keys() - self._held) - self._limit)
