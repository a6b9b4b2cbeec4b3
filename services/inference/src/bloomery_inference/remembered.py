"""Model versions that predictions name again and again, read once for as long as nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bloomery_inference.model import ModelVersion
    from bloomery_inference.registry import Registry
    from bloomery_kit.database import Database


_LIMIT = 1000
"""Names that are remembered."""


class Remembered:
    """What the registry says of versions; it is asked each time where other processes write to the database too."""

    def __init__(self, db: Database, registry: Registry) -> None:
        self._db = db
        self._registry = registry
        self._writes = db.writes
        self._versions: dict[str, ModelVersion] = {}

    async def get_version(self, name: str, field: str) -> ModelVersion:
        """See Registry."""
        before = self._db.writes
        if before is None:
            return await self._registry.get_version(name, field)
        if before != self._writes or len(self._versions) >= _LIMIT:
            self._versions, self._writes = {}, before
        if name not in self._versions:
            version = await self._registry.get_version(name, field)
            if before != self._db.writes:
                return version
            self._versions[name] = version
        return self._versions[name]
