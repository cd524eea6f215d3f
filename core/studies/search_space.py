"""Parse search spaces: `log(1e-4,1e-1)`, `uniform(0.8,0.99)`, `int(1,4)`, `choice(32,64)`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..config import parse_config, with_overrides
from ..devices.device_spec import split_list
from ..errors import ConfigError, Fault
from ..utils.toml_value import toml_value

_FORM = re.compile(r"(log|uniform|int|choice)\((.*)\)", re.DOTALL)
_EXAMPLES = {
    "log": "log(1e-4,1e-1)",
    "uniform": "uniform(0.8,0.99)",
    "int": "int(1,4)",
    "choice": "choice(32,64)",
}


def is_distribution(text: str) -> bool:
    """Whether a text is a distribution rather than one value."""
    return _FORM.fullmatch(text.strip()) is not None


def parse_distribution(path: str, text: str) -> dict[str, Any]:
    """Parse a distribution to a JSON object: its kind, and low and high or choices.

    Raises:
        ConfigError: the text is not a valid distribution.
    """
    match = _FORM.fullmatch(text.strip())
    assert match, "the caller asked is_distribution first"
    kind, arguments = match[1], values_of(match[2])
    if kind == "choice":
        if len(arguments) < 2:
            raise ConfigError([Fault(path, f"choice needs at least two values, such as {_EXAMPLES[kind]}")])
        if any(isinstance(value, list | dict) for value in arguments):
            raise ConfigError([Fault(path, "the values of choice must not be lists")])
        return {"kind": kind, "choices": arguments}
    numbers = [value for value in arguments if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(arguments) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise ConfigError([Fault(path, f"{kind} needs a low and a high number, such as {_EXAMPLES[kind]}")])
    if kind == "log" and numbers[0] <= 0:
        raise ConfigError([Fault(path, "the lower end of a log range must be above 0")])
    if kind == "int" and not all(isinstance(value, int) for value in numbers):
        raise ConfigError([Fault(path, f"int needs whole numbers, such as {_EXAMPLES[kind]}")])
    return {"kind": kind, "low": numbers[0], "high": numbers[1]}


def values_of(text: str) -> list[Any]:
    """The distinct values of a list such as `0.1,0.05`, `a,b` or `[1,2],[3,4]`, parsed as TOML."""
    inner = text.strip()
    values = toml_value(f"[{inner}]")
    if not isinstance(values, list):
        values = [toml_value(part) for part in split_list(inner)]
    return [value for at, value in enumerate(values) if value not in values[:at]]


def override_texts(overrides: Mapping[str, Any]) -> list[str]:
    """Settings as `section.key=value` overrides; JSON's numbers, strings, booleans and lists are valid TOML."""
    return [f"{path}={json.dumps(value)}" for path, value in overrides.items()]


def check_space(base: Mapping[str, Any], space: Mapping[str, Mapping[str, Any]]) -> None:
    """Validate both ends, or every choice, of each distribution on its own.

    Raises:
        ConfigError: all settings whose distribution contains an invalid value.
    """
    faults: dict[str, Fault] = {}
    for path, distribution in space.items():
        for value in _ends(distribution):
            try:
                parse_config(with_overrides(base, override_texts({path: value})))
            except ConfigError as error:
                faults |= {fault.path: fault for fault in error.faults}
    if faults:
        raise ConfigError(faults.values())


def _ends(distribution: Mapping[str, Any]) -> Iterable[Any]:
    return distribution["choices"] if distribution["kind"] == "choice" else (distribution["low"], distribution["high"])
