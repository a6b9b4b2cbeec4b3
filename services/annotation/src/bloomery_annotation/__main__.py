"""`python -m bloomery_annotation`: the annotation service in a process of its own."""

import asyncio

from bloomery_annotation.app import AnnotationApp
from bloomery_annotation.settings import AnnotationSettings
from bloomery_kit.service import serve

if __name__ == "__main__":
    asyncio.run(serve(AnnotationSettings, AnnotationApp.open))
