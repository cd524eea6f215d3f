"""Settings as a flat table of dotted paths, from whatever a log holds, and what differs between such tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

Settings = dict[str, Any]
"""Dotted paths and their values."""


def flatten(config: Any) -> Settings:
    """The settings of nested sections."""
    found: Settings = {}
    for section, values in as_mapping(config).items():
        found |= {f"{section}.{key}": value for key, value in as_mapping(values).items()}
    return found


def differing_paths(given: Sequence[Settings]) -> list[str]:
    """The paths whose values are not the same in all tables, in the order they are met."""
    paths = dict.fromkeys(path for settings in given for path in settings)
    return [path for path in paths if any(settings.get(path) != given[0].get(path) for settings in given)]


def as_mapping(value: Any) -> Mapping[str, Any]:
    """The value where it is a table; an empty one for anything else."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def as_sequence(value: Any) -> Sequence[Any]:
    """The value where it is a list; an empty one for anything else."""
    return cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ()
