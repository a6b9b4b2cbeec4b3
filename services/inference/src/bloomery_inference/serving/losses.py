"""Files of deployed models that are gone from the object store, told before a replica starts anew and lacks them."""

from bloomery_inference.convert import variant_name
from bloomery_inference.model import Variant
from bloomery_inference.serving.model import FORMATS
from bloomery_inference.store import deployments, variants
from bloomery_kit.alerts import ALERTS, alert
from bloomery_kit.database import Database
from bloomery_kit.loops import guarded
from bloomery_kit.objects import ObjectStore

EVENT = "served_files_missing"
ALERTS.labels(EVENT)


class Losses:
    """Looks for them in the loop of a name, and tells of each model once for as long as its files are away."""

    def __init__(self, db: Database, objects: ObjectStore, loop: str) -> None:
        self._db = db
        self._objects = objects
        self._loop = loop
        self._told: set[str] = set()

    async def look(self) -> None:
        """Look at all files of what replicas have to load."""
        planned = await self._planned()
        gone: dict[str, list[str]] = {}
        for uid, variant in planned.items():
            with guarded(self._loop, model_variant=variant_name(variant)):
                if files := await self._gone(variant):
                    gone[uid] = files
        if gone:
            # Whoever deletes a deployment may delete its model a moment later.
            gone = {uid: files for uid, files in gone.items() if uid in await self._planned()}
        for uid in gone.keys() - self._told:
            name = variant_name(planned[uid])
            alert(EVENT, f"{name} is deployed, and files of it are gone: {', '.join(gone[uid])}", model_variant=name)
        self._told = set(gone)

    async def _planned(self) -> dict[str, Variant]:
        async with self._db.read() as tx:
            uids = set().union(*[await deployments.planned(tx, runtime) for runtime in FORMATS])
            return dict(await variants.by_uid(tx, uids))

    async def _gone(self, variant: Variant) -> list[str]:
        files = variant.result.artifacts
        return [file.file_name for file in files if await self._objects.stat(file.logical_key) is None]
