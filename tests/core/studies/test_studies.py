"""Studies without processes: their declarations, their files, their queue."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from torchdeck import presets
from torchdeck.core.devices.slots import parse_slots
from torchdeck.core.errors import BusyError, ConfigError, InputError, LogsError
from torchdeck.core.runs.writer import claim, reopen
from torchdeck.core.studies.coordinators import register
from torchdeck.core.studies.ledger import Ledger
from torchdeck.core.studies.model import Study, StudyRun
from torchdeck.core.studies.requests import config_for_slot
from torchdeck.core.studies.store import create_study, find_study, load_study, newest_equal_study, save_study, status_of
from torchdeck.core.studies.trial_queue import JOURNAL, TrialQueue, repair_journal
from torchdeck.presets.study_presets import grid_study, load_declaration, search_study, study_names
from torchdeck.tui.cli.study_options import parse_duration

# What the reports say: the settings that vary in each run, and the figures claimed of it.
EPOCHS, BATCH, LR, MOMENTUM = "training.epochs", "training.batch_size", "optimizer.lr", "optimizer.momentum"
MODEL, OPTIMIZER, FINAL, TIME = "model.name", "optimizer.name", "test/accuracy final", "train_seconds"
STUDIES: dict[str, list[tuple[dict[str, Any], dict[str, float]]]] = {
    "lenet-batch-size": [
        ({BATCH: size, EPOCHS: 10}, {"test/accuracy epoch 10": accuracy, TIME: time})
        for size, accuracy, time in ((100, 0.5336, 33.66), (200, 0.4543, 33.23), (300, 0.4069, 33.13))
    ],
    "lenet-tuning": [
        (
            {EPOCHS: epochs, LR: lr, MOMENTUM: momentum, BATCH: 1024},
            {FINAL: accuracy},
        )
        for epochs, lr, momentum, accuracy in (
            (50, 0.001, 0.9, 0.4763), (100, 0.01, 0.9, 0.6025), (200, 0.001, 0.95, 0.6575)
        )
    ],
    "lenet-tuning-batch": [
        (
            {LR: lr, MOMENTUM: momentum, BATCH: size, EPOCHS: 50},
            {FINAL: accuracy, TIME: time},
        )
        for lr, momentum, size, accuracy, time in (
            (0.001, 0.9, 32, 0.6200, 264), (0.005, 0.9, 64, 0.6250, 181), (0.001, 0.95, 32, 0.6499, 259),
            (0.001, 0.95, 64, 0.6311, 180), (0.01, 0.9, 32, 0.5645, 261), (0.01, 0.9, 64, 0.5944, 181),
            (0.01, 0.9, 512, 0.5802, 163),
        )
    ],
    "lenet-regularization": [
        (
            {"optimizer.weight_decay": decay, "model.dropout": dropout, LR: 0.001, MOMENTUM: 0.95,
             EPOCHS: 50, BATCH: 128},
            {},
        )
        for decay, dropout in ((0.0, 0.0), (1e-4, 0.0), (0.0, 0.5))
    ],
    "resnet18-tuning": [
        (
            {EPOCHS: epochs, LR: lr, MOMENTUM: momentum, MODEL: "resnet18"},
            {FINAL: accuracy, TIME: time},
        )
        for epochs, lr, momentum, accuracy, time in (
            (15, 0.01, 0.95, 0.8609, 186), (25, 0.01, 0.95, 0.8859, 300), (25, 0.005, 0.9, 0.8840, 298),
            (25, 0.005, 0.95, 0.8956, 306),
        )
    ],
    "mnist-ablation": [
        (
            {"model.stem": stem, "model.dropout": dropout, LR: lr, "model.extra_bn": bn, OPTIMIZER: "adam",
             EPOCHS: 10},
            figures,
        )
        for stem, dropout, lr, bn, figures in (
            (7, 0.0, 0.02, False, {FINAL: 0.85}),
            (3, 0.0, 0.02, False, {FINAL: 0.95, "train/accuracy final": 0.99}),
            (3, 0.3, 0.02, False, {"train/accuracy final": 0.99}),
            (3, 0.3, 0.001, True, {FINAL: 0.9936, "train/accuracy final": 0.9959}),
        )
    ],
    "cnn-comparison": [
        ({MODEL: name, "training.patience": 6, OPTIMIZER: "adamw"}, {"test/accuracy best": accuracy})
        for name, accuracy in (("basic-cnn", 0.8291), ("improved-cnn", 0.9261), ("residual-cnn", 0.9157))
    ],
    "vgg-loss-landscape": [
        ({MODEL: name, LR: lr, OPTIMIZER: "adam", EPOCHS: 20, "training.patience": 0}, {})
        for name in ("vgg-a", "vgg-a-bn")
        for lr in (1e-3, 2e-3, 1e-4, 5e-4)
    ],
    "data-parallel": [({MODEL: "lenet", BATCH: 100, "training.device": device}, {}) for device in ("cpu", "cpu:2")],
    "time-to-accuracy": [({MODEL: "resnet18", EPOCHS: 25}, {}), ({MODEL: "lenet"}, {})],
}  # fmt: skip


def setting(run: StudyRun, path: str) -> Any:
    section, _, key = path.partition(".")
    return run.config[section][key]


def test_every_study_of_the_reports_is_declared() -> None:
    assert set(study_names()) == set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_a_declared_study_is_the_reports_with_its_figures(name: str) -> None:
    study = load_declaration(name)
    assert len(study.runs) == len(STUDIES[name])
    for run, (settings, figures) in zip(study.runs, STUDIES[name], strict=True):
        assert {path: setting(run, path) for path in settings} == settings
        assert setting(run, "training.seed") == 1
        claimed = {f"{item['metric']} {item['at']}": item["value"] for item in run.reported}
        assert claimed.items() >= {(f"{key} final" if " " not in key else key): v for key, v in figures.items()}.items()
    assert study.summary.endswith(".")
    assert len({run.label for run in study.runs}) == len(study.runs)


def test_overrides_change_every_run_of_a_study() -> None:
    study = load_declaration("lenet-batch-size", ["training.epochs=1"])
    assert [run.config["training"]["epochs"] for run in study.runs] == [1, 1, 1]
    assert [run.config["training"]["batch_size"] for run in study.runs] == [100, 200, 300]


BROKEN = [
    ('preset = "lenet"\n', ConfigError, "either [[runs]] or a [grid]"),
    ('preset = "lenet"\n[grid]\n"optimizer.lr" = 0.1\n', ConfigError, "grid.optimizer.lr: must be a list of values"),
    ('preset = "lenett"\n[[runs]]\n', ConfigError, "runs.1.preset: no preset named 'lenett'; did you mean 'lenet'?"),
    ("[[runs]]\n", ConfigError, "runs.1: has no preset"),
    ('preset = "lenet"\nruns = []\n', ConfigError, "runs: is empty"),
    ('preset = "lenet"\n[[runs]]\noverides = {}\n', ConfigError, "did you mean 'overrides'?"),
    ('preset = "lenet"\nshow = []\n[[runs]]\n', ConfigError, "did you mean 'shows'?"),
    ('preset = "lenet"\nshows = ["curve"]\n[[runs]]\n', ConfigError, "did you mean 'curves'?"),
    ('preset = "lenet"\n[[runs]]\noverrides = {"optimizer.lrr" = 1}\n', ConfigError, "runs.1.optimizer.lrr: no such"),
    ('preset = "lenet"\n[[runs]]\nreported = [{metric = "x"}]\n', ConfigError, "runs.1.reported"),
    ('preset = "lenet"\n[notes]\n"optimizer.lrr" = "x"\n[[runs]]\n', ConfigError, "notes.optimizer.lrr"),
    ('preset = "lenet"\n[grid]\n"training.seed" = [1, 2, -1]\n"optimizer.lr" = [0.1]\n', ConfigError, "training.seed"),
    ("title = ", InputError, "is not TOML"),
]


@pytest.mark.parametrize(("text", "error", "told"), BROKEN)
def test_a_broken_declaration_is_told_with_its_fault(
    tmp_path: Path, text: str, error: type[InputError], told: str
) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(error) as caught:
        load_declaration(str(tmp_path / "mine.toml"))
    assert told in str(caught.value)


def test_all_faults_of_a_declaration_are_told_at_once(tmp_path: Path) -> None:
    text = (
        'shows = ["x"]\n[[runs]]\npreset = "nobody"\n[[runs]]\npreset = "lenet"\noverrides = {"training.epochs" = 0}\n'
    )
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_declaration(str(tmp_path / "mine.toml"))
    assert [fault.path for fault in caught.value.faults] == ["runs.1.preset", "runs.2.training.epochs", "shows"]


def test_a_grid_file_is_every_combination(tmp_path: Path) -> None:
    text = 'preset = "lenet"\n[grid]\n"optimizer.lr" = [0.1, 0.2]\n"training.seed" = [1, 2]\n'
    (tmp_path / "mine.toml").write_text(text)
    study = load_declaration(str(tmp_path / "mine.toml"))
    assert [run.label for run in study.runs] == ["lr=0.1 seed=1", "lr=0.1 seed=2", "lr=0.2 seed=1", "lr=0.2 seed=2"]
    assert (study.kind, study.varied) == ("grid", ("optimizer.lr", "training.seed"))


def test_a_sweep_on_the_command_line_varies_what_has_several_values() -> None:
    study = grid_study(
        presets.load("quickstart"), ["model.name=lenet,basic-cnn", "optimizer.lr=0.1,1e-2", "training.epochs=1"]
    )
    assert study.varied == ("model.name", "optimizer.lr")
    assert [(setting(run, "model.name"), setting(run, "optimizer.lr")) for run in study.runs] == [
        ("lenet", 0.1), ("lenet", 0.01), ("basic-cnn", 0.1), ("basic-cnn", 0.01)
    ]  # fmt: skip
    assert {setting(run, "training.epochs") for run in study.runs} == {1}


def test_a_search_takes_ranges_and_plain_settings() -> None:
    texts = ["optimizer.lr=log(1e-4,1e-1)", "training.batch_size=choice(32,64)", "training.epochs=3"]
    study = search_study(presets.load("quickstart"), texts, 9, "median")
    assert study.search
    assert study.search.space["optimizer.lr"] == {"kind": "log", "low": 1e-4, "high": 1e-1}
    assert study.search.space["training.batch_size"] == {"kind": "choice", "choices": [32, 64]}
    assert (study.search.base["training"]["epochs"], study.planned, study.runs) == (3, 9, ())


WRONG_SPACES = [
    (["optimizer.lr=0.1"], "nothing is searched"),
    (["optimizer.lr=log(0,1)"], "above 0"),
    (["optimizer.lr=uniform(2,1)"], "a low and a high number"),
    (["optimizer.lr=choice(1)"], "at least two values"),
    (["training.batch_size=uniform(1,9.5)"], "training.batch_size: must be"),
    (["training.epochs=int(0,9)"], "training.epochs: must be greater than or equal to 1"),
    (["optimizer.lrr=int(1,9)"], "did you mean 'lr'?"),
    (["training.epochs=int(1,2.5)"], "whole numbers"),
]


@pytest.mark.parametrize(("texts", "told"), WRONG_SPACES)
def test_a_wrong_space_is_told_before_anything_runs(texts: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        search_study(presets.load("quickstart"), texts, 9, "median")
    assert told in str(caught.value)


def test_devices_are_slots_that_share_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchdeck.core.devices.slots.cores", lambda: 4)
    assert [(slot.device, slot.threads) for slot in parse_slots("cpu:2")] == [("cpu", 2), ("cpu", 2)]
    assert [(slot.device, slot.threads) for slot in parse_slots("cpu")] == [("cpu", None)]
    assert [slot.device for slot in parse_slots("auto")] == ["auto"]
    monkeypatch.setattr("torchdeck.core.devices.slots.cuda_devices", lambda: ["4", "7"])
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in parse_slots("0,1")] == ["4", "7"]


def test_a_slot_of_several_devices_sees_just_these_and_trains_one_run_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchdeck.core.devices.slots.cores", lambda: 8)
    monkeypatch.setattr("torchdeck.core.devices.slots.cuda_devices", lambda: ["4", "7", "GPU-ab", "1"])
    first, second = parse_slots("0+1, 2+3")
    assert (first.name, first.device, first.threads) == ("cuda 0+1", "cuda:0,1", 2)
    assert (second.device, second.environment["CUDA_VISIBLE_DEVICES"]) == ("cuda:0,1", "GPU-ab,1")
    assert [(slot.device, slot.name) for slot in parse_slots("3,0+2")] == [("cuda", "cuda 3"), ("cuda:0,1", "cuda 0+2")]
    assert [(slot.name, slot.device, slot.threads) for slot in parse_slots("cpu+cpu,cpu+cpu")] == [
        ("cpu 1+2", "cpu:2", 2), ("cpu 3+4", "cpu:2", 2)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("tpu", "write cpu:2"),
        ("0,0", "names a device twice"),
        ("0+1,1+2", "names a device twice"),
        ("0,00", "names a device twice"),
        ("cpu:0", "write cpu:2"),
        ("cpu:2+cpu", "write cpu:2"),
        ("cpu,0", "write cpu:2"),
        ("0+", "0+1,2+3 for runs over two"),
        ("0++1", "0+1,2+3 for runs over two"),
        ("2", "no CUDA device 2: only 2 CUDA devices are available"),
        ("0+2", "no CUDA device 2: only 2 CUDA devices are available"),
    ],
)
def test_devices_that_cannot_be_had_are_told_with_the_mend(
    monkeypatch: pytest.MonkeyPatch, wrong: str, told: str
) -> None:
    monkeypatch.setattr("torchdeck.core.devices.slots.cuda_devices", lambda: ["4", "7"])
    with pytest.raises(InputError) as caught:
        parse_slots(wrong)
    assert told in str(caught.value)


def test_a_slot_fills_in_only_what_the_settings_leave_open() -> None:
    (slot, _) = parse_slots("cpu:2")
    assert config_for_slot({"training": {"device": "auto", "threads": "auto"}}, slot)["training"]["device"] == "cpu"
    assert config_for_slot({"training": {"device": "cuda:1", "threads": 3}}, slot)["training"] == {
        "device": "cuda:1",
        "threads": 3,
    }


@pytest.mark.parametrize(
    ("text", "seconds"), [("", None), ("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("30d", 2_592_000)]
)
def test_a_budget_is_a_time(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["soon", "5", "0h", "h", "-1h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_duration(text)


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """The folder of a study of three runs that nobody has worked on."""
    return create_study(tmp_path / "logs", grid_study(presets.load("quickstart"), ["optimizer.lr=0.1,0.2,0.3"]), 0.0)


def test_a_study_is_read_as_it_was_written(grid: Path) -> None:
    study = load_study(grid)
    assert study.study_id == grid.name
    assert study.runs[1].overrides == {"optimizer.lr": 0.2}
    assert (study.count("waiting"), study.finished, status_of(grid, study)) == (3, False, "unfinished")


def test_a_run_directory_has_the_last_word_on_its_state(grid: Path) -> None:
    study = load_study(grid)
    claim(grid.parent, "the-run", {"study": {"id": grid.name, "number": 0}}).close()
    runs = (
        replace(study.runs[0], run_id="the-run", state="completed"),
        replace(study.runs[1], run_id="nowhere", state="completed"),
        replace(study.runs[2], run_id="../x", state="running"),
    )
    save_study(grid, replace(study, runs=runs))
    found = load_study(grid).runs
    assert [(run.state, run.run_id) for run in found] == [("stopped", "the-run"), ("waiting", None), ("waiting", None)]
    writer = reopen(grid.parent / "the-run")
    assert load_study(grid).runs[0].state == "running"
    writer.close()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"min_reader": 99}', '{"min_reader": 1, "runs": 3}'])
def test_a_damaged_study_is_told_with_its_file(grid: Path, content: str) -> None:
    (grid / "study.json").write_text(content)
    with pytest.raises(LogsError, match=r"study\.json"):
        load_study(grid)


@pytest.mark.parametrize("damage", [7, {}, {"config": 3}])
def test_damage_costs_a_run_but_nothing_is_trained_from_it(grid: Path, damage: Any) -> None:
    content = json.loads((grid / "study.json").read_text())
    label = content["runs"][0]["label"]
    content["runs"][1] = damage
    (grid / "study.json").write_text(json.dumps(content))
    assert [run.label for run in load_study(grid).runs][:2] == [label, "run 1"]
    with pytest.raises(LogsError, match="run 1 has no settings"):
        Ledger(grid)


def test_a_search_whose_space_is_damaged_is_not_trained(tmp_path: Path) -> None:
    study = search_study(presets.load("quickstart"), ["optimizer.lr=log(1e-4,1e-1)"], 3, "none")
    folder = create_study(tmp_path, study, 0.0)
    content = json.loads((folder / "study.json").read_text())
    content["search"]["space"] = 3
    (folder / "study.json").write_text(json.dumps(content))
    assert load_study(folder).planned == 3
    with pytest.raises(LogsError, match="the search has no settings"):
        Ledger(folder)


def test_a_study_has_one_process_unless_others_join_it(grid: Path) -> None:
    parent = register(grid, [], join=False)
    assert status_of(grid, load_study(grid)) == "running"
    with pytest.raises(BusyError, match="is active in process"):
        register(grid, [], join=False)
    parent.unregister()
    assert status_of(grid, load_study(grid)) == "unfinished"


def test_a_study_is_found_by_what_is_unique_of_it(grid: Path) -> None:
    logs = grid.parent
    assert find_study(logs, grid.name) == find_study(logs, grid.name[-4:]) == find_study(logs, "@last") == grid
    for wrong in ("nothing", ""):
        with pytest.raises(InputError):
            find_study(logs, wrong)


def figure(_: StudyRun) -> float:
    return 0.5


def opened(folder: Path, study: Study) -> TrialQueue:
    queue = TrialQueue(folder, study, 10)
    queue.reconcile(study.runs, figure)
    return queue


def states(queue: TrialQueue) -> Counter[str]:
    return Counter(trial.state.name for trial in queue._optuna.trials)


def test_a_queue_gives_each_run_once(grid: Path) -> None:
    queue = opened(grid, load_study(grid))
    claimed = [queue.claim(False) for _ in range(4)]
    assert [item[1] if item else None for item in claimed] == [0, 1, 2, None]


def test_a_torn_journal_is_cut_at_its_last_whole_line(grid: Path) -> None:
    study = load_study(grid)
    opened(grid, study)
    journal = grid / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[:25])
    (grid / f"{JOURNAL}.lock").symlink_to(journal)
    assert states(opened(grid, study)) == {"WAITING": 3}
    assert journal.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())


def test_a_damaged_journal_is_set_aside_and_told_again_what_the_runs_say(grid: Path) -> None:
    study = load_study(grid)
    opened(grid, study)
    journal = grid / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], b"{torn", *lines[1:]]))
    study = study.with_run(replace(study.runs[0], state="completed"))
    assert states(opened(grid, study)) == {"COMPLETE": 1, "WAITING": 2}
    assert list(grid.glob("*.damaged"))


def test_an_empty_journal_needs_no_mending(tmp_path: Path) -> None:
    repair_journal(tmp_path / JOURNAL)
    assert not list(tmp_path.iterdir())


def test_opening_a_study_tells_its_queue_what_the_runs_say(grid: Path) -> None:
    study = load_study(grid)
    queue = opened(grid, study)
    for _ in range(3):
        assert queue.claim(False)
    ends = ("completed", "failed", "stopped")
    runs = tuple(replace(run, state=state) for run, state in zip(study.runs, ends, strict=True))  # type: ignore[arg-type]
    queue = opened(grid, replace(study, runs=runs))
    assert states(queue) == {"COMPLETE": 1, "FAIL": 2, "WAITING": 1}
    again = queue.claim(False)
    assert again
    assert (again[1], queue.claim(False)) == (2, None)


def test_a_run_that_was_finished_by_hand_completes_its_trial(grid: Path) -> None:
    study = load_study(grid)
    queue = opened(grid, study)
    claimed = queue.claim(False)
    assert claimed
    queue.settle(replace(study.runs[0], state="failed"), figure)
    assert states(opened(grid, study.with_run(replace(study.runs[0], state="completed"))))["COMPLETE"] == 1


def searched(tmp_path: Path, **more: Any) -> tuple[Path, Study]:
    study = search_study(presets.load("quickstart"), ["optimizer.lr=log(1e-4,1e-1)"], 9, more.get("pruner", "median"))
    folder = create_study(tmp_path / "logs", study, 0.0)
    return folder, load_study(folder)


def test_a_trial_drawn_by_a_process_that_died_is_dropped(tmp_path: Path) -> None:
    folder, study = searched(tmp_path)
    assert opened(folder, study).claim(True)
    queue = opened(folder, study)
    assert states(queue) == {"FAIL": 1}
    assert queue.claim(False) is None


def test_a_continued_search_does_not_draw_its_first_settings_again(tmp_path: Path) -> None:
    folder, study = searched(tmp_path)
    first, second = opened(folder, study).claim(True), opened(folder, study).claim(True)
    assert first
    assert second
    assert first[2] != second[2]


def test_a_search_draws_the_same_settings_for_the_same_seed(tmp_path: Path) -> None:
    drawn = [opened(*searched(tmp_path / name)).claim(True) for name in ("a", "b")]
    assert drawn[0]
    assert drawn[1]
    assert drawn[0][2] == drawn[1][2]


@pytest.mark.parametrize(
    ("pruner", "told"),
    [
        ("median", "worse than the median at epoch 3 by 20.0 points"),
        ("hyperband", "not among the best third of its bracket at epoch"),
        ("none", ""),
    ],
)
def test_pruning_is_told_in_words(tmp_path: Path, pruner: str, told: str) -> None:
    folder, study = searched(tmp_path, pruner=pruner)
    queue = opened(folder, study)
    reason = ""
    for number, accuracy in enumerate([0.9, 0.9, 0.9, 0.7, 0.6, 0.5]):
        claimed = queue.claim(True)
        assert claimed
        trial = claimed[0]
        queue.number(trial, number)
        for epoch in (1, 2, 3):
            queue.report(trial, epoch, accuracy - 0.1 + epoch / 30)
        reason = queue.prune_reason(trial)
        if reason:
            break
        queue.settle(replace(_a_run(study, number), state="completed"), lambda _, value=accuracy: value)
    assert reason.startswith(told)
    assert bool(reason) == bool(told)


def _a_run(study: Study, number: int) -> StudyRun:
    assert study.search
    return StudyRun(number, "", {"optimizer.lr": 0.1}, study.preset, study.search.base)


def test_importance_needs_trials_that_differ(tmp_path: Path) -> None:
    folder, study = searched(tmp_path)
    queue = opened(folder, study)
    assert queue.importance() is None
    for number in range(6):
        claimed = queue.claim(True)
        assert claimed
        queue.settle(replace(_a_run(study, number), state="completed"), lambda _, value=number: value / 10)
    assert queue.importance() == {"optimizer.lr": 1.0}


def test_the_same_request_finds_its_study_and_another_does_not(grid: Path) -> None:
    quickstart = presets.load("quickstart")
    assert newest_equal_study(grid.parent, grid_study(quickstart, ["optimizer.lr=0.1,0.2,0.3"])) == grid
    assert newest_equal_study(grid.parent, grid_study(quickstart, ["optimizer.lr=0.1,0.2"])) is None
    assert (
        newest_equal_study(grid.parent, grid_study(quickstart, ["optimizer.lr=0.1,0.2,0.3", "training.seed=2"])) is None
    )


def test_the_same_search_is_found_with_what_it_has_drawn(tmp_path: Path) -> None:
    folder, study = searched(tmp_path)
    save_study(folder, study.with_run(_a_run(study, 0)))
    again = search_study(presets.load("quickstart"), ["optimizer.lr=log(1e-4,1e-1)"], 9, "median")
    assert newest_equal_study(folder.parent, again) == folder
    assert newest_equal_study(folder.parent, replace(again, search=replace(again.search, trials=8))) is None
