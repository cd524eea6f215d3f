"""The form of all settings: what is changed most first, the rest folded by section; made from their declarations."""

from __future__ import annotations

from collections.abc import Mapping

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Static

from ...core.config import SECTIONS
from ...core.settings import Setting
from ..state.settings_draft import SettingsDraft
from .field_row import FieldRow

LABEL = (
    Setting("label.name", "", "", "", "A name for the run"),
    Setting("label.tags", "", "", "", "Tags for the run, separated by spaces"),
)


FIRST = frozenset({
    "training.epochs", "training.batch_size", "training.seed", "training.device", "optimizer.lr", "data.flip",
    "data.crop_padding", "data.cutout", "data.jitter",
})  # fmt: skip
"""The settings that people change most, besides the choices of each section and the options of the model."""


def is_first(path: str) -> bool:
    """Whether a setting stands above the advanced ones."""
    return path in FIRST or path.startswith("model.") or path.endswith(".name")


class SectionTitle(Static):
    """The name of a section and how many of its settings differ from the preset; opens and closes a folded one."""

    class Clicked(Message):
        """The title was clicked."""

    def on_click(self) -> None:
        self.post_message(self.Clicked())


class Section(Vertical):
    """The settings of one section: the first ones, or the advanced ones, which can be folded."""

    DEFAULT_CSS = """
    Section { height: auto; }
    Section > .section-title { color: $accent; text-style: bold; height: 1; margin-top: 1; }
    .-short Section > .section-title { margin-top: 0; }
    """

    def __init__(self, name: str, *, advanced: bool) -> None:
        super().__init__()
        self.section, self.advanced = name, advanced
        self.choice: str | None = None
        self._title = SectionTitle("", classes="section-title", markup=False)

    def compose(self) -> ComposeResult:
        yield self._title

    def show_title(self, *, folded: bool) -> None:
        """Show the section's name and the number of settings changed; of a folded section also how many it has."""
        rows = self.query_children(FieldRow)
        changed = sum(row.changed for row in rows)
        parts = [f"{len(rows)} settings" if folded else "", f"{changed} changed" if changed else ""]
        mark = ("> " if folded else "v ") if self.advanced else ""
        mark = mark if self.app.has_class("-ascii") else mark.replace(">", "▸").replace("v", "▾")
        self._title.update("  ".join([mark + self.section.capitalize(), *filter(None, parts)]))

    async def show(self, draft: SettingsDraft) -> None:
        """Update the rows; they are created again only if another choice has other settings."""
        settings = [item for item in draft.settings(self.section) if is_first(item.path) != self.advanced]
        choice = draft.choice(self.section)
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

    DEFAULT_CSS = """
    .plain-section { height: auto; }
    #advanced-title { height: 1; margin-top: 1; color: $quiet; border-top: none; }
    .-short #advanced-title { margin-top: 0; }
    #no-setting { display: none; color: $quiet; padding: 1 2; }
    """

    class FoldRequested(Message):
        """The title of a section was clicked."""

    opened = False
    """Whether the advanced settings are shown."""
    _wanted = ""

    def compose(self) -> ComposeResult:
        for name in ("training", "optimizer", "schedule", "data", "model"):
            assert name in SECTIONS
            yield Section(name, advanced=False)
        with Vertical(id="section-label", classes="plain-section"):
            yield Static("Label", classes="section-title")
            for item in LABEL:
                yield FieldRow(item, "")
        yield Static("Advanced  F9 opens", id="advanced-title", markup=False)
        for name in ("training", "optimizer", "schedule", "data"):
            yield Section(name, advanced=True)
        yield Static("No setting has this in its name or help.", id="no-setting", markup=False)

    async def show(self, draft: SettingsDraft) -> None:
        """Show a draft's texts."""
        for section in self.query(Section):
            await section.show(draft)
        self._fold()

    def show_faults(self, faults: Mapping[str, str], draft: SettingsDraft) -> None:
        """Show error messages beside their settings, and mark the settings that differ from the preset."""
        for row in self.query(FieldRow):
            row.show_fault(faults.get(row.setting.path, ""), row.setting.path in draft.edits)
        self._fold()

    def find(self, text: str) -> None:
        """Show only settings whose name or help contains the text, and their sections, folded or not."""
        self._wanted = text.strip().lower()
        self._fold()

    def unfold(self, opened: bool) -> None:
        """Open or fold the advanced settings."""
        self.opened = opened
        self._fold()

    def on_section_title_clicked(self, _: SectionTitle.Clicked) -> None:
        self.post_message(self.FoldRequested())

    def _fold(self) -> None:
        """Show what is searched for; else the first settings, and the advanced ones if opened or with a fault."""
        found = False
        for section in self.query("Section, .plain-section"):
            rows = section.query(FieldRow)
            advanced = isinstance(section, Section) and section.advanced
            folded = advanced and not self.opened and not self._wanted and not any(row.fault for row in rows)
            for row in rows:
                words = f"{row.setting.path} {row.label} {row.setting.help}".lower()
                row.display = not folded and self._wanted in words
            section.display = any(row.display for row in rows) or (folded and not self._wanted)
            found = found or section.display
            if isinstance(section, Section):
                section.show_title(folded=folded)
        self.query_one("#advanced-title", Static).update(f"Advanced  F9 {'folds' if self.opened else 'opens'}")
        self.query_one("#advanced-title").display = not self._wanted
        self.query_one("#no-setting").display = not found

    def row(self, path: str) -> FieldRow | None:
        """The row of a setting; None if it does not exist for the current choice."""
        return next((row for row in self.query(FieldRow) if row.setting.path == path), None)
