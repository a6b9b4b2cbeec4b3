"""Looking into encoded images and decoding them, with a reason for each that is refused.

The size of an image is its size after its EXIF orientation, and decoding applies that orientation: this is the frame of
all annotations. Colour follows what training reads (OpenCV's `IMREAD_COLOR`): alpha is dropped, grey is repeated, of 16
bits the upper 8 are kept.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

DEFAULT_MAX_PIXELS = 150_000_000

MEDIA_TYPES = {
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "GIF": "image/gif",
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
}
"""The formats that are read."""

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"}
)
"""The endings, in lower case, of files that are taken for images."""

_DECODER_ERRORS = (OSError, SyntaxError, ValueError, RuntimeError, EOFError, OverflowError, struct.error, zlib.error)
"""What Pillow's decoders raise on damaged data."""

_open = Image.open
"""Taken before another library can put something in its place, as Ultralytics does."""

_CONVERT = "save it as JPEG or PNG"

_OTHER_KINDS = (
    ("HEIC", 4, tuple(b"ftyp" + brand for brand in (b"hei", b"hev", b"mif1", b"msf1"))),
    ("JPEG 2000", 0, (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51")),
    ("JPEG XL", 0, (b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")),
    ("Photoshop", 0, (b"8BPS",)),
    ("OpenEXR", 0, (b"\x76\x2f\x31\x01",)),
    ("Radiance HDR", 0, (b"#?RADIANCE", b"#?RGBE")),
    ("Netpbm", 0, (b"P1\n", b"P2\n", b"P3\n", b"P4\n", b"P5\n", b"P6\n", b"P7\n")),
    ("icon", 0, (b"\x00\x00\x01\x00", b"\x00\x00\x02\x00")),
    ("DICOM", 128, (b"DICM",)),
)
"""Kinds of images that are not read, with where their files say so, and how."""


class ImageError(ValueError):
    """An image that is refused.

    `code` is one of EMPTY, NOT_AN_IMAGE, UNSUPPORTED_FORMAT, TRUNCATED, ANIMATED, TOO_MANY_PIXELS, UNSUPPORTED_MODE;
    `hint` says what to do about it.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What is known of an image without its pixels.

    `width` and `height` count after the EXIF `orientation` (1 to 8, 1 for none) is applied. `frames` exceeds 1 only for
    a JPEG with further pictures behind the main one, which are ignored. `mode` is Pillow's name of the pixel format.
    """

    width: int
    height: int
    format: str
    media_type: str
    orientation: int
    frames: int
    mode: str


def probe(source: bytes | Path | BinaryIO, *, max_pixels: int = DEFAULT_MAX_PIXELS, verify: bool = True) -> ImageInfo:
    """Describe an image.

    With `verify` all of its data is read, which finds a truncated file; without, only its head.

    Raises:
        ImageError: with the reason.
        OSError: the file cannot be read.
    """
    with _opened(source, max_pixels) as image:
        info = _describe(image)
        if verify:
            # A JPEG decoder reads everything but computes an eighth of the pixels this way.
            image.draft("RGB", (1, 1))
            image.load()
        return info


def decode(source: bytes | Path | BinaryIO, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """The oriented pixels of an image: uint8 [height, width, 3], RGB.

    Raises:
        ImageError: with the reason.
        OSError: the file cannot be read.
    """
    with _opened(source, max_pixels) as image:
        ImageOps.exif_transpose(image, in_place=True)
        return np.asarray(_to_rgb(image))


@contextmanager
def _opened(source: bytes | Path | BinaryIO, max_pixels: int) -> Iterator[Image.Image]:
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with _open(stream, formats=list(MEDIA_TYPES)) as image:
            _refuse(image, max_pixels)
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise _unidentified(_head(stream)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
        raise ImageError("TOO_MANY_PIXELS", str(problem), "make it smaller") from problem
    except _DECODER_ERRORS as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise  # the file system's, not the decoder's
        raise ImageError("TRUNCATED", f"its data is cut off or damaged: {problem}", "get the file again") from problem


def _refuse(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        message = f"it has {image.width} x {image.height} pixels, more than {max_pixels:,}"
        raise ImageError("TOO_MANY_PIXELS", message, "make it smaller, or cut it into tiles")
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise ImageError("ANIMATED", f"this {image.format} has several frames", "save the frames as single images")
    if image.mode in ("I", "F"):
        message = f"its pixels are 32-bit numbers (mode {image.mode})"
        raise ImageError("UNSUPPORTED_MODE", message, "save it with 8 or 16 bits a channel")


def _describe(image: Image.Image) -> ImageInfo:
    container = "JPEG" if image.format == "MPO" else str(image.format)
    orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
    width, height = image.size
    # Pillow already gives the turned size of a TIFF, and of nothing else.
    if orientation in (5, 6, 7, 8) and container != "TIFF":
        width, height = height, width
    frames = getattr(image, "n_frames", 1)
    return ImageInfo(width, height, container, MEDIA_TYPES[container], orientation, frames, image.mode)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        upper = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return Image.fromarray(upper).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")
    # A conversion to what it is already would be a copy.
    return image if image.mode == "RGB" else image.convert("RGB")


def _head(stream: Path | BinaryIO) -> bytes:
    if isinstance(stream, Path):
        with stream.open("rb") as file:
            return file.read(1024)
    stream.seek(0)
    return stream.read(1024)


def _unidentified(head: bytes) -> ImageError:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return ImageError("EMPTY", "the file has no bytes", "get the file again")
    if start.startswith((b"<svg", b"<?xml")) and b"<svg" in start:
        return ImageError("UNSUPPORTED_FORMAT", "SVG is a drawing without pixels", _CONVERT)
    if head.startswith(b"%PDF"):
        return ImageError("UNSUPPORTED_FORMAT", "PDF is a document", "save its pages as images")
    kind = next((kind for kind, at, marks in _OTHER_KINDS if head[at:].startswith(marks)), None)
    if kind is not None:
        return ImageError("UNSUPPORTED_FORMAT", f"{kind} images are not read", _CONVERT)
    known = ", ".join(MEDIA_TYPES)
    return ImageError("NOT_AN_IMAGE", f"it is none of {known}, or its head is damaged", _CONVERT)
