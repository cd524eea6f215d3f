"""Modules of packages that only an extra of Torchdeck brings."""

from __future__ import annotations

import importlib
from typing import Any

from core.errors import InputError


def extra_module(name: str, extra: str, purpose: str) -> Any:
    """A module of a package that an extra brings; its types are not known.

    Raises:
        InputError: the package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        mend = f"install Torchdeck with its extra named {extra}: uv run --extra {extra} torchdeck ..."
        raise InputError(f"{purpose} needs {package}", mend) from None
