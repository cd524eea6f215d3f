"""Every kind of image file becomes the pixels that a person sees in it."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import image_folder, write_picture
from PIL import Image, ImageCms, ImageOps
from PIL.ExifTags import Base

from torchdeck.core.config import parse_data
from torchdeck.core.data.dataset import Bytes
from torchdeck.core.data.images.files import UnreadableError, opened
from torchdeck.core.data.images.pixels import decode, pixel_options, to_pixels
from torchdeck.core.data.prepare import prepare
from torchdeck.core.errors import DataError
from torchdeck.core.utils.generators import run_to_end

HIGH, WIDE = 16, 24
DOWN, ACROSS = np.mgrid[0:HIGH, 0:WIDE]
RGB = np.stack([ACROSS * 10, DOWN * 15, 255 - ACROSS * 10 - DOWN], axis=-1).astype(np.uint8)
"""Smooth, so that lossy files keep it; no two corners alike."""
GREY = (ACROSS * 10 + DOWN).astype(np.uint8)
ALPHA = (DOWN * 17).astype(np.uint8)
CLEAR = (ACROSS < 8).astype(np.uint8)
"""Of pictures with a part that is transparent."""
BACKGROUND = 128


def decoded(path: Path, channels: int = 3, **settings: str) -> Bytes:
    """The pixels of a file at its own size, [H, W, C]."""
    options = parse_data("image-folder", [f"data.{key}={value}" for key, value in settings.items()])
    return decode(path, (channels, HIGH, WIDE), pixel_options(options)).transpose(1, 2, 0)


def three(grey: NDArray[np.generic]) -> Bytes:
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)


def over(pixels: NDArray[np.generic], alpha: NDArray[np.generic], background: int = BACKGROUND) -> Bytes:
    share = alpha[..., None] / 255
    return np.rint(pixels * share + background * (1 - share)).astype(np.uint8)


def saved(picture: Image.Image, **options: object) -> Callable[[Path], None]:
    return lambda path: picture.save(path, **options)


def png(depth: int, kind: int, pixels: NDArray[np.generic]) -> Callable[[Path], None]:
    """A PNG of a depth and colour type that Pillow does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    def write(path: Path) -> None:
        rows = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in pixels)
        head = struct.pack(">IIBBBBB", WIDE, HIGH, depth, kind, 0, 0, 0)
        body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)

    return write


def palette(colors: Bytes) -> Image.Image:
    return Image.fromarray(colors).quantize(256)


def lab(colors: Bytes) -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    found = ImageCms.profileToProfile(Image.fromarray(colors), *profiles, outputMode="LAB")
    assert found is not None
    return found


def big_endian() -> Callable[[Path], None]:
    """A TIFF of 16-bit grey in the order of bytes that microscopes and Macs write."""

    def write(path: Path) -> None:
        tags = [(256, 4, WIDE), (257, 4, HIGH), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
                (278, 4, HIGH), (279, 4, 2 * WIDE * HIGH)]  # fmt: skip
        entries = b"".join(
            struct.pack(">HHI", tag, kind, 1)
            + (struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value))
            for tag, kind, value in tags
        )
        pixels = (GREY.astype(">u2") * 257).tobytes()
        head = b"MM" + struct.pack(">HI", 42, 8 + len(pixels))
        path.write_bytes(head + pixels + struct.pack(">H", len(tags)) + entries + struct.pack(">I", 0))

    return write


@dataclass(frozen=True)
class Kind:
    """How a file is written, the pixels that are in it, and how far a lossy one may be from them."""

    write: Callable[[Path], None]
    pixels: Bytes
    ending: str = "png"
    reach: int = 0
    settings: tuple[tuple[str, str], ...] = ()


