"""`python -m bloomery_access`: the access service in a process of its own."""

import asyncio

from bloomery_access.app import AccessApp
from bloomery_access.settings import AccessSettings
from bloomery_kit.service import serve

if __name__ == "__main__":
    asyncio.run(serve(AccessSettings, AccessApp.open))
