"""The form: a line a setting, grouped by section, made from the declarations of the settings."""

from __future__ import annotations

from collections.abc import Mapping

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from ...core.config import SECTIONS, Setting
from ..state.settings_draft import Draft
from .field_row import FieldRow

LABEL = (
    Setting("label.name", "", "", "", "A name for the run"),
    Setting("label.tags", "", "", "", "Tags for the run, between spaces"),
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

    async def show(self, draft: Draft) -> None:
        """Bring the lines up to date; they are made anew only when another choice has other settings."""
        settings, choice = draft.settings(self.section), draft.choice(self.section)
        if choice != self.choice:
            focused = self.has_focus_within
            await self.query_children(FieldRow).remove()
            self.choice = choice
            rows = [FieldRow(item, draft.text(item.path)) for item in settings]
            await self.mount_all(rows)
            if focused and rows:
                rows[0].focus_editor()  # the one that chooses
            return
        for row in self.query(FieldRow):
            row.put(draft.text(row.setting.path))


class SettingsForm(VerticalScroll, can_focus=False):
    """All sections, and what the run is called."""

    def compose(self) -> ComposeResult:
        for name in ("model", "training", "optimizer", "schedule", "data"):
            assert name in SECTIONS
            yield Section(name)
        with Vertical(id="section-label", classes="plain-section"):
            yield Static("Label", classes="section-title")
            for item in LABEL:
                yield FieldRow(item, "")

    async def show(self, draft: Draft) -> None:
        """Show a draft's texts."""
        for section in self.query(Section):
            await section.show(draft)

    def tell(self, faults: Mapping[str, str], draft: Draft) -> None:
        """Show the faults beside their settings, and which settings differ from the preset."""
        for row in self.query(FieldRow):
            row.tell(faults.get(row.setting.path, ""), row.setting.path in draft.edits)

    def find(self, text: str) -> None:
        """Show only the settings whose name or help has the text, and the sections that have any."""
        wanted = text.strip().lower()
        for section in self.query("Section, .plain-section"):
            shown = False
            for row in section.query(FieldRow):
                words = f"{row.setting.path} {row.label} {row.setting.help}".lower()
                row.display = wanted in words
                shown = shown or row.display
            section.display = shown

    def row(self, path: str) -> FieldRow | None:
        """The line of a setting; None where it is not shown."""
        return next((row for row in self.query(FieldRow) if row.setting.path == path), None)
