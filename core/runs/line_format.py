"""The line format of logs: one JSON object per line, whose last key is a CRC-32 of the rest."""

from __future__ import annotations

import json
import zlib
from typing import Any

from ..events import RunEvent, from_json, to_json

MAX_LINE_BYTES = 16 * 2**20


_CRC_KEY = b',"crc":"'


def encode_line(event: RunEvent) -> bytes:
    """One event as a line: JSON whose last key is the CRC-32 of the bytes before it."""
    return seal(to_json(event)) + b"\n"


def seal(content: dict[str, Any]) -> bytes:
    """A JSON object without newline, whose last key is the CRC-32 of the bytes before it."""
    body = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")[:-1]
    return body + _CRC_KEY + b'%08x"}' % zlib.crc32(body)


def unseal(line: bytes) -> dict[str, Any]:
    """The object in a sealed line; raises ValueError or RecursionError where the line is damaged."""
    body, key, tail = line.rpartition(_CRC_KEY)
    if not key or tail != b'%08x"}' % zlib.crc32(body):
        raise ValueError("damaged line")
    return json.loads(body + b"}")


def decode_line(line: bytes) -> RunEvent | None:
    """The event in a line without its newline; None for a kind that this version does not know.

    Raises:
        ValueError: the line is incomplete, damaged or not an event.
    """
    try:
        return from_json(unseal(line))
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"not an event: {error}") from None
