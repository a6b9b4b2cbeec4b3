"""`python -m bloomery_dataset`: the dataset service in a process of its own."""

import asyncio

from bloomery_dataset.app import DatasetApp
from bloomery_dataset.settings import DatasetSettings
from bloomery_kit.service import serve

if __name__ == "__main__":
    asyncio.run(serve(DatasetSettings, DatasetApp.open))
