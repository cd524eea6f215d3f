import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_runs import STEPS, Example, make_study

from torchdeck.core.errors import InputError, LogsError
from torchdeck.core.events import DeviceSampled, RunStarted
from torchdeck.core.results.chart_data import accuracy_dots, curves, landscape, panels, regularization, step_curve
from torchdeck.core.results.device_samples import mean_utilization
from torchdeck.core.results.run_result import seconds_to_percent
from torchdeck.core.results.study_result import StudyResult, result_of, side_by_side
from torchdeck.core.runs.index import RunRow, list_runs
from torchdeck.core.runs.line_format import encode_line
from torchdeck.core.runs.reader import load_record
from torchdeck.core.studies.ledger import retry_run
from torchdeck.core.studies.store import find_either, find_study, load_study
from torchdeck.core.utils.files import read_json
from torchdeck.tui.charts.study_charts import chart_text
from torchdeck.tui.summaries.study_tables import tables


def rewritten(folder: Path, **changes: Any) -> None:
    content = read_json(folder / "study.json")
    (folder / "study.json").write_text(json.dumps(content | changes))


def read_result(folder: Path) -> StudyResult:
    return result_of(load_study(folder), folder.parent)


def told(result: StudyResult) -> str:
    return "\n".join(f"{table.title} {table.columns} {table.rows}" for table in tables(result))


def test_a_row_has_the_figures_of_its_run(tmp_path: Path) -> None:
    row = read_result(make_study(tmp_path, [Example("a", ("optimizer.lr=0.01",))])).rows[0]
    record = load_record(row.folder or tmp_path)
    assert row.final is not None
    assert row.best is not None
    assert row.final.value == record.epochs[-1].metrics["test/accuracy"]
    assert (row.best.value, row.best.epoch) == (max(e.metrics["test/accuracy"] for e in record.epochs), 8)
    assert row.best.interval is not None
    assert row.best.interval.low < row.best.value < row.best.interval.high
    assert row.gap == pytest.approx(-0.01)
    assert (row.train_seconds, row.images_per_second) == (16.0, 1433 / 2)
    assert row.utilization == pytest.approx(0.845)
    assert (row.peak_memory, row.parameters, row.state) == (2**29, 61_706, "completed")


def test_the_settings_that_vary_stand_in_the_table(tmp_path: Path) -> None:
    runs = [Example("slow", ("optimizer.lr=0.01",)), Example("fast", ("optimizer.lr=0.1",))]
    result = read_result(make_study(tmp_path, runs))
    assert [row["settings"] for row in result.to_json()["rows"]] == [{"optimizer.lr": 0.01}, {"optimizer.lr": 0.1}]
    assert tables(result)[0].columns[:2] == ("run", "lr")


def test_on_a_narrow_terminal_what_varies_has_a_table_of_its_own(tmp_path: Path) -> None:
    runs = [Example("slow", ("optimizer.lr=0.01",)), Example("fast", ("optimizer.lr=0.1",), state="stopped")]
    varying, figures = tables(read_result(make_study(tmp_path, runs)), narrow=True)[:2]
    assert varying.rows == (("slow", "0.01"), ("fast", "0.1"))
    assert figures.columns == ("run", "state", "epochs", "best", "95 %", "final", "train", "gap")
    assert figures.rows[0][1:4] == ("done", "8", "96.79")


def test_what_became_of_a_run_is_read_from_its_own_directory(tmp_path: Path) -> None:
    folder = make_study(tmp_path, [Example("a")])
    content = read_json(folder / "study.json")
    content["runs"][0]["state"] = "running"
    rewritten(folder, runs=content["runs"])
    assert read_result(folder).rows[0].state == "completed"


def test_runs_that_came_to_nothing_are_rows_with_their_reason(tmp_path: Path) -> None:
    runs = [
        Example("good"),
        Example("big", epochs=1, state="failed", reason="the GPU is full"),
        Example("poor", epochs=2, state="pruned", reason="worse than the median at epoch 2 by 3.1 points"),
        Example("halted", epochs=2, state="stopped", reason="asked to"),
        Example("killed", epochs=2, state="running"),
        Example("next", state="waiting", begun=False),
        Example("lost", state="failed", reason="its data set is missing", begun=False),
    ]
    result = read_result(make_study(tmp_path, runs))
    assert [row.state for row in result.rows] == [
        "completed", "failed", "pruned", "stopped", "stopped", "waiting", "failed",
    ]  # fmt: skip
    assert [row.reason for row in result.rows] == [
        "", "the GPU is full", "worse than the median at epoch 2 by 3.1 points", "asked to",
        "its process was killed", "", "its data set is missing",
    ]  # fmt: skip
    assert "the GPU is full" in told(result)


