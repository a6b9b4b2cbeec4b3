"""Downloads that clients fetch from the object store themselves."""

from datetime import timedelta

from bloomery_kit.objects import ObjectStore, SignedRequest
from bloomery_kit.times import Clock, utc_now
from bloomery_vision.manifest import ManifestRow

LIFETIME = timedelta(hours=1)


class Signer:
    """Signs downloads, each for an hour."""

    def __init__(self, objects: ObjectStore, *, clock: Clock = utc_now) -> None:
        self._objects = objects
        self._clock = clock

    async def sign(self, key: str, file_name: str) -> SignedRequest:
        """A GET of an object, to be saved as `file_name`."""
        # Read before signing, so that the URL is not refused before the time that the client is told.
        expires_at = self._clock() + LIFETIME
        return SignedRequest(await self._objects.sign_get(key, expires=LIFETIME, filename=file_name), expires_at)

    async def download(self, row: ManifestRow) -> SignedRequest:
        """A GET of the original bytes of an image."""
        return await self.sign(row.logical_key, row.file_name.rpartition("/")[2])
