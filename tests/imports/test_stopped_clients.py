"""A client is killed or interrupted at random moments of an import, and the same command is given again."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.sites import ROOT
from tests.imports.rounds import look
from tests.imports.site import Site, Undisturbed

SEED = 20261129
INTERRUPTED = 130


def command(site: Site, undisturbed: Undisturbed, name: str) -> "subprocess.Popen[str]":
    """`bloomery import` as a process."""
    environment = {**os.environ, "BLOOMERY_DATA": str(site.data), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "tests.imports.command", "import", str(undisturbed.folder), "--project", name]
    return subprocess.Popen(
        words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


async def made(site: Site, name: str) -> Path:
    """Make a project; the folder of its bytes."""
    async with site.client() as client:
        return site.data / "blobs" / (await client.create_project(name)).proto.uid


async def problems(site: Site, undisturbed: Undisturbed, name: str) -> Sequence[str]:
    async with site.client() as client:
        return [*await look(client, name, undisturbed), *site.damaged()]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_what_a_client_leaves_half_done_is_done_by_the_next_one(
    site: Site, undisturbed: Undisturbed, blow: signal.Signals, number: int
) -> None:
    moment = random.Random(f"{SEED}/{blow}/{number}").uniform(number, number + 1) / 4
    name = f"client-{blow.name.lower()}-{number}"
    bytes_folder = asyncio.run(made(site, name))
    first = command(site, undisturbed, name)
    while not bytes_folder.exists() and first.poll() is None:
        time.sleep(0.005)
    time.sleep(moment * undisturbed.seconds)
    first.send_signal(blow)
    _, said = first.communicate(timeout=30)
    print(f"seed {SEED}, at {moment:.2f}: ended with {first.returncode}")
    if blow is signal.SIGINT:
        # Late in an import it may be over before the signal is there.
        right = [(INTERRUPTED, True)] if number == 0 else [(INTERRUPTED, True), (0, False)]
        images = len(undisturbed.contents.images)
        if f"importing {images}/{images}" in said:
            # All is read; only the command has not ended yet.
            right.append((INTERRUPTED, False))
        assert (first.returncode, "the same command" in said) in right, said
        assert "Traceback" not in said
    second = command(site, undisturbed, name)
    _, said = second.communicate(timeout=50)
    assert second.returncode == 0, said
    assert not asyncio.run(problems(site, undisturbed, name))