def test_a_run_whose_directory_is_gone_is_told(tmp_path: Path) -> None:
    folder = make_study(tmp_path, [Example("a", begun=False, state="completed")])
    content = read_json(folder / "study.json")
    content["runs"][0]["run_id"] = "20270115-100000-quickstart-gone"
    rewritten(folder, runs=content["runs"])
    (row,) = read_result(folder).rows
    assert (row.state, row.reason) == ("waiting", "its run folder is missing")


def test_a_run_that_is_to_be_retried_waits_in_the_result_as_in_its_study(tmp_path: Path) -> None:
    folder = make_study(tmp_path, [Example("a", epochs=2, state="failed", reason="the GPU is full")])
    retry_run(folder, 0)
    (row,) = read_result(folder).rows
    assert (row.state, row.reason, row.epochs) == ("waiting", "", 2)


def test_runs_that_differ_only_in_their_seed_are_one_group(tmp_path: Path) -> None:
    seeds = [Example(f"a, seed {s}", (f"training.seed={s}",), 0.1 + s / 10) for s in (1, 2, 3)]
    result = read_result(make_study(tmp_path, [*seeds, Example("b", ("optimizer.lr=0.5",))]))
    (group,) = result.groups
    assert (group.label, group.numbers, group.seeds) == ("a", (0, 1, 2), ("1", "2", "3"))
    values = [row.final.value for row in result.rows[:3] if row.final]
    assert group.final is not None
    assert group.final.mean == pytest.approx(np.mean(values))
    assert group.final.deviation == pytest.approx(np.std(values, ddof=1))
    (figure, _) = panels(result)[0].figures
    assert [series.label for series in figure.series] == ["a ×3", "b"]
    assert figure.series[0].low is not None
    assert figure.series[0].low[-1] == min(values)


def test_a_group_whose_labels_tell_more_than_seeds_is_named_by_its_seeds(tmp_path: Path) -> None:
    runs = [Example(f"trial {at}", (f"training.seed={seed}",)) for at, seed in enumerate((4, 7))]
    (group,) = read_result(make_study(tmp_path, runs)).groups
    assert group.label == "seeds 4, 7"
    runs = [Example(f"seed {seed}", (f"training.seed={seed}",)) for seed in (10, 11, 12)]
    (group,) = read_result(make_study(tmp_path / "three", runs)).groups
    assert group.label == "seeds 10 to 12"


def test_a_figure_that_was_reached_says_so_and_a_short_one_by_how_much(tmp_path: Path) -> None:
    result = read_result(make_study(tmp_path, [Example("good", floor=0.02), Example("bad", ("optimizer.lr=1",), 1.0)]))
    words = {found.label: found.words for found in result.standings}
    assert words["good"] == "reached"
    assert words["bad"] == "short by 4.61 points"
    assert "short by 4.61 points" in told(result)


def test_three_seeds_around_a_figure_are_within_noise(tmp_path: Path) -> None:
    floors = {1: 0.16, 2: 0.06, 3: 0.12}
    runs = [Example(f"seed {seed}", (f"training.seed={seed}",), floor) for seed, floor in floors.items()]
    (standing,) = read_result(make_study(tmp_path, runs)).standings
    assert (standing.number, standing.words) == (0, "within noise")
    (standing,) = read_result(make_study(tmp_path / "two", runs[:2])).standings
    assert standing.words.startswith("short by")


def test_a_run_planned_too_short_for_a_figure_was_not_run_in_full(tmp_path: Path) -> None:
    folder = make_study(tmp_path, [Example("a")])
    content = read_json(folder / "study.json")
    content["runs"][0]["reported"] = [{"metric": "test/accuracy", "at": "by epoch 20", "value": 0.999}]
    rewritten(folder, runs=content["runs"])
    assert [found.words for found in read_result(folder).standings] == ["not run in full"]


def test_runs_are_tested_against_the_best_on_their_predictions(tmp_path: Path) -> None:
    runs = [
        Example("best", floor=0.02, hits=350),
        Example("near", ("optimizer.lr=0.1",), 0.05, hits=348),
        Example("far", ("optimizer.lr=0.2",), 0.9, hits=250),
        Example("without", ("optimizer.lr=0.3",), 0.9),
    ]
    result = read_result(make_study(tmp_path, runs))
    words = {result.rows[found.number].label: found.words for found in result.comparisons}
    assert words["near"].startswith("the difference of 0.5 points is within noise (p = ")
    assert words["far"] == "the difference of 27.5 points is more than noise (p < 0.001)"
    assert words["without"] == "it has no predictions"


