import importlib
import json
import subprocess
import sys
from pathlib import Path

import bench
import blocks
import precision
import pytest
from repository import ROOT

from torchdeck.core.training.plan import MIN_WORK, make_plan

FOLDER = ROOT / "benchmarks"


def test_a_benchmark_tells_its_median_and_quartiles_with_the_candidate_against_itself() -> None:
    found = blocks.speed_ratio("x", [1.0, 2.0, 4.0], [1.0, 1.0, 2.0], [1.0, 1.0, 2.0], "cpu", threads=1)
    assert (found.median, found.lower, found.upper, found.pairs) == (0.5, 0.5, 0.75, 3)
    assert found.total == pytest.approx(4 / 7)
    assert found.same == blocks.Spread(1.0, 1.0, 1.0)


def test_a_figure_survives_its_json_form() -> None:
    found = blocks.figure("x", [1.0, 2.0], "wall", unit="s", bar="< 3 s")
    body = json.loads(json.dumps(blocks.told("y", [found])))
    assert blocks.figure_from(body["figures"][0]) == found
    assert body["machine"]["python"]


def test_the_candidate_and_the_loops_work_in_turn() -> None:
    done: list[str] = []
    turns = blocks.Turns(steps=3, rounds=2)
    turns.loops = [lambda steps: done.append(f"first {steps}"), lambda steps: done.append(f"second {steps}")]
    turns.restart()
    while not turns.done:
        done.append("candidate")
        turns.switch()
    assert done[:6] == ["candidate", "first 3", "second 3", "candidate", "second 3", "first 3"]
    assert [len(times) for times in turns.times("cpu")] == [2, 2, 2]


def test_a_block_in_which_something_else_happened_is_no_round() -> None:
    turns = blocks.Turns(steps=3, rounds=1)
    turns.restart()
    turns.switch(keep=False)
    assert not turns.done
    assert turns.away > 0


def test_arms_alternate_in_order_after_a_round_to_warm_up() -> None:
    done: list[str] = []

    def arm(name: str) -> blocks.Times:
        done.append(name)
        return {"cpu": 1.0, "wall": 2.0}

    found = blocks.alternate({"a": lambda: arm("a"), "b": lambda: arm("b")}, 2)
    assert done == ["b", "a", "a", "b", "b", "a"]
    assert blocks.seconds(found["a"], "wall") == [2.0, 2.0]


def test_the_table_is_put_between_the_marks_of_the_document(tmp_path: Path) -> None:
    document = tmp_path / "x.md"
    document.write_text(f"before\n{bench.BEGIN}\nold\n{bench.END}\nafter\n")
    result = blocks.told("y", [blocks.figure("a figure", [1.5], "wall", unit="s")])
    bench.write(document, bench.table([result]))
    written = document.read_text()
    assert "| a figure | 1.500 s | 1.500 s to 1.500 s |" in written
    assert written.startswith(f"before\n{bench.BEGIN}\n\n{result['machine']['date']}")
    assert written.endswith(f"{bench.END}\nafter\n")
    assert "old" not in written


def test_a_document_without_a_place_for_the_table_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "x.md"
    document.write_text("nothing\n")
    with pytest.raises(SystemExit, match="no place"):
        bench.write(document, "table")


@pytest.mark.parametrize("name", bench.SCRIPTS)
def test_every_benchmark_tells_how_it_is_used(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = importlib.import_module(name)
    sys.argv[1:], before = ["--help"], sys.argv[1:]
    try:
        with pytest.raises(SystemExit, match="0"):
            script.main()
    finally:
        sys.argv[1:] = before
    shown = capsys.readouterr().out
    assert "--short" in shown
    assert f"benchmarks/{name}.py" in shown


def test_the_precision_benchmark_trains_long_enough_for_auto_to_be_measured(tmp_path: Path) -> None:
    plan = make_plan(precision.config_of("lenet", batch_size=100, threads=1), tmp_path)
    assert 3 * plan.forward_flops * 100 * plan.steps_per_epoch * plan.config.training.epochs > MIN_WORK


def test_the_whole_processes_are_refused_without_their_data(tmp_path: Path) -> None:
    command = [sys.executable, FOLDER / "time_to_accuracy.py", "--data", str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert shown.returncode == 2
    assert "torchdeck data fetch cifar10" in shown.stderr
