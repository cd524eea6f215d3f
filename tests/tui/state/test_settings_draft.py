import pytest

from torchdeck import presets
from torchdeck.core.config import parse_config, to_plain
from torchdeck.presets.study_presets import grid_study
from torchdeck.tui.state.settings_draft import SettingsDraft, split_values


@pytest.fixture
def draft() -> SettingsDraft:
    return SettingsDraft(presets.load("lenet"))


def test_an_untouched_draft_is_the_preset(draft: SettingsDraft) -> None:
    assert draft.check().runs == (draft.preset.config,)
    assert draft.command() == "torchdeck run lenet"


def test_a_typed_value_changes_the_run_and_the_command(draft: SettingsDraft) -> None:
    draft.edit("optimizer.lr", " 0.05 ")
    (config,) = draft.check().runs
    assert config.optimizer.lr == 0.05
    assert draft.command() == "torchdeck run lenet optimizer.lr=0.05"


def test_typing_the_presets_value_again_is_no_change(draft: SettingsDraft) -> None:
    draft.edit("optimizer.lr", "0.05")
    draft.edit("optimizer.lr", "0.001")
    assert draft.edits == {}


def test_each_wrong_value_is_told_beside_its_setting(draft: SettingsDraft) -> None:
    draft.edit("optimizer.lr", "fast")
    draft.edit("training.epochs", "0")
    faults = draft.check().faults
    assert set(faults) == {"optimizer.lr", "training.epochs"}
    assert "greater than or equal to 1" in faults["training.epochs"]


def test_an_empty_field_is_a_fault_not_a_crash(draft: SettingsDraft) -> None:
    draft.edit("training.epochs", "")
    assert "training.epochs" in draft.check().faults


def test_another_choice_starts_its_section_from_its_defaults(draft: SettingsDraft) -> None:
    draft.edit("optimizer.momentum", "0.5")
    draft.edit("optimizer.name", "adamw")
    assert draft.edits == {"optimizer.name": "adamw"}
    assert "optimizer.beta1" in [item.path for item in draft.settings("optimizer")]
    assert draft.text("optimizer.weight_decay") == "0.01"
    (config,) = draft.check().runs
    assert to_plain(config)["optimizer"]["name"] == "adamw"


def test_going_back_to_the_presets_choice_brings_its_values_back(draft: SettingsDraft) -> None:
    draft.edit("optimizer.name", "adamw")
    draft.edit("optimizer.name", "sgd")
    assert draft.edits == {}
    assert draft.text("optimizer.lr") == "0.001"


def test_lists_of_values_plan_a_run_for_each_combination(draft: SettingsDraft) -> None:
    draft.edit("optimizer.lr", "0.1, 0.05")
    draft.edit("training.batch_size", "[64, 128]")
    runs = draft.check().runs
    points = [(run.optimizer.lr, run.training.batch_size) for run in runs]
    assert points == [(0.1, 64), (0.1, 128), (0.05, 64), (0.05, 128)]
    assert draft.command() == "torchdeck sweep lenet optimizer.lr=0.1,0.05 training.batch_size=64,128"


def test_lists_of_values_make_the_study_of_the_same_runs(draft: SettingsDraft) -> None:
    draft.edit("training.epochs", "3")
    draft.edit("optimizer.lr", "[0.1, 0.05]")
    draft.edit("optimizer.momentum", "0.5")
    study = grid_study(draft.preset, draft.overrides())
    assert tuple(parse_config(run.config) for run in study.runs) == draft.check().runs
    assert study.varied == ("optimizer.lr",)


def test_one_wrong_value_of_a_list_is_told(draft: SettingsDraft) -> None:
    draft.edit("optimizer.lr", "0.1, 2000")
    assert "optimizer.lr" in draft.check().faults


def test_too_many_runs_are_refused(draft: SettingsDraft) -> None:
    draft.edit("training.seed", ",".join(map(str, range(65))))
    assert "at most 64" in draft.check().faults["training.seed"]


def test_reset_puts_one_setting_back(draft: SettingsDraft) -> None:
    draft.edit("optimizer.lr", "0.05")
    draft.edit("training.epochs", "3")
    draft.reset("optimizer.lr")
    assert draft.edits == {"training.epochs": "3"}


def test_the_command_of_a_draft_means_the_same_run(draft: SettingsDraft) -> None:
    draft.edit("data.crop_padding", "4")
    draft.edit("schedule.name", "cosine")
    draft.edit("schedule.final", "0.1")
    (config,) = draft.check().runs
    overrides = draft.command().split()[3:]
    assert draft.preset.with_overrides(overrides) == config


def test_values_of_a_list_are_each_once() -> None:
    assert split_values("[1, 2,2 ,]") == ["1", "2"]
