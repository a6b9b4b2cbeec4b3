"""A bucket joins blobs also where its server cannot, and says what is wrong with them."""

from typing import cast

import pytest
from minio.error import S3Error
from urllib3 import BaseHTTPResponse

from bloomery_kit.errors import NotFound
from bloomery_kit.objects import S3ObjectStore

pytestmark = pytest.mark.real_server("minio")
SOURCES = [f"project/{number}" for number in range(3)]


@pytest.fixture
async def contents(bucket_store: S3ObjectStore) -> bytes:
    """What the sources hold together."""
    for number, source in enumerate(SOURCES):
        await bucket_store.put(source, bytes([number]) * 1000)
    return b"".join(bytes([number]) * 1000 for number in range(len(SOURCES)))


@pytest.mark.parametrize("code", ["NotImplemented", "MethodNotAllowed"])
async def test_a_server_that_copies_no_parts_is_given_the_bytes_again(
    bucket_store: S3ObjectStore, contents: bytes, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def refuse(*_args: object) -> None:
        raise S3Error(cast("BaseHTTPResponse", None), code, "no such call", None, None, None)

    monkeypatch.setattr(bucket_store._client, "compose_object", refuse)
    await bucket_store.join(SOURCES, "project/joined")
    assert await bucket_store.get("project/joined") == contents


async def test_a_part_that_is_smaller_than_any_is_said_to_be_missing(
    bucket_store: S3ObjectStore, contents: bytes
) -> None:
    """It was written again after its size was looked at, which S3 holds nobody to."""
    with pytest.raises(NotFound):
        await bucket_store.join(SOURCES, "project/joined")
    assert await bucket_store.stat("project/joined") is None
