"""What bytes are: their digest and size, and what an image shows."""

import hashlib
from pathlib import Path

from bloomery_annotation.model import Blob
from bloomery_annotation.names import DIGEST_PREFIX
from bloomery_kit.errors import BloomeryError, FieldViolation, InvalidArgument
from bloomery_vision.findings import error
from bloomery_vision.images import ImageError, probe


def inspect(source: bytes | Path) -> Blob:
    """Digest, size and what an image shows; a file that is no usable image has the reason as its `problem`."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    else:
        digest, size = hashlib.sha256(source).hexdigest(), len(source)
    name = DIGEST_PREFIX + digest
    try:
        info = probe(source)
    except ImageError as problem:
        return Blob(name, size, problem=error(problem.code, problem.message, hint=problem.hint))
    return Blob(name, size, info.media_type, info.width, info.height)


def checked(digest: str, data: bytes) -> Blob | BloomeryError:
    """What bytes are, or InvalidArgument DIGEST_MISMATCH where they have another digest."""
    found = inspect(data)
    return found if found.digest == digest else mismatch(Blob(digest, len(data)), f"bytes with {found.digest}")


def check(wanted: Blob, found: Blob) -> None:
    """Raise InvalidArgument DIGEST_MISMATCH unless what was found is what was wanted."""
    if (found.digest, found.size_bytes) != (wanted.digest, wanted.size_bytes):
        raise mismatch(wanted, f"{found.size_bytes} bytes with {found.digest}")


def mismatch(wanted: Blob, arrived: str) -> InvalidArgument:
    """The refusal of bytes that are not what was announced."""
    announced = f"{wanted.size_bytes} bytes with {wanted.digest}"
    message = f"{arrived} arrived, {announced} were announced; upload the file again"
    return InvalidArgument([FieldViolation("digest", message)], reason="DIGEST_MISMATCH")
