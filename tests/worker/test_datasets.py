"""Dataset versions that a worker cannot read say what to do."""

from pathlib import Path

import pytest

from bloomery_worker.cache import BlobCache
from bloomery_worker.dataset import Dataset
from bloomery_worker.failures import DataError


@pytest.mark.parametrize(
    ("content", "hint"),
    [(b"{", "build the dataset version again"), (b'{"format": 99}', "upgrade the workers' environment")],
)
def test_an_index_that_cannot_be_read_says_what_to_do(tmp_path: Path, content: bytes, hint: str) -> None:
    manifest = tmp_path / "index.json"
    manifest.write_bytes(content)
    with pytest.raises(DataError) as caught:
        Dataset.open(manifest, BlobCache(tmp_path / "cache"))
    assert caught.value.hint == hint
