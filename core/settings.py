"""A list of all settings with their defaults, bounds and help, for forms, tables and completion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from .config import SECTIONS, TrainingOptions
from .errors import InputError, nearest


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting for forms, tables and help; `of` is the choice (such as a model) that it belongs to, "" for none."""

    path: str
    of: str
    default: Any
    bounds: str
    help: str
    choices: tuple[Any, ...] = ()
    """All valid values, where there are few."""


def settings_of(section: str = "") -> list[Setting]:
    """All settings of a section, or of all sections for "".

    Raises:
        InputError: no section has that name.
    """
    if section and section not in SECTIONS:
        raise InputError(f"no section named '{section}'", nearest(section, SECTIONS))
    found: list[Setting] = []
    for name in [section] if section else SECTIONS:
        table = SECTIONS[name]
        for choice in table.names() if table else [""]:
            found += section_settings(name, choice)
    return found


@cache
def section_settings(section: str, choice: str = "") -> tuple[Setting, ...]:
    """The settings of one choice of a section, without `name`."""
    table = SECTIONS[section]
    options = table.options(choice) if table else TrainingOptions
    properties = options.model_json_schema()["properties"]
    return tuple(_setting(section, choice, key, item) for key, item in properties.items() if key != "name")


def _setting(section: str, choice: str, key: str, schema: dict[str, Any]) -> Setting:
    return Setting(
        path=f"{section}.{key}",
        of=choice,
        default=schema.get("default"),
        bounds=_bounds(schema),
        help=schema.get("description", ""),
        choices=_choices(schema),
    )


def _choices(schema: dict[str, Any]) -> tuple[Any, ...]:
    """The valid values of a setting from its JSON schema, where there are few; else empty."""
    if "anyOf" in schema:
        parts = [_choices(item) for item in schema["anyOf"]]
        return tuple(value for part in parts for value in part) if all(parts) else ()
    if "const" in schema:
        return (schema["const"],)
    if schema.get("type") == "boolean":
        return (True, False)
    return tuple(schema.get("enum", ()))


def _bounds(schema: dict[str, Any]) -> str:
    """The bounds of a setting from its JSON schema, as a short text: "1 to 100,000", "above 0"; else its type."""
    if "anyOf" in schema:
        return " or ".join(_bounds(item) for item in schema["anyOf"])
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "minimum" in schema and "maximum" in schema:
        return f"{_number(schema['minimum'])} to {_number(schema['maximum'])}"
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = [f"{word} {_number(schema[key])}" for key, word in words.items() if key in schema]
    return ", ".join(limits) or str(schema.get("type", ""))


def _number(value: float) -> str:
    """A bound in full, with separators; in powers of two where it is that of a machine's integers."""
    return "2^63" if value == 2**63 else f"{value:,.10g}"
