"""Damage that tests do to files, drawn from a seed: to their bytes, and to the values of their JSON."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

Lines = list[bytes]


def _flip(lines: Lines, dice: random.Random) -> bytes:
    content = bytearray(b"".join(lines))
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return bytes(content)


def _cut(lines: Lines, dice: random.Random) -> bytes:
    content = b"".join(lines)
    return content[: dice.randrange(len(content))]


def _duplicate(lines: Lines, dice: random.Random) -> bytes:
    place = dice.randrange(len(lines))
    return b"".join([*lines[:place], lines[place], *lines[place:]])


def _swap(lines: Lines, dice: random.Random) -> bytes:
    one, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def _insert(lines: Lines, dice: random.Random) -> bytes:
    content = b"".join(lines)
    place = dice.randrange(len(content))
    return content[:place] + dice.randbytes(dice.randint(1, 40)) + content[place:]


def _fill_with_nul(lines: Lines, dice: random.Random) -> bytes:
    content = bytearray(b"".join(lines))
    place, length = dice.randrange(len(content)), dice.randint(1, 4096)
    content[place : place + length] = bytes(len(content[place : place + length]))
    return bytes(content)


def _splice(lines: Lines, dice: random.Random) -> bytes:
    one, other = dice.choice(lines), dice.choice(lines)
    made = one[: dice.randrange(len(one))] + other[dice.randrange(len(other)) :]
    place = dice.randrange(len(lines))
    return b"".join([*lines[:place], made, *lines[place:]])


def _lengthen(lines: Lines, dice: random.Random) -> bytes:
    place = dice.randrange(len(lines))
    sign = dice.choice([b"x", b"[", b'"', b"9", b"\x00", b"\xff"])
    return b"".join([*lines[:place], sign * dice.randint(1, 100_000), *lines[place:]])


def _forge(lines: Lines, dice: random.Random) -> bytes:
    """Change a figure, or the way the checksum is written."""
    place = dice.randrange(len(lines))
    body, key, crc = lines[place].rpartition(b',"crc":"')
    changes: list[bytes] = [
        body.replace(b"1", b"2", 1) + key + crc,
        body + key + crc.upper(),
        body + key + b" " + crc,
        body + key + b"00000000" + crc[8:],
        body + key + lines[place - 1].rpartition(key)[2],
        body + b" " + key + crc,
    ]
    lines[place] = dice.choice(changes)
    return b"".join(lines)


MUTATIONS: tuple[Callable[[Lines, random.Random], bytes], ...] = (
    _flip, _cut, _duplicate, _swap, _insert, _fill_with_nul, _splice, _lengthen, _forge,
)  # fmt: skip


def damaged(lines: Lines, seed: int) -> bytes:
    """The content of a log after one kind of damage."""
    dice = random.Random(seed)
    return MUTATIONS[seed % len(MUTATIONS)](list(lines), dice)


def nested(depth: int) -> Any:
    """Lists in lists."""
    made: Any = []
    for _ in range(depth):
        made = [made]
    return made


ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 10**400, -(10**400), 1e308, -1e308, 1.5, 2**63, "", "nan", "x", "x" * 10_000,
    "\x1b[2J", "\ud800", "[/bold]", "../../x", [], {}, [[]], [1, "x", None], {"x": 1}, {"": None}, [{}], [[1, 2], [3]],
    nested(40), nested(300), "9" * 400, "completed", "running", "1e400",
)  # fmt: skip


def mistyped(content: Any, seed: int) -> Any:
    """JSON content with one to three of its values replaced, left out or put under another name."""
    dice = random.Random(seed)
    made = copy.deepcopy(content)
    for _ in range(dice.randint(1, 3)):
        if dice.random() < 0.03:
            return copy.deepcopy(dice.choice(ODD))
        _change(made, dice)
    return made


def _change(content: Any, dice: random.Random) -> None:
    """Walk down to some place and change it."""
    here = content
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here))) if isinstance(here, list) else []
        if not keys:
            return
        key = dice.choice(keys)
        if isinstance(here[key], dict | list) and here[key] and dice.random() < 0.7:
            here = here[key]
            continue
        if dice.random() < 0.15:
            del here[key]
        else:
            here[key] = copy.deepcopy(dice.choice(ODD))
        return
