"""A network and where its weights came from, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def network_name(config: Mapping[str, Any]) -> str:
    """The name of a flat config's network: that of a library's architecture where it is one."""
    return str(config.get("model.arch") or config.get("model.name", "?"))


def origin_text(origin: Mapping[str, Any]) -> str:
    """Where a run's first weights came from: "run 20261201-…, but for fc.weight and fc.bias"."""
    random = [str(name) for name in origin.get("reinitialized", ())]
    kind = f"{origin.get('kind')} " if origin.get("kind") in ("run", "file") else ""
    rest = f", but for {' and '.join(random)}" if random else ""
    return f"{kind}{origin.get('name')}{rest}"
