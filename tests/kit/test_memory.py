"""What a server does with memory while it serves."""

import subprocess
import sys

_FAULTS = """
import asyncio, gc, resource
from bloomery.dataset.v1 import DatasetItem, ListDatasetItemsResponse
from bloomery_kit.auth import OwnerToken
from bloomery_kit.server import ServerOptions, ServiceHost, run_until_signal

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

async def main():
    host = ServiceHost(ServerOptions(drain_wait=0), authenticator=OwnerToken("token"))
    serving = asyncio.create_task(run_until_signal(host))
    while not gc.get_freeze_count():
        await asyncio.sleep(0.01)
    page = ListDatasetItemsResponse(items=[DatasetItem(content=bytes(20_000))] * 200)
    page.SerializeToString()
    before = faults()
    for _ in range(10):
        page.SerializeToString()
    print(faults() - before)
    serving.cancel()
    await asyncio.wait([serving])

asyncio.run(main())
"""


def test_large_messages_are_written_into_memory_that_the_server_kept() -> None:
    found = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 1000
