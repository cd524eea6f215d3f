"""Modules of packages that only an extra of Torchdeck brings."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from ..errors import InputError


def extra_module(name: str, extra: str, purpose: str) -> Any:
    """A module of a package that an extra brings; its types are not known.

    Raises:
        InputError: the package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise _missing(name, extra, purpose) from None


def check_extra(name: str, extra: str, purpose: str) -> None:
    """Make sure that a package which an extra brings is there, without loading it.

    Raises:
        InputError: it is not installed.
    """
    if importlib.util.find_spec(name) is None:
        raise _missing(name, extra, purpose)


def _missing(name: str, extra: str, purpose: str) -> InputError:
    hint = f"install Torchdeck with its extra named {extra}: uv run --extra {extra} torchdeck ..."
    return InputError(f"{purpose} needs {name.partition('.')[0]}", hint)
