"""Image files that may come from anybody: the formats that are decoded, and opening a picture."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from PIL import Image, features

from ..errors import DataError
from ..utils.files import in_words, open_regular

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


def is_image_file(path: Path) -> bool:
    """Whether a path has the ending of an image and is a regular file or a link, which may be broken."""
    return path.suffix.lower() in FORMATS and (path.is_symlink() or path.is_file())


def open_image(path: Path) -> Image.Image:
    """The picture of a file, decoded.

    Raises:
        DataError: it is no regular file, or not of one of the formats, or cannot be decoded.
    """
    hint = f"replace or delete it; images are {', '.join(_DECODED)} files"
    try:
        with open(open_regular(path, links=True), "rb") as file, Image.open(file, formats=_DECODED) as picture:
            picture.load()
            return picture
    except Image.UnidentifiedImageError:
        raise DataError(f"{path} is not an image, or damaged", hint) from None
    except OSError as error:
        raise DataError(f"{path} cannot be decoded ({in_words(error)})", hint) from None
    except (ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be decoded ({error})", hint) from None
