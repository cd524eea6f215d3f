"""What this machine offers to train on, told without torch, and how a person chooses among it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from app_driver import Lives, form_row, screen_text, until
from example_runs import Example, make_study
from textual.pilot import Pilot
from textual.widgets import Input

from torchdeck import presets
from torchdeck.core.config import parse_config, with_overrides
from torchdeck.core.devices.device_spec import DEVICE_PATTERN, split_list
from torchdeck.core.devices.hardware import Machine, this_machine
from torchdeck.core.devices.slots import parse_slots
from torchdeck.core.studies.search_space import values_of
from torchdeck.presets.study_presets import grid_study
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.format.plan_text import batch_text, rate_text
from torchdeck.tui.screens.device_dialog import DeviceDialog
from torchdeck.tui.setup.plan_panel import PlanPanel
from torchdeck.tui.state.device_choices import run_devices, study_devices
from torchdeck.tui.state.messages import StudyRequested
from torchdeck.tui.state.settings_draft import SettingsDraft
from torchdeck.tui.state.study_processes import StudyProcesses

MakeApp = Callable[..., Torchdeck]
FOUR = Machine(8, ("H100",) * 4)


def driver(*names: str, **changes: Any) -> SimpleNamespace:
    """A management library that has devices of these names."""
    whole: dict[str, Any] = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: len(names),
        "nvmlDeviceGetHandleByIndex": lambda number: number,
        "nvmlDeviceGetUUID": lambda number: f"GPU-{number}{number}",
        "nvmlDeviceGetName": lambda number: names[number],
    }
    return SimpleNamespace(**{**whole, **changes})


def test_the_devices_of_a_machine_are_told_by_name() -> None:
    machine = this_machine(driver("H100", "H100"), {})
    assert machine.gpus == ("H100", "H100")
    assert machine.cores >= 1


def test_only_the_devices_that_a_process_may_use_are_told_in_its_own_order() -> None:
    by_bus = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    three = driver("A100", "H100", "V100")
    assert this_machine(three, {**by_bus, "CUDA_VISIBLE_DEVICES": "2,0"}).gpus == ("V100", "A100")
    assert this_machine(three, {**by_bus, "CUDA_VISIBLE_DEVICES": "GPU-11, MIG-5"}).gpus == ("H100", "")


@pytest.mark.parametrize(
    ("visible", "shown"),
    [("", 0), ("-1", 0), ("7", 0), ("0,-1,1", 1), ("0,7,1", 1), ("GPU-99,0", 0), ("none", 0), ("1,0", 2)],
)
def test_cuda_shows_the_devices_before_the_first_that_is_not_there(visible: str, shown: int) -> None:
    assert len(this_machine(driver("A100", "A100"), {"CUDA_VISIBLE_DEVICES": visible}).gpus) == shown


def test_gpus_of_amd_are_offered_without_nvidias_library(tmp_path: Path) -> None:
    for number, units in enumerate((0, 416, 416)):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "properties").write_text(f"cpu_cores_count 8\nsimd_count {units}\n")
    without = driver(nvmlInit=lambda: 1 / 0)
    assert this_machine(without, {}, tmp_path).gpus == ("AMD GPU", "AMD GPU")
    assert this_machine(without, {}, tmp_path / "none").gpus == ()


def test_unlike_devices_have_no_names_where_their_order_is_not_known() -> None:
    assert this_machine(driver("A100", "H100"), {}).gpus == ("", "")


def test_a_machine_without_a_driver_has_its_cores() -> None:
    def absent() -> None:
        raise OSError("no library")

    assert this_machine(driver("A100", nvmlInit=absent), {"CUDA_VISIBLE_DEVICES": "0"}).gpus == ()


@pytest.mark.parametrize("machine", [Machine(1), Machine(2), Machine(6, ("A",)), FOUR, Machine(64, ("A",) * 5)])
def test_all_that_is_offered_can_be_asked_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "torchdeck.core.devices.slots.cuda_devices", lambda: [str(number) for number in range(len(machine.gpus))]
    )
    values = [offer.value for offer in run_devices(machine)]
    assert all(re.fullmatch(DEVICE_PATTERN, value) for value in values)
    assert len(set(values)) == len(values)
    assert all(parse_slots(offer.value) for offer in study_devices(machine))


def test_the_offers_tell_names_numbers_and_what_shares_a_batch() -> None:
    offers = dict(run_devices(FOUR))
    assert list(offers) == ["auto", "cpu", "cuda:0,1,2,3", "cuda:0", "cuda:1", "cuda:2", "cuda:3",
                            "cpu:2", "cpu:4", "cpu:8"]  # fmt: skip
    assert offers["cuda:2"] == "H100"
    assert "all 4 GPUs" in offers["cuda:0,1,2,3"]
    assert [offer.value for offer in study_devices(FOUR)][:4] == ["auto", "0,1,2,3", "0+1+2+3", "0+1,2+3"]
    assert [offer.value for offer in run_devices(Machine(1))] == ["auto", "cpu"]


def test_a_list_of_gpus_is_one_value_among_others() -> None:
    assert split_list("cpu, cuda:0,1 ,cpu:2") == ["cpu", "cuda:0,1", "cpu:2"]
    assert split_list("cuda:0,cuda:1") == ["cuda:0", "cuda:1"]
    assert values_of("cpu,cuda:0,1") == ["cpu", "cuda:0,1"]
    assert values_of("0.1,0.05") == [0.1, 0.05]


def test_several_gpus_in_the_form_are_one_run_and_several_devices_a_study() -> None:
    draft = SettingsDraft(presets.load("quickstart"))
    draft.edit("training.device", "cuda:0,1")
    (run,) = draft.check().runs
    assert run.training.device == "cuda:0,1"
    assert draft.command() == "torchdeck run quickstart training.device=cuda:0,1"
    draft.edit("training.device", "cpu, cuda:0,1")
    assert [run.training.device for run in draft.check().runs] == ["cpu", "cuda:0,1"]
    study = grid_study(draft.preset, draft.overrides())
    assert [run.config["training"]["device"] for run in study.runs] == ["cpu", "cuda:0,1"]


def test_a_batch_is_told_with_its_parts_and_a_rule_with_the_rate_it_makes() -> None:
    assert [batch_text(*shares) for shares in ((128, 1), (128, 2), (10, 4))] == [
        "128", "128 = 2 x 64", "10 = 2 x 3 + 2 x 2"
    ]  # fmt: skip
    quickstart = presets.load("quickstart").content
    changes = ["optimizer.lr=0.1", "training.batch_size=64"]
    assert rate_text(parse_config(with_overrides(quickstart, changes))) == ""
    ruled = parse_config(with_overrides(quickstart, [*changes, "training.lr_batch_size=16"]))
    assert rate_text(ruled) == "0.4 = 0.1 x 4"


async def device_field(app: Torchdeck, pilot: Pilot[None]) -> Input:
    """The field of the device, with the focus."""
    row = await form_row(app, pilot, "training.device")
    row.focus_editor()
    await until(pilot, lambda: "Enter lists this machine's devices" in screen_text(app))
    return row.query_one(Input)


async def test_enter_on_the_device_lists_what_is_here_and_takes_what_is_chosen(make_app: MakeApp) -> None:
    app = make_app()
    app.workspace.machine = lambda: Machine(4, ("[red]H\x1b[31m100",))
    async with app.run_test(size=(120, 40)) as pilot:
        field = await device_field(app, pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "cuda:0  [red]H[31m100" in screen_text(app))
        await pilot.press("down", "end", "enter")
        await until(pilot, lambda: field.value == "cpu:4")
        await until(pilot, lambda: "batch 64 = 4 x 16" in str(app.screen.query_one(PlanPanel).render()))
        assert not app.screen.query("#device-choices")


async def test_another_device_than_those_listed_can_be_written_and_nothing_changes_by_leaving(
    make_app: MakeApp,
) -> None:
    app = make_app()
    app.workspace.machine = lambda: Machine(4)
    async with app.run_test(size=(80, 24)) as pilot:
        field = await device_field(app, pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DeviceDialog))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, DeviceDialog))
        assert field.value == "auto"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DeviceDialog))
        app.screen.query_one("#dialog-input", Input).value = "cpu:3"
        await pilot.press("enter")
        await until(pilot, lambda: field.value == "cpu:3")


async def test_the_time_that_one_device_takes_for_its_share_is_the_least_that_several_take(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        field = await device_field(app, pilot)
        field.value = "cpu:2"
        await until(pilot, lambda: "F7 measures the time on cpu:2" in screen_text(app))
        await pilot.press("f7")
        await until(pilot, lambda: "at least" in screen_text(app) and "on cpu:2 (measured)" in screen_text(app), 120)


async def test_where_a_study_trains_is_chosen_from_the_slots_of_this_machine(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchdeck.core.devices.slots.cuda_devices", lambda: ["0", "1", "2", "3"])
    study = make_study(tmp_path / "logs", [Example("lr=2", state="waiting", begun=False)])
    app, commands = make_app(page="runs"), list[Sequence[str]]()

    def noted(command: Sequence[str], log: Path) -> Lives:  # noqa: ARG001 - what starts a process is given both
        commands.append(command)
        return Lives()

    app.workspace.machine, app.workspace.processes = (lambda: FOUR), StudyProcesses(noted)
    async with app.run_test(size=(120, 40)) as pilot:
        app.post_message(StudyRequested(study))
        await until(pilot, lambda: "unfinished" in screen_text(app))
        await pilot.press("r")
        await until(pilot, lambda: "4 runs at a time, one per GPU" in screen_text(app))
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: commands and commands[0][-1] == "0,1,2,3")
