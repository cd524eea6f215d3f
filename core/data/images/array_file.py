"""Images written into an .npy file one by one, by several threads."""

from __future__ import annotations

import io
import math
import os
import sys
from pathlib import Path

import numpy as np

from ..dataset import Bytes


class ArrayFile:
    """An .npy file of images uint8 [N, C, H, W], filled place by place from any thread.

    Written, not mapped: a full disk is an OSError here, where it would end the process by SIGBUS.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        """Make the file, with room for all images where the system can reserve it.

        Raises:
            OSError: the disk would not take it.
        """
        self.shape = shape
        header = io.BytesIO()
        about = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, about)
        self._start, self._each = header.tell(), math.prod(shape[1:])
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            size = self._start + shape[0] * self._each
            os.posix_fallocate(self._file, 0, size) if sys.platform == "linux" else os.ftruncate(self._file, size)
            self._write(header.getvalue(), 0)
        except BaseException:
            os.close(self._file)
            raise

    def __setitem__(self, place: int, image: Bytes) -> None:
        assert image.shape == self.shape[1:]
        self._write(np.ascontiguousarray(image).tobytes(), self._start + place * self._each)

    def _write(self, content: bytes, offset: int) -> None:
        rest = memoryview(content)
        while rest:
            written = os.pwrite(self._file, rest, offset)
            rest, offset = rest[written:], offset + written

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.fsync(self._file)
        finally:
            os.close(self._file)
