"""Flatten nested settings to dotted paths, and find the paths in which several runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

Settings = dict[str, Any]
"""Values by dotted path, such as `optimizer.lr`."""


def flatten(config: Any) -> Settings:
    """Nested sections as one flat dict; whatever is not a section of settings is left out."""
    found: Settings = {}
    for section, values in as_mapping(config).items():
        found |= {f"{section}.{key}": value for key, value in as_mapping(values).items()}
    return found


def differing_paths(given: Sequence[Settings]) -> list[str]:
    """The paths whose values are not the same in all of the given settings, in order of first appearance."""
    paths = dict.fromkeys(path for settings in given for path in settings)
    return [path for path in paths if any(settings.get(path) != given[0].get(path) for settings in given)]


def as_mapping(value: Any) -> Mapping[str, Any]:
    """The value itself where it is a mapping, else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def as_sequence(value: Any) -> Sequence[Any]:
    """The value itself where it is a list or tuple, else an empty one."""
    return cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ()
