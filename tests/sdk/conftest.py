"""The client's neighbours: a server that does as it is told, and a place for bytes."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bloomery import AsyncClient, Client, DatasetVersion, Timeouts
from bloomery._address import Address
from bloomery._session import Session
from bloomery.cli import app
from tests.sdk import world
from tests.sdk.blobs import Blobs
from tests.sdk.exports import exportable
from tests.sdk.fake import Fake

Run = Callable[..., Result]
QUICK = Timeouts(attempt=1.0, total=8.0, contact=2.0, silence=1.0, outage=8.0)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BLOOMERY_ENDPOINT", "BLOOMERY_TOKEN", "BLOOMERY_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BLOOMERY_DATA", str(tmp_path / "data"))


@pytest.fixture
def fake() -> Iterator[Fake]:
    server = Fake()
    yield server
    server.close()
    assert server.unused() == []


@pytest.fixture
def blobs() -> Iterator[Blobs]:
    server = Blobs()
    yield server
    server.close()


@pytest.fixture
def client(fake: Fake) -> Iterator[Client]:
    with Client(fake.endpoint, token="secret", timeouts=QUICK) as opened:
        yield opened


@pytest.fixture
async def aclient(fake: Fake) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(fake.endpoint, token="secret", timeouts=QUICK) as opened:
        yield opened


@pytest.fixture
def version(fake: Fake, client: Client, blobs: Blobs) -> DatasetVersion:
    """A version that can be exported."""
    return exportable(fake, client, blobs)


@pytest.fixture
def run(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line, with a small finished project behind it."""
    world.settle(fake)
    monkeypatch.setenv("BLOOMERY_ENDPOINT", fake.endpoint)
    return lambda line, *more: CliRunner().invoke(app, [*line.split(), *more])


class Pauses:
    """A clock that moves only by the pauses that were asked for."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.taken.append(seconds)

    def clock(self) -> float:
        return sum(self.taken)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
async def session(fake: Fake, pauses: Pauses) -> AsyncIterator[Session]:
    """A connection whose pauses take no time, without jitter."""
    opened = Session(
        Address(fake.endpoint, "secret"),
        timeouts=QUICK,
        sleep=pauses.sleep,
        clock=pauses.clock,
        jitter=lambda: 1.0,
    )
    yield opened
    await opened.close()
