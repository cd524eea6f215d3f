"""Registries of choices (data sets, models, optimizers, schedules): an options class and a lazily imported builder."""

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
    """Base of every section of a config: frozen, strictly typed, no unknown keys, finite numbers only."""

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
    """Base of the options of one choice; a subclass narrows `name` to the literal that selects it."""

    name: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One choice: its options class, which must not import torch, and its builder as `"module:function"`."""

    options: type[NamedOptions]
    builder: str


class Table:
    """All choices of one kind (`"model"`, `"optimizer"`, ...) by name."""

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        self.kind = kind
        self.entries = dict(entries)

    def names(self) -> list[str]:
        """The names of all choices, in the order of definition."""
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
        """The builder of one choice; this imports its module."""
        module, function = self.entries[name].builder.split(":")
        return getattr(importlib.import_module(module), function)

    def union(self) -> Any:
        """The pydantic type of a config section: a union of all options classes, discriminated by `name`."""
        classes = [entry.options for entry in self.entries.values()]
        return Annotated[reduce(or_, classes), Field(discriminator="name")]
