"""The user's preferences (theme, sort order, filter, ...), kept between sessions in the user's state folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from ...core.utils.files import read_json, to_json_bytes, write_atomically


class Preferences:
    """Named values in a JSON file; without a folder they last as long as the app."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = folder / "app.json" if folder else None
        content: Any = read_json(self._path) if self._path else None
        self._values: dict[str, Any] = cast("dict[str, Any]", content) if isinstance(content, dict) else {}

    def text(self, name: str, default: str = "") -> str:
        """A stored text, else the default."""
        value = self._values.get(name)
        return value if isinstance(value, str) else default

    def flag(self, name: str, default: bool = False) -> bool:
        """A stored flag, else the default."""
        value = self._values.get(name)
        return value if isinstance(value, bool) else default

    def keep(self, name: str, value: str | bool) -> None:
        """Store a value; a disk error is ignored."""
        if self._values.get(name) == value:
            return
        self._values[name] = value
        if self._path is None:
            return
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, to_json_bytes(self._values))
