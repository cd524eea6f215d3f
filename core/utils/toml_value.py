"""Parse one value of TOML, as in `optimizer.lr=0.01` on the command line."""

from __future__ import annotations

import json
import tomllib
from typing import Any


def toml_value(text: str) -> Any:
    """The value of a text in TOML; the text itself where it is none, too deep, or a number of too many digits."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
        json.dumps(value, default=str)  # refuses numbers that cannot be written either
    except (ValueError, RecursionError):
        return text
    return value
