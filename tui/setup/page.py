"""The Setup page: pick a preset, edit its settings, preview the plan, and start."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Input, OptionList, Static
from textual.worker import Worker, WorkerState

from ... import presets as store
from ...core.config import ExperimentConfig
from ...core.errors import ConfigError, TorchdeckError
from ...core.runs.label import Label
from ...presets.study_presets import grid_study
from ..format.values import as_text, safe
from ..screens.device_dialog import DeviceDialog
from ..screens.dialogs import TextDialog
from ..screens.page import Page
from ..state.device_choices import run_devices
from ..state.messages import CopyRequested, StartRequested
from ..state.settings_draft import CheckedSettings, SettingsDraft
from ..state.start_preview import Previewer, StartPreview
from ..state.workspace import Workspace
from ..studies.actions import start
from .field_row import FieldRow
from .plan_panel import PlanPanel
from .preset_list import PresetList, PresetPicker
from .settings_form import SettingsForm

DEVICE = "training.device"
WHERE = "Several devices share every batch, with one process per device."
PLAN_DELAY_SECONDS = 0.25


class SetupPage(Page):
    """Edits one draft at a time; the drafts of other presets are kept while the app runs."""

    MODE = "setup"
    BINDINGS = [  # noqa: RUF012
        Binding("f5,ctrl+l", "start", "Start", key_display="f5", id="setup.start"),
        Binding("D", "start_detached", "Detached", id="setup.detach"),
        Binding("ctrl+r", "reset", "Reset", id="setup.reset"),
        Binding("ctrl+t", "reset_all", "Reset all settings", show=False, id="setup.reset-all"),
        Binding("slash", "find", "Find", key_display="/", id="setup.find"),
        Binding("f6", "copy", "Copy", id="setup.copy"),
        Binding("f7", "time", "Time it", id="setup.time"),
        Binding("f8", "save", "Save as", id="setup.save"),
        Binding("f9", "unfold", "Advanced", id="setup.advanced"),
        Binding("escape", "back", "Back to the presets", show=False, id="setup.back"),
    ]

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._presets = {item.name: item for item in store.load_all()[0]}
        chosen = workspace.preferences.text("preset", "quickstart")
        first = chosen if chosen in self._presets else next(iter(self._presets))
        self._drafts: dict[str, SettingsDraft] = {}
        self._use_draft(self._draft_of(first))
        self._previewer = Previewer(workspace.data)
        self._delay: Timer | None = None

    def body(self) -> ComposeResult:
        with Horizontal(id="setup"):
            with Vertical(id="setup-left"):
                yield PresetPicker()
                yield PlanPanel(id="plan")
            with Vertical(id="settings", classes="panel") as panel:
                panel.border_title = "Settings"
                yield Input(placeholder="find a setting", compact=True, id="find")
                yield SettingsForm(id="form")
                yield Static("", id="hint", markup=False)
            yield Vertical(id="earlier")

    def on_mount(self) -> None:
        self.query_one(PresetList).focus()
        self.query_one(SettingsForm).opened = self.workspace.preferences.flag("setup.advanced")
        self._list_presets()

    def on_resize(self) -> None:
        self._list_presets()

    def activate(self) -> None:
        self.call_later(self._show_earlier)

    def reuse(self, preset: str, config: dict[str, Any]) -> None:
        """Load a run's settings into the form of its preset, as edits."""
        name = preset if preset in self._presets else next(iter(self._presets))
        draft = self._drafts[name] = SettingsDraft(self._presets[name])
        for section, values in config.items():
            for key in sorted(values, key=lambda key: key != "name"):
                draft.edit(f"{section}.{key}", as_text(values[key]))
        self._use_draft(draft)
        self._list_presets()
        self.call_after_refresh(self._show_draft)

    # -- presets

    def _use_draft(self, draft: SettingsDraft) -> None:
        """Make this the draft to start, whether the form shows it yet or not."""
        self._draft, self._checked = draft, draft.check()

    def _draft_of(self, name: str) -> SettingsDraft:
        return self._drafts.setdefault(name, SettingsDraft(self._presets[name]))

    def _list_presets(self) -> None:
        detailed = self.size.width >= 100
        self.query_one(PresetPicker).show(list(self._presets.values()), detailed, self._draft.preset.name)

    async def on_preset_list_drawn(self) -> None:
        """Show the page before building the form, which takes as long as all the rest."""
        await self._show_draft()

    def on_preset_list_picked(self, message: PresetList.Picked) -> None:
        if message.name != self._draft.preset.name:
            self._use_draft(self._draft_of(message.name))
            self.workspace.preferences.keep("preset", message.name)
            self._show_draft_soon()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        for row in self.query(FieldRow):
            row.focus_editor()
            return

    def action_back(self) -> None:
        self.query_one(PresetList).focus()

    # -- the form

    def _show_draft_soon(self) -> None:
        """Show the draft after a short delay."""
        if self._delay:
            self._delay.stop()
        self._delay = self.set_timer(PLAN_DELAY_SECONDS / 2, self._show_draft)

    async def _show_draft(self) -> None:
        title = Content.assemble("Settings  ", (safe(self._draft.preset.title), "dim"))
        self.query_one("#settings").border_title = title  # pyright: ignore[reportAttributeAccessIssue]
        await self.query_one(SettingsForm).show(self._draft)
        self._check()
        await self._show_earlier()
        self._hint(None)

    async def on_field_row_edited(self, message: FieldRow.Edited) -> None:
        if message.path.startswith("label."):
            return
        self._draft.edit(message.path, message.text)
        if message.path.endswith(".name"):
            await self.query_one(SettingsForm).show(self._draft)
        self._check()

    def on_field_row_focused(self, message: FieldRow.Focused) -> None:
        self._hint(message.row)

    def _check(self) -> None:
        """Validate the texts now, and make the plan after a short delay."""
        self._checked = self._draft.check()
        self._show_faults(self._checked.faults)
        if self._delay:
            self._delay.stop()
        if not self._checked.faults:
            self.query_one(PlanPanel).waiting(len(self._checked.runs), len(self._draft.edits))
            self._delay = self.set_timer(PLAN_DELAY_SECONDS, self._plan)

    def _show_faults(self, faults: dict[str, str]) -> None:
        self.query_one(SettingsForm).show_faults(faults, self._draft)
        if faults:
            self.query_one(PlanPanel).faults(faults)
        self._hint(self._focused_row())

    def _focused_row(self) -> FieldRow | None:
        return next((row for row in self.query(FieldRow) if row.has_focus_within), None)

    def _hint(self, row: FieldRow | None) -> None:
        if row is None:
            self._write_hint("Enter edits the highlighted preset, F5 starts it, D starts it in the background.")
            return
        setting = row.setting
        help_text = f"Enter lists this machine's devices. {setting.help}" if setting.path == DEVICE else setting.help
        note = (safe(row.fault), "$error") if row.fault else (help_text, "dim")
        parts = [setting.bounds] if setting.bounds else []
        if not setting.path.startswith("label."):
            parts.append(f"preset {self._draft.unedited(setting.path)}")
        if setting.path in self._draft.edits:
            parts.append("ctrl+r resets it")
        if source := self._draft.preset.notes.get(setting.path):
            parts.append(safe(source))
        if not setting.choices and not setting.path.startswith("label."):
            parts.append("values separated by commas: one run each")
        self._write_hint(Content.assemble((row.label, "bold"), "  ", note, ("\n" + " · ".join(parts), "dim")))
        self.call_after_refresh(row.scroll_visible)  # a longer hint would hide the last row

    def _write_hint(self, text: str | Content) -> None:
        self.query_one("#hint", Static).update(text)

    async def action_reset(self) -> None:
        """Reset the focused setting to the preset's value."""
        row = self._focused_row()
        if row is None or row.setting.path.startswith("label."):
            return
        self._draft.reset(row.setting.path)
        await self.query_one(SettingsForm).show(self._draft)
        self._check()

    async def action_reset_all(self) -> None:
        """Reset all settings to the preset's values."""
        self._draft.edits.clear()
        await self.query_one(SettingsForm).show(self._draft)
        self._check()

    def action_find(self) -> None:
        self.query_one("#find").focus()

    def action_unfold(self) -> None:
        """Open or fold the advanced settings."""
        opened = not self.query_one(SettingsForm).opened
        self.workspace.preferences.keep("setup.advanced", opened)
        self.query_one(SettingsForm).unfold(opened)

    def on_settings_form_fold_requested(self) -> None:
        self.action_unfold()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "find":
            self.query_one(SettingsForm).find(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        row = self._focused_row()
        if event.input.id == "find":
            first = next((row for row in self.query(FieldRow) if row.display), None)
            if first:
                first.focus_editor()
        elif row and row.setting.path == DEVICE:
            self._choose_device(row)

    def _choose_device(self, row: FieldRow) -> None:
        """Open the dialog with this machine's devices."""

        def chosen(device: str | None) -> None:
            if device:
                editor = row.query_one(Input)
                editor.value = device
                editor.select_all()

        here = self.workspace.machine
        question = DeviceDialog("Where to train", WHERE, self._draft.text(DEVICE), lambda: run_devices(here()))
        self.app.push_screen(question, chosen)

    # -- the plan

    def _plan(self) -> None:
        runs = self._checked.runs
        if runs:
            work = partial(self._make_preview, runs)
            self.run_worker(work, name="plan", group="plan", thread=True, exclusive=True, exit_on_error=False)

    def _make_preview(self, runs: tuple[ExperimentConfig, ...]) -> StartPreview:
        return self._previewer.preview(runs, self.workspace.rows())

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        event.stop()
        match event.worker.name, event.state:
            case "plan", WorkerState.SUCCESS:
                preview = event.worker.result
                if isinstance(preview, StartPreview) and preview.runs == self._checked.runs:
                    runs = [*self._draft.combinations()]
                    self.query_one(PlanPanel).show(preview, len(self._draft.edits), runs)
            case "time", WorkerState.SUCCESS:
                self._plan()
            case "plan", WorkerState.ERROR:
                error = event.worker.error
                faults = (
                    {f.path: f.message for f in error.faults} if isinstance(error, ConfigError) else {"": str(error)}
                )
                self._checked = CheckedSettings(faults=faults)
                self._show_faults(faults)
            case "time", WorkerState.ERROR:
                self.notify(safe(event.worker.error), severity="error", markup=False)
                self._plan()
            case _:
                pass

    def action_time(self) -> None:
        """Measure the time of an epoch in a child process."""
        if not self._checked.runs:
            self._focus_fault()
            return
        if self.workspace.training:
            self.notify("A run is active: the measured time would be too long.", severity="warning")
            return
        config = self._checked.runs[0]
        self.notify("Measuring a few steps ...", timeout=3)
        work = partial(self._previewer.measure_epoch, config)
        self.run_worker(work, name="time", group="time", thread=True, exclusive=True, exit_on_error=False)

    # -- starting and saving

    def offers(self, action: str) -> bool:
        """One run at a time is trained here; only what was changed can be reset."""
        match action:
            case "start" | "start_detached" | "time":
                return len(self._checked.runs) > 1 or not self.workspace.training
            case "reset":
                row = self._focused_row()
                return row is not None and row.setting.path in self._draft.edits
            case "reset_all":
                return bool(self._draft.edits)
            case _:
                return True

    def action_start(self) -> None:
        """Start a run, or a study if settings have several values."""
        self._start()

    def action_start_detached(self) -> None:
        """Start it in a background process that outlives the app, as studies always do."""
        self._start(detached=True)

    def _start(self, *, detached: bool = False) -> None:
        runs, preset = self._checked.runs, self._draft.preset
        if not runs:
            self._focus_fault()
            return
        name, tags = self._label("name"), tuple(self._label("tags").split())
        if len(runs) == 1:
            label = Label(preset.name, name, tags, preset.reported_for(runs[0]))
            self.post_message(StartRequested(runs[0], label, detached=detached))
            return
        study = grid_study(preset, self._draft.overrides())
        start(self, replace(study, title=name or study.title, tags=tags))

    def _label(self, key: str) -> str:
        row = self.query_one(SettingsForm).row(f"label.{key}")
        return row.query_one(Input).value.strip() if row else ""

    def _focus_fault(self) -> None:
        rows = (row for row in self.query(FieldRow) if row.setting.path in self._checked.faults)
        if first := next(rows, None):
            first.focus_editor()
        self.app.bell()  # the hint below the form says what is wrong

    def action_copy(self) -> None:
        """Copy the equivalent command."""
        self.post_message(CopyRequested(self._draft.command(), "the command"))

    def action_save(self) -> None:
        """Save the settings as a user preset."""
        if len(self._checked.runs) != 1:
            self._focus_fault() if self._checked.faults else self.notify(
                "Only a single run can be saved as a preset.", severity="warning"
            )
            return
        question = TextDialog(
            "Save as a preset", "Its name: lower-case letters, digits and dashes.", f"my-{self._draft.preset.name}"
        )
        self.app.push_screen(question, self._save)

    def _save(self, name: str | None) -> None:
        if not name or not self._checked.runs:
            return
        base = self._draft.preset
        try:
            path = store.save(name, f"{base.title}, changed", base.summary, self._checked.runs[0])
            self._presets = {item.name: item for item in store.load_all()[0]}
        except TorchdeckError as error:
            self.notify(safe(error), severity="error", markup=False)
            return
        self._drafts[name] = SettingsDraft(self._presets[name])
        self._use_draft(self._drafts[name])
        self._list_presets()
        self.call_after_refresh(self._show_draft)
        self.notify(safe(f"saved to {path}"), timeout=5, markup=False)

    async def _show_earlier(self) -> None:
        """Show the earlier runs of this preset, if there is room."""
        if self.size.width < 170:
            return
        from .earlier_runs import EarlierRuns  # charts, 0.1 s

        place = self.query_one("#earlier")
        if not place.children:
            await place.mount(EarlierRuns())
        preset = self._draft.preset.name
        rows = [row for row in self.workspace.rows() if row.preset == preset and row.figure("test/accuracy")]
        shown = rows[-EarlierRuns.MAX_RUNS :]
        place.query_one(EarlierRuns).show([(row, self.workspace.record(row.id)) for row in shown])
