"""The form of all settings, grouped by section, generated from their declarations."""

from __future__ import annotations

from collections.abc import Mapping

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from ...core.config import SECTIONS, Setting
from ..state.settings_draft import SettingsDraft
from .field_row import FieldRow

LABEL = (
    Setting("label.name", "", "", "", "A name for the run"),
    Setting("label.tags", "", "", "", "Tags for the run, separated by spaces"),
)


class Section(Vertical):
    """The settings of one section."""

    DEFAULT_CSS = """
    Section { height: auto; }
    Section > .section-title { color: $accent; text-style: bold; height: 1; margin-top: 1; }
    .-short Section > .section-title { margin-top: 0; }
    """

    def __init__(self, name: str) -> None:
        super().__init__(id=f"section-{name}")
        self.section = name
        self.choice: str | None = None

    def compose(self) -> ComposeResult:
        yield Static(self.section.capitalize(), classes="section-title")

    async def show(self, draft: SettingsDraft) -> None:
        """Update the rows; they are created again only if another choice has other settings."""
        settings, choice = draft.settings(self.section), draft.choice(self.section)
        if choice != self.choice:
            focused = self.has_focus_within
            await self.query_children(FieldRow).remove()
            self.choice = choice
            rows = [FieldRow(item, draft.text(item.path)) for item in settings]
            await self.mount_all(rows)
            if focused and rows:
                rows[0].focus_editor()  # the row of the choice
            return
        for row in self.query(FieldRow):
            row.put(draft.text(row.setting.path))


class SettingsForm(VerticalScroll, can_focus=False):
    """All sections, and the run's name and tags."""

    def compose(self) -> ComposeResult:
        for name in ("model", "training", "optimizer", "schedule", "data"):
            assert name in SECTIONS
            yield Section(name)
        with Vertical(id="section-label", classes="plain-section"):
            yield Static("Label", classes="section-title")
            for item in LABEL:
                yield FieldRow(item, "")

    async def show(self, draft: SettingsDraft) -> None:
        """Show a draft's texts."""
        for section in self.query(Section):
            await section.show(draft)

    def show_faults(self, faults: Mapping[str, str], draft: SettingsDraft) -> None:
        """Show error messages beside their settings, and mark the settings that differ from the preset."""
        for row in self.query(FieldRow):
            row.show_fault(faults.get(row.setting.path, ""), row.setting.path in draft.edits)

    def find(self, text: str) -> None:
        """Show only settings whose name or help contains the text, and their sections."""
        wanted = text.strip().lower()
        for section in self.query("Section, .plain-section"):
            shown = False
            for row in section.query(FieldRow):
                words = f"{row.setting.path} {row.label} {row.setting.help}".lower()
                row.display = wanted in words
                shown = shown or row.display
            section.display = shown

    def row(self, path: str) -> FieldRow | None:
        """The row of a setting; None if it does not exist for the current choice."""
        return next((row for row in self.query(FieldRow) if row.setting.path == path), None)