def test_other_test_images_are_not_compared(tmp_path: Path) -> None:
    folder = make_study(tmp_path, [Example("a", floor=0.02, hits=350), Example("b", hits=340)])
    path = next(tmp_path.glob("*ee01")) / "predictions.safetensors"
    path.write_bytes(path.read_bytes().replace(np.arange(10, dtype="<i2").tobytes(), bytes(20), 1))
    (found,) = read_result(folder).comparisons
    assert found.words == "it was evaluated on other images"


def test_the_landscape_is_the_least_and_the_greatest_loss_at_every_step(tmp_path: Path) -> None:
    made = (("lenet", 0.1, 8), ("lenet", 0.5, 8), ("basic-cnn", 0.2, 3), ("basic-cnn", 0.3, 8))
    rates = [
        Example(f"{model} {lr}", (f"model.name={model}", f"optimizer.lr={lr}"), lr, epochs)
        for model, lr, epochs in made
    ]
    result = read_result(make_study(tmp_path, rates, shows=["landscape"]))
    figure = landscape(result.rows)
    assert [series.label for series in figure.series] == ["lenet ×2", "basic-cnn ×2"]
    losses = [step_curve(row.record).y[: 3 * STEPS] for row in result.rows[:2]]
    band = figure.series[0]
    assert band.low is not None
    assert band.high is not None
    np.testing.assert_array_equal(band.low, np.minimum(*losses))
    np.testing.assert_array_equal(band.high, np.maximum(*losses))
    assert len(figure.series[1].x) == 3 * STEPS
    assert "cut to 69 steps" in figure.note


def test_a_run_that_failed_does_not_cut_the_landscape(tmp_path: Path) -> None:
    runs = [Example("a"), Example("b", ("optimizer.lr=9",), 2.0, 1, state="failed", reason="diverged")]
    figure = landscape(read_result(make_study(tmp_path, runs)).rows)
    assert len(figure.series[0].x) == 8 * STEPS


def test_of_many_runs_the_best_are_drawn(tmp_path: Path) -> None:
    runs = [Example(str(at), (f"optimizer.lr=0.{at:02}1",), at / 10, 1) for at in range(30)]
    rows = read_result(make_study(tmp_path, runs)).rows
    dots, (accuracies, _) = accuracy_dots(rows), curves(rows)
    assert [series.label for series in dots.series] == [str(at) for at in range(24)]
    assert dots.note == "the best 24 of 30"
    assert [series.label for series in accuracies.series] == [str(at) for at in range(8)]
    assert accuracies.note == "the best 8 of 30"


def test_the_gap_of_regularization_is_train_less_test(tmp_path: Path) -> None:
    result = read_result(make_study(tmp_path, [Example("a")], shows=["regularization"]))
    train, test, gap = regularization(result.rows)
    assert train.y_range == test.y_range
    np.testing.assert_allclose(gap.series[0].y, -1.0)


def test_milestones_are_the_seconds_to_each_whole_percent(tmp_path: Path) -> None:
    row = read_result(make_study(tmp_path, [Example("a")])).rows[0]
    times = seconds_to_percent(row.record)
    first, second = (100 * epoch.metrics["test/accuracy"] for epoch in row.record.epochs[:2])
    assert times[int(first)] == 2.0
    assert times[int(first) + 1] == 4.0
    assert max(times) == int(100 * (row.best.value if row.best else 0))
    assert times[int(second)] == 4.0


def test_device_use_skips_what_is_damaged_and_what_a_resume_voids(tmp_path: Path) -> None:
    started = RunStarted(
        run_id="r", resumed_from=None, preset="p", name="", reported=(), config={}, device="cpu", device_name="",
        parameters=1, forward_flops=1, epochs=1, steps_per_epoch=1, train_images=1, test_images=1, class_names=(),
        chosen_on="test", reproducible="exact",
    )  # fmt: skip
    events = [
        started, DeviceSampled(step=1, utilization=0.2), DeviceSampled(step=9, utilization=1.0),
        replace(started, resumed_from=5),
        DeviceSampled(step=6, utilization=0.4), DeviceSampled(step=7, utilization=None),
    ]  # fmt: skip
    lines = [encode_line(event) for event in events]
    (tmp_path / "events.jsonl").write_bytes(b"".join([*lines, lines[1].replace(b"0.2", b"0.9"), lines[1][:20]]))
    assert mean_utilization(tmp_path) == pytest.approx(0.3)
    assert mean_utilization(tmp_path / "nowhere") is None


