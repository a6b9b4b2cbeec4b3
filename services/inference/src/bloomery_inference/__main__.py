"""`python -m bloomery_inference`: the inference service in a process of its own."""

import asyncio

from bloomery_inference.app import MESSAGE_BYTES, InferenceApp
from bloomery_inference.settings import InferenceSettings
from bloomery_kit.service import serve

if __name__ == "__main__":
    asyncio.run(serve(InferenceSettings, InferenceApp.open, max_message_bytes=MESSAGE_BYTES))
