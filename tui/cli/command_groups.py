"""The groups of commands in `torchdeck --help`, in the order in which one needs them."""

from __future__ import annotations

import typer
from typer.models import CommandInfo

GROUPS = {
    "Train": ("tui", "presets", "preset", "settings", "run", "resume", "attach", "pause", "checkpoint", "stop"),
    "Look": ("runs", "show", "time", "confusion", "tag", "note", "rm", "restore", "du", "prune"),
    "Studies": (
        "studies", "study", "sweep", "search", "study-status", "study-result", "study-stop", "study-retry",
    ),
    "Data": ("data", "doctor"),
    "Use a model": ("predict", "evaluate"),
    "Share": ("report", "export", "serve", "sbatch"),
}  # fmt: skip
_GROUP_OF = {name: group for group, names in GROUPS.items() for name in names}
_ORDER = list(_GROUP_OF)


def arrange(app: typer.Typer) -> None:
    """Sort the commands of an app and assign each to its group; one without a group comes last, under Commands."""
    app.registered_commands.sort(key=lambda info: [*_ORDER, _name(info)].index(_name(info)))
    for info in app.registered_commands:
        info.rich_help_panel = _GROUP_OF.get(_name(info), "Commands")
    for group in app.registered_groups:
        group.rich_help_panel = "Data"


def _name(info: CommandInfo) -> str:
    assert info.callback, "every command has a function"
    return info.name or info.callback.__name__.replace("_", "-")
