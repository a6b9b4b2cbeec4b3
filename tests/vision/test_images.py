import contextlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bloomery_vision.images import ImageError, decode, probe

MakeImage = Callable[..., bytes]


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def corner_marked(width: int = 40, height: int = 20) -> Image.Image:
    """Return an image with a red block in its top-left corner."""
    image = Image.new("RGB", (width, height), "white")
    image.paste("red", (0, 0, 10, 10))
    return image


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def png_head(width: int, height: int) -> bytes:
    """Return a PNG that promises many pixels and holds none."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"])
def test_each_format_is_described_and_decoded(kind: str) -> None:
    data = encode(corner_marked(), kind)
    info = probe(data)
    assert (info.width, info.height, info.format, info.media_type) == (40, 20, kind, f"image/{kind.lower()}")
    assert (info.orientation, info.frames) == (1, 1)
    pixels = decode(data)
    assert pixels.shape == (20, 40, 3)
    assert pixels.dtype == np.uint8
    assert pixels[4, 4, 0] > 200
    assert pixels[4, 4, 1] < 60


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "row", "column"),
    [(1, 2, 2), (2, 2, -3), (3, -3, -3), (4, -3, 2), (5, 2, 2), (6, 2, -3), (7, -3, -3), (8, -3, 2)],
)
def test_exif_orientation_is_applied_once(kind: str, orientation: int, row: int, column: int) -> None:
    data = encode(corner_marked(), kind, exif=exif(orientation))
    info, pixels = probe(data), decode(data)
    assert info.orientation == orientation
    assert (info.height, info.width) == pixels.shape[:2] == ((40, 20) if orientation > 4 else (20, 40))
    assert pixels[row, column, 1] < 60


def test_colours_equal_those_that_training_reads(rng: np.random.Generator) -> None:
    grey16 = rng.integers(0, 1 << 16, (20, 30), dtype=np.uint16)
    colour = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    alpha = Image.fromarray(rng.integers(0, 256, (20, 30, 4), dtype=np.uint8))
    samples = {
        "16 bits": encode(Image.fromarray(grey16), "PNG"),
        "grey": encode(colour.convert("L"), "PNG"),
        "palette": encode(colour.quantize(16), "PNG"),
        "bilevel": encode(colour.convert("1"), "PNG"),
        "alpha": encode(alpha, "PNG"),
        "grey JPEG": encode(colour.convert("L"), "JPEG"),
        "JPEG": encode(colour, "JPEG"),
    }
    for name, data in samples.items():
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert read is not None
        assert np.array_equal(decode(data), read[..., ::-1]), name


def test_16_bit_colour_keeps_its_upper_8_bits(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 1 << 16, (20, 30, 3), dtype=np.uint16)
    data = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    assert np.abs(decode(data).astype(int) - (pixels >> 8)).max() <= 1


def test_cmyk_is_converted() -> None:
    data = encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    assert probe(data).mode == "CMYK"
    red, green, blue = decode(data)[4, 4]
    assert red > 240
    assert max(green, blue) < 15


def test_palette_with_transparency_is_decoded() -> None:
    image = corner_marked().quantize(4)
    assert decode(encode(image, "PNG", transparency=bytes([0, 255, 255, 255]))).shape == (20, 40, 3)


def test_a_phones_jpeg_with_a_second_picture_is_a_jpeg() -> None:
    data = encode(corner_marked(), "MPO", save_all=True, append_images=[corner_marked(10, 10)])
    info = probe(data)
    assert (info.format, info.media_type, info.frames, info.width) == ("JPEG", "image/jpeg", 2, 40)
    assert decode(data).shape == (20, 40, 3)


def gif_with_frames() -> bytes:
    frames = [Image.new("L", (4, 4), shade) for shade in range(0, 250, 5)]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>'


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "EMPTY"),
        (b"hello world, this is no picture", "NOT_AN_IMAGE"),
        (SVG, "UNSUPPORTED_FORMAT"),
        (b"  <svg></svg>", "UNSUPPORTED_FORMAT"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(100), "UNSUPPORTED_FORMAT"),
        (b"\x00\x00\x00\x18ftypmif1" + bytes(100), "UNSUPPORTED_FORMAT"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(100), "UNSUPPORTED_FORMAT"),
        (b"\xff\x0a" + bytes(100), "UNSUPPORTED_FORMAT"),
        (b"8BPS" + bytes(100), "UNSUPPORTED_FORMAT"),
        (b"P6\n2 2\n255\n" + bytes(12), "UNSUPPORTED_FORMAT"),
        (bytes(128) + b"DICM" + bytes(100), "UNSUPPORTED_FORMAT"),
        (b"%PDF-1.7 ...", "UNSUPPORTED_FORMAT"),
        (gif_with_frames(), "ANIMATED"),
        (png_head(30_000, 30_000), "TOO_MANY_PIXELS"),
        (png_head(13_000, 13_000), "TOO_MANY_PIXELS"),
        (png_head(1 << 30, 1 << 30), "TOO_MANY_PIXELS"),
        (encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "UNSUPPORTED_MODE"),
    ],
    ids=[
        "empty",
        "text",
        "svg",
        "svg without prolog",
        "heic",
        "mif1",
        "jpeg 2000",
        "jpeg xl",
        "psd",
        "ppm",
        "dicom",
        "pdf",
        "gif",
        "900 M",
        "169 M",
        "2^60",
        "float",
    ],
)
def test_what_is_no_usable_image_is_refused_with_a_reason(data: bytes, code: str) -> None:
    for read in (probe, decode):
        with pytest.raises(ImageError) as caught:
            read(data)
        assert caught.value.code == code
        assert caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_truncated_image_is_refused(kind: str, rng: np.random.Generator) -> None:
    whole = encode(Image.fromarray(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)), kind)
    cut = whole[: len(whole) * 2 // 3]
    for read in (probe, decode):
        with pytest.raises(ImageError) as caught:
            read(cut)
        assert caught.value.code in ("TRUNCATED", "NOT_AN_IMAGE")


def test_the_head_alone_suffices_without_verification(rng: np.random.Generator) -> None:
    whole = encode(Image.fromarray(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)), "JPEG")
    assert probe(whole[: len(whole) // 2], verify=False).width == 200


def test_the_limit_of_pixels_is_the_callers() -> None:
    data = encode(corner_marked(), "PNG")
    assert probe(data, max_pixels=800).width == 40
    with pytest.raises(ImageError, match="799"):
        probe(data, max_pixels=799)


def test_paths_and_streams_are_read_too(tmp_path: Path, make_image: MakeImage) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(make_image(30, 20))
    assert probe(path) == probe(io.BytesIO(path.read_bytes())) == probe(path.read_bytes())
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(ImageError, match="no bytes"):
        decode(tmp_path / "b.png")
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "c.png")


@pytest.mark.filterwarnings("ignore:::PIL")  # Pillow remarks on what it reads around
@given(st.data())
def test_damaged_bytes_give_pixels_or_an_image_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF"]))
    damaged = bytearray(encode(corner_marked(), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        assert decode(bytes(damaged)).ndim == 3
