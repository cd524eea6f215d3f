"""What trains of a study, on its page: read from the runs' own directories, wherever their processes are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from app_driver import Lives, screen_text, until
from example_runs import STEPS, Example, at_work, make_study
from textual.pilot import Pilot
from textual.widgets import Button

from torchdeck.core.events import EpochCompleted, RunCompleted, StageStarted, StepCompleted, stamp
from torchdeck.core.runs.reader import load_record
from torchdeck.core.runs.writer import RunWriter, reopen
from torchdeck.core.studies.coordinators import coordinator_slots
from torchdeck.core.studies.store import load_study
from torchdeck.core.utils.locks import take_lock
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.live.page import LivePage
from torchdeck.tui.state.messages import StudyRequested
from torchdeck.tui.state.study_processes import StudyProcesses
from torchdeck.tui.state.study_workers import WorkersReader

MakeApp = Callable[..., Torchdeck]
DONE = Example("lr=0.01", ("optimizer.lr=0.01",), hits=355, place="cuda 0 on node1")
TENTH = Example("lr=0.1", ("optimizer.lr=0.1",), 0.6, 3, state="running", place="cuda 10 on node1")
SECOND = Example("lr=0.3", ("optimizer.lr=0.3",), 0.7, 5, state="running", place="cuda 2 on node1")
FAILED = Example("lr=9", ("optimizer.lr=9",), epochs=1, state="failed", reason="out of memory")
WAITS = Example("lr=2", ("optimizer.lr=2",), state="waiting", begun=False)
QUEUED = Example("lr=1", ("optimizer.lr=1",), state="running", begun=False, place="job 77 pending (Resources)")


async def opened(app: Torchdeck, pilot: Pilot[None], study: Path, *words: str) -> None:
    app.post_message(StudyRequested(study))
    await until(pilot, lambda: all(word in screen_text(app) for word in words))


async def test_a_running_study_tells_where_each_run_trains_and_how_far_it_is(make_app: MakeApp, tmp_path: Path) -> None:
    study = make_study(tmp_path / "logs", [DONE, TENTH, SECOND, QUEUED])
    app = make_app(page="runs")
    with at_work(study):
        async with app.run_test(size=(120, 40)) as pilot:
            await opened(app, pilot, study, "Workers", "Test accuracy", "pending (Resources)")
            shown = screen_text(app)
    lines = shown[shown.index("Workers") :].splitlines()[2:5]
    # Counted as a person counts, and the finished one is no more there.
    assert [line.split()[2] for line in lines] == ["2", "10", "77"]
    for told in ("6/8", "720", "90.55 %", "6.5 s"):
        assert told in lines[0]


async def test_on_a_small_screen_what_trains_is_the_first_view_and_goes_with_the_last_run(
    make_app: MakeApp, tmp_path: Path
) -> None:
    study = make_study(tmp_path / "logs", [DONE, TENTH])
    app = make_app(page="runs")
    with ExitStack() as held:
        held.enter_context(at_work(study))
        async with app.run_test(size=(80, 24)) as pilot:
            await opened(app, pilot, study, "Workers", "view 1 of 4")
            await pilot.press("v")
            await until(pilot, lambda: "Test accuracy" in screen_text(app) and "Workers" not in screen_text(app))
            await pilot.press("V")
            await until(pilot, lambda: "Workers" in screen_text(app))
            held.close()
            await until(pilot, lambda: "view 1 of 3" in screen_text(app) and "Test accuracy" in screen_text(app))
            assert "Workers" not in screen_text(app)


async def test_enter_on_what_trains_watches_it(make_app: MakeApp, tmp_path: Path) -> None:
    study = make_study(tmp_path / "logs", [DONE, TENTH])
    app = make_app(page="runs")
    with at_work(study):
        async with app.run_test(size=(120, 40)) as pilot:
            await opened(app, pilot, study, "Workers")
            await pilot.press("tab")
            await until(pilot, lambda: "1 lr=0.1" in screen_text(app))
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, LivePage) and "3/8 epochs" in screen_text(app))


async def test_a_place_with_a_hostile_name_is_only_text(make_app: MakeApp, tmp_path: Path) -> None:
    evil = "[red]x[/] \x1b]0;y\x07\x9b31m\u202e"
    bad = Example("lr=0.1", ("optimizer.lr=0.1",), 0.6, 3, state="running", place=evil)
    study = make_study(tmp_path / "logs", [bad])
    app = make_app(page="runs")
    with at_work(study):
        async with app.run_test(size=(120, 40)) as pilot:
            await opened(app, pilot, study, "Workers", "[red]x[/]")
            assert not any(sign in screen_text(app) for sign in "\x1b\x07\x9b\u202e")


def more(writer: RunWriter, seq: int, batch: int) -> int:
    """One more step of the fourth epoch; the seq that follows."""
    event = StepCompleted(
        phase="train", epoch=4, step=3 * STEPS + batch, batch=batch, batches=STEPS, loss=0.5, mean_loss=0.5,
        accuracy=0.9, lr=0.1, images_per_second=900.0,
    )  # fmt: skip
    writer.append(stamp(event, seq=seq, t=1.0, attempt=1))
    return seq + 1


def test_what_a_run_says_is_read_on_from_where_it_was(tmp_path: Path) -> None:
    study = make_study(tmp_path, [TENTH])
    (run,) = load_study(study).runs
    folder = tmp_path / str(run.run_id)
    writer, reader = reopen(folder), WorkersReader(study)
    (first,) = reader.read(load_study(study))
    assert (first.epoch, first.epochs, first.speed, first.doing) == (4, 8, 720.0, "")
    seq = load_record(folder).next_seq
    for batch in range(10, 21):
        seq = more(writer, seq, batch)
    (then,) = reader.read(load_study(study))
    assert then.speed == 900.0
    assert then.share == (3 * STEPS + 20) / (8 * STEPS)
    assert then.seconds_left is not None
    assert first.seconds_left is not None
    assert then.seconds_left < first.seconds_left
    ending = RunCompleted(status="stopped", reason="x", epoch=3, step=3 * STEPS + 20, train_seconds=1.0)
    writer.append(stamp(ending, seq=seq, t=1.0, attempt=1))
    (last,) = reader.read(load_study(study))
    assert last.doing == "starting"
    writer.close()
    assert reader.read(load_study(study)) == ()


def test_of_many_steps_at_once_the_last_counts_and_an_epoch_after_them_too(tmp_path: Path) -> None:
    study = make_study(tmp_path, [TENTH])
    folder = tmp_path / str(load_study(study).runs[0].run_id)
    writer, reader = reopen(folder), WorkersReader(study)
    record = load_record(folder)
    writer.append(stamp(StageStarted(message="compiling"), seq=record.next_seq, t=1.0, attempt=record.attempt))
    (begun,) = reader.read(load_study(study))
    assert begun.doing == "compiling"
    epoch = record.epochs[-1]
    seq = more(writer, record.next_seq + 1, 20)
    values = {name: getattr(epoch, name) for name in epoch.__dataclass_fields__}
    better = {**epoch.metrics, "test/accuracy": 0.99}
    done = EpochCompleted(**{**values, "epoch": 4, "step": 4 * STEPS, "metrics": better, "seq": seq})
    writer.append(done)
    (seen,) = reader.read(load_study(study))
    assert (seen.epoch, seen.accuracy, seen.share, seen.doing) == (4, 0.99, 0.5, "")
    writer.close()


def test_a_study_from_before_places_were_told_is_read(tmp_path: Path) -> None:
    study = make_study(tmp_path, [TENTH])
    content = json.loads((study / "study.json").read_bytes())
    for run in content["runs"]:
        del run["place"]
    (study / "study.json").write_text(json.dumps(content))
    with at_work(study):
        (seen,) = WorkersReader(study).read(load_study(study))
    assert seen.run.place == ""


async def answered(app: Torchdeck, pilot: Pilot[None], key: str, title: str, answer: str) -> None:
    """Press a key, and give one of the answers of the question that comes up."""
    await pilot.press(key)
    await until(pilot, lambda: title in screen_text(app) and app.screen.query(f"#answer-{answer}"))
    app.screen.query_one(f"#answer-{answer}", Button).press()
    await until(pilot, lambda: not app.screen.query(f"#answer-{answer}"))


async def test_one_run_is_stopped_when_that_is_confirmed_and_taken_up_again(make_app: MakeApp, tmp_path: Path) -> None:
    study = make_study(tmp_path / "logs", [DONE, TENTH, WAITS])
    app = make_app(page="runs")
    with at_work(study):
        async with app.run_test(size=(120, 40), notifications=True) as pilot:
            await opened(app, pilot, study, "Workers")
            await pilot.press("X", "t", "tab")
            await until(pilot, lambda: "X stops it" in screen_text(app))
            await answered(app, pilot, "X", "Stop run 1?", "")
            assert load_study(study).runs[1].wish == ""
            await answered(app, pilot, "X", "Stop run 1?", "stop")
            await until(pilot, lambda: "Run 1 stops after the current batch." in screen_text(app))
            assert load_study(study).runs[1].wish == "hold"
            await pilot.press("shift+tab", "end")
            await until(pilot, lambda: "X skips it" in screen_text(app))
            await answered(app, pilot, "X", "Skip run 2?", "stop")
            await until(pilot, lambda: "on hold until it is retried" in screen_text(app))
            await pilot.press("t")
            await until(pilot, lambda: "Run 2 is retried soon." in screen_text(app))
            assert load_study(study).runs[2].wish == "again"
            await until(pilot, lambda: "on hold" not in screen_text(app))


async def test_a_failed_run_of_an_idle_study_is_tried_again_where_one_says(make_app: MakeApp, tmp_path: Path) -> None:
    study = make_study(tmp_path / "logs", [DONE, FAILED])
    app, commands = make_app(page="runs"), list[Sequence[str]]()

    def noted(command: Sequence[str], log: Path) -> Lives:  # noqa: ARG001 - what starts a process is given both
        commands.append(command)
        return Lives()

    app.workspace.processes = StudyProcesses(noted)
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(app, pilot, study, "out of memory")
        await pilot.press("down")
        await until(pilot, lambda: "t retries it" in screen_text(app))
        await pilot.press("t")
        await until(pilot, lambda: app.screen.query("#dialog-input"))
        assert load_study(study).runs[1].state == "waiting"
        await pilot.press("enter")
        await until(pilot, lambda: commands)
    assert "--retry-failed" not in commands[0]


async def test_what_cannot_be_asked_of_a_run_is_told(make_app: MakeApp, tmp_path: Path) -> None:
    study = make_study(tmp_path / "logs", [DONE, TENTH])
    app = make_app(page="runs")
    with at_work(study):
        async with app.run_test(size=(120, 40), notifications=True) as pilot:
            await opened(app, pilot, study, "Workers")
            await pilot.press("tab")
            await until(pilot, lambda: "X stops it" in screen_text(app))
            await pilot.press("X")
            await until(pilot, lambda: app.screen.query("#answer-stop"))
            (study / "study.json").write_text("{")
            app.screen.query_one("#answer-stop", Button).press()
            await until(pilot, lambda: app.screen.query("Toast.-error"))
            assert "start the study again" in screen_text(app)


def test_a_place_without_a_run_waits_for_one(tmp_path: Path) -> None:
    study, other = make_study(tmp_path, [TENTH]), "other"
    with at_work(study):
        about = {"host": "node1", "slots": ["cuda 10", "cuda 11"], "cluster": ""}
        lock = take_lock(study / "parents" / f"{other}.lock", about=about)
        cluster = take_lock(study / "parents" / "third.lock", about={"slots": ["slurm 1"], "cluster": "Slurm"})
        reader = WorkersReader(study)
        seen = reader.read(load_study(study))
        # Of another process's two places the first is called as the running run's is.
        assert [(item.place, item.doing) for item in seen] == [
            ("cuda 10 on node1", ""), ("cuda 10 on node1", "idle"), ("cuda 11 on node1", "idle")
        ]  # fmt: skip
        for descriptor in (lock, cluster):
            os.close(descriptor)
        assert [item.doing for item in reader.read(load_study(study))] == [""]


def test_what_a_lock_file_tells_of_places_is_checked(tmp_path: Path) -> None:
    study = make_study(tmp_path, [DONE])
    (study / "parents").mkdir()
    held = [take_lock(study / "parents" / f"p{number}.lock", about=about) for number, about in enumerate(
        [{"slots": "x"}, {"slots": [1]}, {"slots": ["a"], "host": 3}, {"slots": ["a"] * 5000, "host": "h"}]
    )]  # fmt: skip
    assert [len(found) for found in coordinator_slots(study).values()] == [0, 0, 1, 1000]
    for lock in held:
        os.close(lock)
