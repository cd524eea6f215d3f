"""Optional dependencies: import modules of packages that only an extra of Torchdeck installs."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from ..errors import InputError


def extra_module(name: str, extra: str, purpose: str) -> Any:
    """Import a module of a package that an extra installs; `purpose` begins the error message where it is missing.

    Raises:
        InputError: the package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise _missing(name, extra, purpose) from None


def check_extra(name: str, extra: str, purpose: str) -> None:
    """Check that the package of an extra is installed, without importing it.

    Raises:
        InputError: the package is not installed.
    """
    if importlib.util.find_spec(name) is None:
        raise _missing(name, extra, purpose)


def _missing(name: str, extra: str, purpose: str) -> InputError:
    hint = f"install torchdeck[{extra}], or use: uv run --extra {extra} torchdeck ..."
    return InputError(f"{purpose} needs {name.partition('.')[0]}", hint)