COLOR, SHADE = Image.fromarray(RGB), Image.fromarray(GREY)
SECOND = ImageOps.invert(COLOR)
SEE_THROUGH = Image.fromarray(np.dstack([RGB, ALPHA]))
SIXTEEN = GREY.astype(np.uint16) * 257
TWELVE = GREY.astype(np.uint16) * 16
KINDS = {
    "RGB, PNG": Kind(saved(COLOR), RGB),
    "RGB, JPEG": Kind(saved(COLOR, quality=98, subsampling=0), RGB, "jpg", 4),
    "RGB, BMP": Kind(saved(COLOR), RGB, "bmp"),
    "RGB, PPM": Kind(saved(COLOR), RGB, "ppm"),
    "RGB, WebP": Kind(saved(COLOR, lossless=True), RGB, "webp"),
    "grey, PNG": Kind(saved(SHADE), three(GREY)),
    "grey, JPEG": Kind(saved(SHADE, quality=98), three(GREY), "jpg", 4),
    "1-bit, PNG": Kind(saved(Image.fromarray(CLEAR == 1)), three(CLEAR * 255)),
    "1-bit, TIFF": Kind(saved(Image.fromarray(CLEAR == 1), compression="group4"), three(CLEAR * 255), "tif"),
    "palette, PNG": Kind(saved(palette(three(GREY))), three(GREY)),
    "palette with a transparent colour, PNG": Kind(
        saved(Image.fromarray(CLEAR * 200).convert("P"), transparency=200), three(np.where(CLEAR, BACKGROUND, 0))
    ),
    "RGBA, PNG": Kind(saved(SEE_THROUGH), over(RGB, ALPHA), reach=1),
    "RGBA over white, PNG": Kind(
        saved(SEE_THROUGH), over(RGB, ALPHA, 255), reach=1, settings=(("background", "white"),)
    ),
    "RGBA, WebP": Kind(saved(SEE_THROUGH, lossless=True, exact=True), over(RGB, ALPHA), "webp", 1),
    "grey with alpha, PNG": Kind(
        saved(Image.merge("LA", [SHADE, Image.fromarray(ALPHA)])), over(three(GREY), ALPHA), reach=1
    ),
    "RGB with a transparent colour, PNG": Kind(
        saved(Image.fromarray(three(CLEAR * 200)), transparency=(200, 200, 200)), three(np.where(CLEAR, BACKGROUND, 0))
    ),
    "16-bit grey, PNG": Kind(saved(Image.fromarray(SIXTEEN)), three(GREY)),
    "16-bit grey, TIFF": Kind(saved(Image.fromarray(SIXTEEN)), three(GREY), "tif"),
    "16-bit grey, big-endian TIFF": Kind(big_endian(), three(GREY), "tif"),
    "16-bit grey, PGM": Kind(saved(Image.fromarray(SIXTEEN.astype(np.int32))), three(GREY), "pgm"),
    "16-bit RGB, PNG": Kind(png(16, 2, RGB.astype(np.uint16) * 257), RGB),
    "12 bits in 16, PNG": Kind(
        saved(Image.fromarray(TWELVE)), three(GREY), reach=1, settings=(("value_range", "0:4080"),)
    ),
    "32-bit integers, TIFF": Kind(saved(Image.fromarray(SIXTEEN.astype(np.int32))), three(GREY), "tif"),
    "floats, TIFF": Kind(
        saved(Image.fromarray(GREY.astype(np.float32) / 255 - 0.5)), three(GREY), "tif",
        settings=(("value_range", "-0.5:0.5"),),
    ),
    "CMYK, JPEG": Kind(saved(COLOR.convert("CMYK"), quality=98), RGB, "jpg", 8),
    "CMYK, TIFF": Kind(saved(COLOR.convert("CMYK")), RGB, "tif", 1),
    "YCbCr, TIFF": Kind(saved(COLOR.convert("YCbCr")), RGB, "tif", 3),
    "LAB, TIFF": Kind(saved(lab(RGB // 4 + 96)), RGB // 4 + 96, "tif", 4),
    "animated, GIF": Kind(saved(palette(three(GREY)), save_all=True, append_images=[SECOND]), three(GREY), "gif"),
    "animated, WebP": Kind(saved(COLOR, save_all=True, append_images=[SECOND], lossless=True), RGB, "webp"),
    "animated, PNG": Kind(saved(COLOR, save_all=True, append_images=[SECOND]), RGB),
    "two pages, TIFF": Kind(saved(COLOR, save_all=True, append_images=[SECOND]), RGB, "tif"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_file_becomes_the_pixels_that_are_in_it(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    path = tmp_path / f"x.{kind.ending}"
    kind.write(path)
    found = decoded(path, **dict(kind.settings)).astype(int)
    assert np.abs(found - kind.pixels).max() <= kind.reach
    grey = decoded(path, 1, **dict(kind.settings))[..., 0].astype(int)
    wanted = np.asarray(Image.fromarray(kind.pixels).convert("L")).astype(int)
    assert np.abs(grey - wanted).max() <= kind.reach + 1


TURNS: dict[int, Callable[[Image.Image], Image.Image]] = {
    1: lambda picture: picture,
    2: ImageOps.mirror,
    3: lambda picture: picture.rotate(180),
    4: ImageOps.flip,
    5: lambda picture: picture.transpose(Image.Transpose.TRANSPOSE),
    6: lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    7: lambda picture: picture.transpose(Image.Transpose.TRANSVERSE),
    8: lambda picture: picture.transpose(Image.Transpose.ROTATE_270),
}
"""How a camera that is held so stores the picture."""


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", TURNS)
def test_a_picture_stands_upright_however_the_camera_was_held(tmp_path: Path, orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    path = tmp_path / f"x.{ending}"
    lossless = {"lossless": True} if ending == "webp" else {"quality": 98, "subsampling": 0} if ending == "jpg" else {}
    TURNS[orientation](COLOR).save(path, exif=exif, **lossless)
    assert np.abs(decoded(path).astype(int) - RGB).max() <= (4 if ending == "jpg" else 0)


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (GREY.astype(np.float32), "float values from 0 to 245"),
        (SIXTEEN.astype(np.int32) * 2, "32-bit values from 0 to 125930"),
        (SIXTEEN.astype(np.int32) - 5, "32-bit values from -5 to"),
    ],
)
def test_values_without_a_known_range_are_refused_with_the_setting_that_gives_it(
    tmp_path: Path, pixels: NDArray[np.generic], told: str
) -> None:
    Image.fromarray(pixels).save(tmp_path / "x.tif")
    with pytest.raises(UnreadableError, match=told) as caught:
        decoded(tmp_path / "x.tif")
    assert "data.value_range=LOW:HIGH" in str(caught.value)


def test_such_a_file_stops_a_run_before_it_starts(tmp_path: Path) -> None:
    for name in ("ants", "bees"):
        for number in range(3):
            write_picture(tmp_path / "photos" / name / f"{number}.png")
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "photos" / "ants" / "x.tif")
    with pytest.raises(DataError, match=r"x\.tif \(float values .*data.value_range"):
        run_to_end(prepare(image_folder(tmp_path / "photos"), 1, streamed=False))
    found = run_to_end(prepare(image_folder(tmp_path / "photos", value_range="0:255"), 1, streamed=False))
    assert len(found.train) + len(found.test) == 7


def shown(size: str, resize: str, *settings: str) -> Bytes:
    """A picture of 30x20 pixels, its left third black, its middle third grey and the rest white, resized."""
    pixels = np.repeat(np.repeat(np.array([[0, 100, 255]], np.uint8), 20, 0), 10, 1)
    data = parse_data("image-folder", [f"data.size={size}", f"data.resize={resize}", *settings])
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    buffer.seek(0)
    with Image.open(buffer) as picture:
        return to_pixels(picture, (1, *data.sides), pixel_options(data))[0]


def test_squash_shows_all_of_an_image_at_any_size() -> None:
    found = shown("12x36", "squash")
    assert found.shape == (12, 36)
    assert found[6, [2, 18, 33]].tolist() == [0, 100, 255]


def test_shorter_side_keeps_the_shape_and_cuts_out_the_middle() -> None:
    found = shown("10", "shorter-side")
    assert found.shape == (10, 10)
    # Half the size: the image is 15 wide, and 2.5 are cut off at each side.
    assert found[5, [0, 1, 4, 5, 8, 9]].tolist() == [0, 0, 100, 100, 255, 255]
    assert shown("20x30", "shorter-side").shape == (20, 30)


def test_letterbox_keeps_the_shape_and_shows_all_over_the_background() -> None:
    found = shown("30", "letterbox", "data.background=#333333")
    assert found.shape == (30, 30)
    assert (found[:5] == 0x33).all()
    assert (found[25:] == 0x33).all()
    assert found[15, [3, 15, 26]].tolist() == [0, 100, 255]


def test_sizes_of_two_sides_train(tmp_path: Path) -> None:
    for name in ("ants", "bees"):
        for number in range(5):
            write_picture(tmp_path / "photos" / name / f"{number}.png")
    found = run_to_end(prepare(image_folder(tmp_path / "photos", size="8x12", resize="letterbox"), 1, streamed=False))
    assert found.train.images.shape[1:] == (3, 8, 12)
    assert (found.spec.height, found.spec.width) == (8, 12)


def test_a_large_jpeg_is_scaled_while_it_is_decoded_and_looks_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    coarse.resize((1600, 1200), Image.Resampling.BICUBIC).save(tmp_path / "x.jpg", quality=95)
    with opened(tmp_path / "x.jpg") as picture:
        whole = np.asarray(picture.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    data = parse_data("image-folder", ["data.size=64"])
    found = decode(tmp_path / "x.jpg", (3, 64, 64), pixel_options(data))
    assert np.abs(found.astype(int) - whole).mean() < 1
    assert not np.array_equal(found, whole)
