"""Small parts, so that a small folder travels as a large one does; whatever imports this imports little else."""

from collections.abc import Iterator
from contextlib import contextmanager

from bloomery import _upload


@contextmanager
def small_parts() -> Iterator[None]:
    """Let clients of this process send the sample in many calls, and about half of its images by themselves."""
    before = _upload._PAGE, _upload.BUNDLED_BYTES
    _upload._PAGE, _upload.BUNDLED_BYTES = 20, 21_000
    try:
        yield
    finally:
        _upload._PAGE, _upload.BUNDLED_BYTES = before
