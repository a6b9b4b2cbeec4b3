"""Images as callers have them: files, bytes, pixels in memory, assets, folders."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from bloomery._fields import AssetFields
from bloomery._results import Source
from bloomery.annotation.v1 import Asset
from bloomery.errors import InvalidArgument, Violation
from bloomery.inference import v1 as inference

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"}
)
"""Of the files that are images; the server has the same list."""
_MOST_BYTES = 63 << 20
"""What a call carries beside everything else; the server may take less, and then says so itself."""
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


class Pixels(Protocol):
    """An array in memory, such as numpy's."""

    @property
    def __array_interface__(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Blob:
    """An image among the blobs of the model's project: `sha256:...` of its bytes, or a URL that the server signed."""

    uri: str


ImageLike: TypeAlias = "str | Path | bytes | Asset | AssetFields | Blob | Pixels | Image"
"""A file, its bytes, an asset, a blob, a Pillow image, or pixels: uint8 [height, width] or [height, width, 3 or 4]."""


def is_image(path: Path) -> bool:
    """Whether a name is that of an image."""
    return path.suffix.lower() in SUFFIXES


def files_below(folder: Path) -> Iterator[Path]:
    """The files in a folder and those below it, by name; without hidden ones."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path


def encoded(image: object) -> bytes:
    """The bytes of an image file for anything but an asset.

    Raises:
        InvalidArgument: it cannot be read, or is nothing that could be an image.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        found = bytes(image)
    elif isinstance(image, str | Path):
        found = _read(Path(image))
    else:
        found = _png(image)
    name = image if isinstance(image, str | Path) else "the image"
    if not found:
        raise refused(f"{name} has no bytes")
    _check_size(name, len(found))
    return found


def content_of(image: object) -> "tuple[bytes, inference.Pixels | None, Source]":
    """An image as it goes into a stream, encoded or as pixels, and what to draw on later.

    Raises:
        InvalidArgument: it cannot be read, is no image, or an asset.
    """
    if isinstance(image, bytes | bytearray | memoryview | str | Path):
        content = encoded(image)
        return content, None, Path(image) if isinstance(image, str | Path) else content
    picture = _picture(image)
    if picture.mode == "I;16":
        content = encoded(picture)
        return content, None, content
    shown = picture if picture.mode == "RGB" else picture.convert("RGB")
    pixels = inference.Pixels(width=shown.width, height=shown.height, rgb=shown.tobytes())
    _check_size("the image", len(pixels.rgb))
    return b"", pixels, shown


def refused(message: str) -> InvalidArgument:
    """The error for one image that cannot be sent."""
    error = InvalidArgument(message)
    error.violations = (Violation("image", message),)
    return error


def _check_size(name: object, size: int) -> None:
    if size > _MOST_BYTES:
        error = refused(f"{name} has {size} bytes, more than a call can carry; send a smaller image")
        error.reason = "IMAGE_TOO_LARGE"
        raise error


def _read(path: Path) -> bytes:
    try:
        _check_size(path, path.stat().st_size)
        return path.read_bytes()
    except OSError as error:
        raise refused(f"{path} cannot be read: {error.strerror}") from None


def _png(image: object) -> bytes:
    image = _picture(image)
    # As the pixels are: the orientation of a file that they came from says nothing about them.
    pixels = image.copy() if image.mode in _PNG_MODES else image.convert("RGB")
    pixels.info = {}
    out = BytesIO()
    pixels.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _picture(image: object) -> "Image":
    from PIL import Image

    return image if isinstance(image, Image.Image) else _from_array(image)


def _from_array(array: object) -> "Image":
    from PIL import Image

    takes = "an image is a path, its bytes, an asset, a Pillow image, or RGB pixels as uint8 [height, width, 3]"
    interface = getattr(array, "__array_interface__", None)
    if not isinstance(interface, Mapping):
        raise refused(f"{takes}; not {type(array).__name__}")
    shape, kind = tuple(interface["shape"]), interface["typestr"]
    if kind != "|u1" or len(shape) not in (2, 3) or 0 in shape or shape[2:] not in ((), (3,), (4,)):
        raise refused(f"{takes}; not an array {list(shape)} of {kind}")
    return Image.fromarray(cast("Any", array))
