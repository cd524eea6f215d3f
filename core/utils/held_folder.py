"""A folder held by an open descriptor: found again when it is renamed, and known to be removed when it is."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .files import is_at

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class HeldFolder:
    """A folder under whatever name it has in its parent folder, which may be renamed, too."""

    def __init__(self, path: Path) -> None:
        """Open a folder.

        Raises:
            OSError: it does not exist, or is a link.
        """
        self.path = path
        """Where it was last found."""
        self._descriptors: list[int] = []
        self._descriptors.append(os.open(path, _FLAGS | os.O_NOFOLLOW))
        self._descriptors.append(os.open(path.parent, _FLAGS))

    def find(self) -> bool:
        """Update `path`; False where the folder was moved out of its parent folder, or removed."""
        folder, parent = map(os.fstat, self._descriptors)
        if is_at(self.path, folder):
            return True
        above = self._parent_path(parent)
        if above is None:
            return False
        with contextlib.suppress(OSError), os.scandir(above) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and is_at(Path(entry.path), folder):
                    self.path = above / entry.name
                    return True
        return False

    def _parent_path(self, parent: os.stat_result) -> Path | None:
        """The path of the parent folder; one that was renamed is only found on Linux."""
        if is_at(self.path.parent, parent, follow=True):
            return self.path.parent
        with contextlib.suppress(OSError):
            moved = Path(os.readlink(f"/proc/self/fd/{self._descriptors[1]}"))
            return moved if is_at(moved, parent) else None
        return None

    def __del__(self) -> None:
        for descriptor in self._descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
