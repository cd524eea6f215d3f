"""Tables of choices: each entry is an options class and the place of its builder, imported on first use."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError, nearest


class Options(BaseModel):
    """Base of every section of a config: frozen, without unknown keys, strictly typed, finite numbers only."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    later: ClassVar[frozenset[str]] = frozenset()
    """Settings that came after the first release."""

    def identity(self) -> dict[str, Any]:
        """The settings in JSON's types; those that came later only where changed, so that old hashes stand."""
        plain, fields = self.model_dump(mode="json"), type(self).model_fields
        return {
            name: value
            for name, value in plain.items()
            if name not in self.later or getattr(self, name) != fields[name].default
        }


class NamedOptions(Options):
    """Base of the options of one choice; a subclass narrows `name` to the literal that picks it."""

    name: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One choice: its options class (torch-free) and its builder as `"module:function"`."""

    options: type[NamedOptions]
    builder: str


class Table:
    """The choices of one kind, by name."""

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        self.kind = kind
        self.entries = dict(entries)

    def names(self) -> list[str]:
        """The names of the choices, in the order of the table."""
        return list(self.entries)

    def options(self, name: str) -> type[NamedOptions]:
        """The options class of one choice.

        Raises:
            InputError: no choice has that name.
        """
        if name not in self.entries:
            raise InputError(f"no {self.kind} named '{name}'", nearest(name, self.entries))
        return self.entries[name].options

    def builder(self, name: str) -> Callable[..., Any]:
        """The builder of one choice, imported now."""
        module, function = self.entries[name].builder.split(":")
        return getattr(importlib.import_module(module), function)

    def union(self) -> Any:
        """The pydantic type of a section: a union of all options classes, told apart by `name`."""
        classes = [entry.options for entry in self.entries.values()]
        return Annotated[reduce(or_, classes), Field(discriminator="name")]
