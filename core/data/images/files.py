"""Image files that may come from anybody: the formats that are decoded, and opening a picture."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, features

from ...utils.files import disk_error_text, open_regular

FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".gif": "GIF", ".ppm": "PPM", ".pgm": "PPM",
    ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF",
}  # fmt: skip
"""The endings of image files, and the formats that they promise.

Pillow goes by the content: without this list it would hand a picture that is PostScript to Ghostscript, which runs it.
"""
if "avif" in features.modules and features.check("avif"):
    FORMATS[".avif"] = "AVIF"

_DECODED = tuple(dict.fromkeys(FORMATS.values()))


class UnreadableError(ValueError):
    """A file that is no image, a damaged one, or one whose values have no meaning as they are."""


def is_image_name(name: str) -> bool:
    """Whether a file's ending is that of an image."""
    return os.path.splitext(name)[1].lower() in FORMATS


@contextmanager
def opened(path: Path) -> Generator[Image.Image]:
    """The picture of a file, not decoded yet.

    Raises:
        UnreadableError: it is no regular file, or not of one of the formats, or decoding it in this context fails.
    """
    try:
        with open(open_regular(path, links=True), "rb") as file, Image.open(file, formats=_DECODED) as picture:
            yield picture
    except UnreadableError:
        raise
    except Image.UnidentifiedImageError:
        raise UnreadableError("not an image, or damaged") from None
    except OSError as error:
        raise UnreadableError(disk_error_text(error)) from None
    except (ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise UnreadableError(str(error) or type(error).__name__) from None
