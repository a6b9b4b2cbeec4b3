"""Requests that read objects without any other credential."""

from datetime import timedelta

from bloomery_kit.objects import SignedRequest
from bloomery_trainer.core import Core


async def signed(core: Core, key: str, filename: str | None = None) -> SignedRequest:
    """A request that reads an object."""
    expires = timedelta(seconds=core.settings.signed_seconds)
    url = await core.objects.sign_get(key, expires=expires, filename=filename)
    return SignedRequest(url, core.clock() + expires)
