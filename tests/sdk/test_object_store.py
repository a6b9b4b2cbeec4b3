"""A large file travels to an object store that is away, silent or slow, or is told."""

import socket
from pathlib import Path

import httpx
import pytest

from bloomery import Timeouts, _transfer, errors
from bloomery._files import File
from bloomery._session import Session
from bloomery.common.v1 import SignedRequest
from tests.sdk.blobs import DROP, Blobs, digest_of
from tests.sdk.conftest import Pauses


async def test_an_object_store_may_be_away_as_long_as_the_server(
    session: Session, pauses: Pauses, blobs: Blobs, tmp_path: Path
) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(b"large")
    file = File(path, digest_of(b"large"), 5)
    session.timeouts = Timeouts(total=60)
    blobs.faults += [503, DROP] * 7
    await session.transfer.put(file, blobs.signed(file.digest))
    assert blobs.held == {file.digest: b"large"}
    assert 45 < sum(pauses.taken) <= 60


async def test_an_object_store_that_stays_away_is_told(
    session: Session, pauses: Pauses, blobs: Blobs, tmp_path: Path
) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(b"large")
    blobs.faults += [503] * 50
    with pytest.raises(errors.TransferFailed, match="503"):
        await session.transfer.put(File(path, digest_of(b"large"), 5), blobs.signed("key"))
    assert sum(pauses.taken) <= session.timeouts.total


async def test_an_object_store_that_says_at_once_again_and_again_is_told(
    session: Session, pauses: Pauses, blobs: Blobs, tmp_path: Path
) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(b"large")
    blobs.retry_after = "0"
    blobs.faults += [503] * 100
    with pytest.raises(errors.TransferFailed, match="503"):
        await session.transfer.put(File(path, digest_of(b"large"), 5), blobs.signed("key"))
    assert sum(pauses.taken) <= session.timeouts.total


async def test_an_object_store_that_says_nothing_is_told_after_a_few_attempts(
    session: Session, pauses: Pauses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(b"large")
    monkeypatch.setattr(_transfer, "_TIMEOUT", httpx.Timeout(1.0, read=0.01))
    session.timeouts = Timeouts(total=60)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = SignedRequest(url=f"http://127.0.0.1:{mute.getsockname()[1]}/key")
        with pytest.raises(errors.TransferFailed, match="ReadTimeout"):
            await session.transfer.put(File(path, digest_of(b"large"), 5), silent)
    assert 1 < len(pauses.taken) < 6


@pytest.mark.parametrize("now", [b"larg", b""])
async def test_a_large_file_that_shrinks_while_it_is_sent_is_told_by_name(
    session: Session, blobs: Blobs, tmp_path: Path, now: bytes
) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(now)
    with pytest.raises(errors.InvalidArgument, match=r"large\.png changed") as caught:
        await session.transfer.put(File(path, digest_of(b"large"), 5), blobs.signed("key"))
    assert caught.value.reason == "DIGEST_MISMATCH"


async def test_of_a_large_file_that_grows_while_it_is_sent_only_what_was_announced_travels(
    session: Session, blobs: Blobs, tmp_path: Path
) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(b"larger")
    await session.transfer.put(File(path, digest_of(b"large"), 5), blobs.signed("key"))
    assert blobs.held == {"key": b"large"}