def test_a_study_is_found_by_id_prefix_last_characters_and_name(tmp_path: Path) -> None:
    first = make_study(tmp_path, [Example("a")], tail="ffff")
    second = make_study(tmp_path, [Example("a")], name="other", tail="gggg")
    assert find_study(tmp_path, first.name) == first
    assert find_study(tmp_path, "gggg") == second
    assert find_study(tmp_path, "other") == second
    assert find_study(tmp_path, "20270115-120000-ex") == first
    with pytest.raises(InputError, match="matches 2 studies"):
        find_study(tmp_path, "20270115")
    with pytest.raises(InputError, match="did you mean 'example'"):
        find_study(tmp_path, "exmaple")
    with pytest.raises(InputError, match="there are no studies"):
        find_study(tmp_path / "empty", "x")


def test_a_name_of_several_studies_means_the_newest(tmp_path: Path) -> None:
    make_study(tmp_path, [Example("a")], tail="ffff")
    newest = make_study(tmp_path, [Example("b")], tail="gggg")
    assert find_study(tmp_path, "example") == newest


def test_a_reference_means_a_run_or_a_study(tmp_path: Path) -> None:
    folder = make_study(tmp_path, [Example("a")])
    assert isinstance(find_either(tmp_path, "ee00"), RunRow)
    assert not isinstance(find_either(tmp_path, "eeee"), RunRow)
    assert not isinstance(find_either(tmp_path, folder.name), RunRow)
    with pytest.raises(InputError, match="runs and studies"):
        find_either(tmp_path, "20270115")
    with pytest.raises(InputError, match=r"no run or study 'exmaple' in .*; did you mean 'example'"):
        find_either(tmp_path, "exmaple")


def test_a_damaged_or_newer_study_is_told_with_its_mend(tmp_path: Path) -> None:
    folder = make_study(tmp_path, [Example("a")])
    rewritten(folder, min_reader=2)
    with pytest.raises(LogsError, match="update to read it"):
        read_result(folder)
    (folder / "study.json").write_text("{")
    with pytest.raises(LogsError, match="damaged"):
        read_result(folder)


def test_damaged_parts_of_a_study_cost_only_themselves(tmp_path: Path) -> None:
    folder = make_study(tmp_path, [Example("a")])
    run = read_json(folder / "study.json")["runs"][0]
    broken = [{**run, "reported": "x", "overrides": 3, "label": None}, 7, {"run_id": "../../etc", "number": "x"}]
    rewritten(folder, runs=broken, shows=["table", "pie"], search={"importance": {"a": "x"}}, notes=[], varied=4)
    result = read_result(folder)
    assert [row.state for row in result.rows] == ["completed", "waiting", "waiting"]
    assert result.study.shows == ("table",)
    assert tables(result)
    assert json.dumps(result.to_json())


def test_any_runs_can_be_put_side_by_side(tmp_path: Path) -> None:
    make_study(tmp_path, [Example("a"), Example("b", ("optimizer.lr=0.5",), hits=300)])
    result = side_by_side(list_runs(tmp_path))
    assert (result.study.title, result.study.varied) == ("a · b", ("optimizer.lr",))
    assert [row.label for row in result.rows] == ["a", "b"]


def test_a_search_tells_what_mattered_and_why_trials_ended(tmp_path: Path) -> None:
    search = {"space": {"optimizer.lr": {"kind": "log", "low": 1e-4, "high": 0.1}}, "trials": 9, "sampler": "tpe",
              "pruner": "median", "metric": "test/accuracy", "direction": "maximize",
              "importance": {"optimizer.lr": 0.8, "training.batch_size": 0.2}}  # fmt: skip
    runs = [Example("a"), Example("b", ("optimizer.lr=0.5",), 0.9, 2, state="pruned", reason="worse than the median")]
    result = read_result(make_study(tmp_path, runs, search=search, kind="search"))
    words = told(result)
    assert "2 of 9, 1 of them pruned" in words
    assert "worse than the median" in words
    assert "log(0.0001,0.1)" in words
    bars = chart_text(panels(result)[-1].figures[0], 100).plain
    assert "80.0 %" in bars
    assert bars.index("optimizer.lr") < bars.index("training.batch_size")


def test_without_colours_both_ends_of_a_band_are_lines(tmp_path: Path) -> None:
    runs = [Example("a", ("optimizer.lr=0.1",), 0.1), Example("b", ("optimizer.lr=0.2",), 0.9)]
    figure = landscape(read_result(make_study(tmp_path, runs)).rows)
    text = chart_text(figure, 80, colors=False, ascii_only=True).plain
    assert "lenet ×2 min" in text
    assert "lenet ×2 max" in text
