import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from example_runs import Example, make_study
from PIL import Image

pytestmark = pytest.mark.usefixtures("forked_programs")

Shown = subprocess.CompletedProcess[str]
QUICK = ("training.epochs=1", "training.threads=1")


def environment(folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")}
    return {**kept, "TORCHDECK_LOGS": str(folder / "logs"), "TORCHDECK_DATA": str(folder / "data"), "COLUMNS": "200"}


def torchdeck(folder: Path, *arguments: str) -> Shown:
    command = [sys.executable, "-P", "-m", "torchdeck.tui.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(folder), timeout=120, check=False)


def json_of(shown: Shown) -> Any:
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


COMMANDS = [
    (), ("presets",), ("preset",), ("settings",), ("run",), ("resume",), ("runs",), ("show",), ("export",), ("doctor",),
    ("data",), ("data", "list"), ("data", "check"), ("data", "fetch"), ("study-result",), ("report",),
    ("attach",), ("stop",), ("pause",), ("checkpoint",),
    ("studies",), ("study",), ("sweep",), ("search",), ("study-status",), ("study-stop",), ("study-retry",),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example(command: tuple[str, ...], tmp_path: Path) -> None:
    shown = torchdeck(tmp_path, *command, "--help")
    assert shown.returncode == 0
    assert "Example: torchdeck" in shown.stdout


BAD: list[tuple[tuple[str, ...], str]] = [
    (("run", "lenet", "optimizer.lr=nan"), "optimizer.lr: must be a finite number"),
    (("run", "lenet", "model.nam=x"), "did you mean 'name'?"),
    (("run", "lenet", "training.batch_size=0"), "training.batch_size: must be greater than or equal to 1"),
    (("run", "lenett"), "did you mean 'lenet'?"),
    (("run", "quickstart", "training.batch_size=5000"), "more than the 1433 training images"),
    (("run", "quickstart", "training.batch_size=5000", "--detach"), "more than the 1433 training images"),
    (("run", "quickstart", "--logs", "/dev/null/logs", "--detach"), "--logs"),
    (("attach", "@last"), "torchdeck run quickstart"),
    (("run", "quickstart", "data.size=4", "--dry-run"), "set data.size to 16 or more"),
    (("run", "quickstart", "--device", "tpu"), "cuda:N"),
    (("run", "quickstart", "--logs", "/dev/null/logs"), "--logs"),
    (("run", "lenet", "data.download=false"), "torchdeck data fetch cifar10"),
    (("preset", "lenett"), "did you mean 'lenet'?"),
    (("settings", "modle"), "did you mean 'model'?"),
    (("show", "@last"), "torchdeck run quickstart"),
    (("resume", "abcd"), "torchdeck run quickstart"),
    (("export", "@last", "--to", "csv"), "torchdeck run quickstart"),
    (("export", "@last", "--to", "keras"), "keras"),
    (("study-result", "lenet-batch-size"), "--logs"),
    (("report", "@last", "--to", "report.html"), "torchdeck run quickstart"),
    (("report", "@last", "--to", "report.pdf"), ".html or .md"),
    (("data", "show", "quickstart"), "--to images.png"),
    (("data", "check", "cifar"), "did you mean 'cifar1"),
    (("data", "check", "cifar10"), "torchdeck data fetch cifar10"),
    (("runs", "statu:done"), "did you mean 'status'?"),
    (("trian",), "trian"),
    (("study", "lenet-batch"), "did you mean 'lenet-batch-size'?"),
    (("study", "lenet-batch-size", "--devices", "tpu"), "write cpu:2"),
    (("study", "lenet-batch-size", "--budget", "soon"), "or 1h30m"),
    (("study", "lenet-batch-size", "training.epochs=0"), "runs.1.training.epochs: must be greater"),
    (("sweep", "quickstart", "optimizer.lr=0.1"), "nothing varies"),
    (("sweep", "quickstart", "optimizer.lr=0.1,-1"), "optimizer.lr: must be greater"),
    (("sweep", "quickstart", "optimizer.lr=0.1,0.2", "--logs", "/dev/null/logs"), "--logs"),
    (("search", "quickstart", "optimizer.lr=log(0,1)"), "above 0"),
    (("study-status", "@last"), "torchdeck studies"),
    (("study-stop", "abcd"), "torchdeck studies"),
    (("study-retry", "abcd", "3"), "torchdeck studies"),
    (("study", "lenet-batch-size", "--join", "--new"), "leave one of them out"),
]


@pytest.mark.parametrize(("arguments", "told"), BAD)
def test_bad_input_is_one_clear_message_and_leaves_nothing(
    arguments: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    shown = torchdeck(tmp_path, *arguments)
    assert shown.returncode == 2, shown.stderr
    assert told in shown.stderr
    assert "Traceback" not in shown.stderr
    assert not shown.stdout
    assert not list(tmp_path.iterdir())


def test_a_truncated_archive_is_told_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar-10-python.tar.gz").write_bytes(b"\x1f\x8b half of it")
    shown = torchdeck(tmp_path, "run", "lenet")
    assert shown.returncode == 2
    assert "cifar-10-python.tar.gz is damaged" in shown.stderr
    assert "torchdeck data fetch cifar10" in shown.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "cifar-10-python.tar.gz"]


def test_a_run_from_its_first_line_to_its_export(tmp_path: Path) -> None:
    shown = torchdeck(tmp_path, "run", "quickstart", *QUICK, "--name", "first", "--tag", "x", "--json")
    assert shown.returncode == 0, shown.stderr
    events = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert events[-1]["kind"] == "RunCompleted"
    (row,) = json_of(torchdeck(tmp_path, "runs", "tag:x", "status:done", "--json"))
    assert (row["name"], row["preset"], row["epoch"]) == ("first", "quickstart", 1)
    seen = json_of(torchdeck(tmp_path, "show", "@last", "--json"))
    assert seen["parameters"] == 61_706
    assert set(seen["classes"]) == set("0123456789")
    assert seen["macro"]["f1"] > 0
    plain = torchdeck(tmp_path, "show", row["id"][-4:])
    assert "test/accuracy" in plain.stdout
    target = tmp_path / "epochs.csv"
    made = json_of(torchdeck(tmp_path, "export", "@best:quickstart", "--to", "csv", "-o", str(target), "--json"))
    assert made["file"] == str(target)
    assert len(target.read_text().splitlines()) == 2


def test_a_study_is_shown_reported_and_exported(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    folder = make_study(logs, [Example("near", hits=350), Example("far", ("optimizer.lr=0.5",), 0.9, hits=200)],
                        shows=["landscape", "regularization"])  # fmt: skip
    shown = torchdeck(tmp_path, "study-result", "example")
    assert shown.returncode == 0, shown.stderr
    for words in (
        "An example",
        "near",
        "the difference of 41.2 points is more than noise",
        "Loss of every step",
        "Gap",
    ):
        assert words in shown.stdout
    found = json_of(torchdeck(tmp_path, "study-result", folder.name[-4:], "--json"))
    assert [row["label"] for row in found["rows"]] == ["near", "far"]
    made = json_of(torchdeck(tmp_path, "export", "example", "--to", "csv", "-o", str(tmp_path / "a.csv"), "--json"))
    assert made["files"] == [str(tmp_path / "a.csv"), str(tmp_path / "a-steps.csv")]
    refused = torchdeck(tmp_path, "export", "example", "--to", "safetensors")
    assert refused.returncode == 2
    assert "a study has no weights" in refused.stderr


def test_a_study_with_hostile_names_reaches_the_terminal_as_text(tmp_path: Path) -> None:
    text = "[red]\x1b[31m\x07x"
    make_study(tmp_path / "logs", [Example(text, hits=350), Example(text + "y", ("optimizer.lr=0.5",), hits=200)],
               title=text, summary=text, reported=[text])  # fmt: skip
    shown = torchdeck(tmp_path, "study-result", "example")
    assert shown.returncode == 0, shown.stderr
    assert "[red][31mx" in shown.stdout
    assert not set("\x1b\x07") & set(shown.stdout)


def test_results_go_to_stdout_and_progress_to_stderr(tmp_path: Path) -> None:
    shown = torchdeck(tmp_path, "run", "quickstart", *QUICK)
    assert shown.returncode == 0
    assert "epoch 1/1" in shown.stderr
    assert "test/accuracy" in shown.stdout
    assert "epoch 1/1" not in shown.stdout


def test_a_dry_run_is_one_object_and_leaves_nothing(tmp_path: Path) -> None:
    plan = json_of(
        torchdeck(
            tmp_path,
            "run",
            "lenet",
            "training.batch_size=64",
            "training.epochs=9",
            "--device",
            "cpu",
            "--dry-run",
            "--json",
        )
    )
    assert (plan["parameters"], plan["steps_per_epoch"], plan["device"]) == (62_006, 782, "cpu")
    assert round(plan["forward_flops"] / 1e6, 2) == 1.30
    assert plan["config"]["training"]["precision"] == "fp32"
    assert not list(tmp_path.iterdir())


def test_a_killed_run_is_resumed_and_told_truly_at_every_point(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "torchdeck.tui.cli",
        "run",
        "quickstart",
        "training.epochs=100000",
        "training.threads=1",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(tmp_path)) as process:
        assert process.stdout
        for line in process.stdout:
            event = json.loads(line)
            if event["kind"] == "CheckpointSaved" and event["epoch"] >= 3:
                break
        assert json_of(torchdeck(tmp_path, "show", "@last", "--json"))["status"] == "running"
        process.send_signal(signal.SIGKILL)
    before = json_of(torchdeck(tmp_path, "show", "@last", "--json"))
    assert before["status"] == "died"
    saved = max(event["step"] for event in before["history"])
    with subprocess.Popen(
        [*command[:4], "resume", "@last", "--json"], stdout=subprocess.PIPE, text=True, env=environment(tmp_path)
    ) as process:
        assert process.stdout
        kinds: list[str] = []
        for line in process.stdout:
            event = json.loads(line)
            kinds.append(event["kind"])
            if event["kind"] == "RunStarted":
                assert event["attempt"] == 2
                assert saved - 23 <= event["resumed_from"] <= saved
            if event["kind"] == "EpochCompleted":
                process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    after = json_of(torchdeck(tmp_path, "show", "@last", "--json"))
    assert (after["status"], after["attempt"]) == ("stopped", 2)
    assert [epoch["epoch"] for epoch in after["history"]] == list(range(1, len(after["history"]) + 1))


def test_output_that_nobody_takes_is_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "torchdeck.tui.cli", "settings", "--json"]
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, env=environment(tmp_path)) as process:
        os.close(writing)
        _, errors = process.communicate(timeout=60)
    assert b"Traceback" not in errors


def test_doctor_tells_versions_and_devices(tmp_path: Path) -> None:
    found = json_of(torchdeck(tmp_path, "doctor", "--json"))
    assert {"torch", "cpu", "data folder", "logs folder", "terminal"} <= set(found)
    assert found["training.device=auto"].startswith("c")
    assert "digits" in found["data sets here"]


def test_lists_can_be_read_by_scripts(tmp_path: Path) -> None:
    assert len(json_of(torchdeck(tmp_path, "presets", "--json"))) == 21
    assert json_of(torchdeck(tmp_path, "preset", "lenet", "--json"))["reported"][0]["value"] == 0.5336
    here = {row["name"]: row["here"] for row in json_of(torchdeck(tmp_path, "data", "list", "--json"))}
    assert (here["digits"], here["cifar10"]) == ("yes", "no")
    assert json_of(torchdeck(tmp_path, "data", "check", "digits", "--json"))["test_images"] == 364
    assert json_of(torchdeck(tmp_path, "runs", "--json")) == []


def test_a_finished_run_is_used_resumed_and_started_from(tmp_path: Path) -> None:
    assert torchdeck(tmp_path, "run", "quickstart", *QUICK).returncode == 0
    picture = tmp_path / "picture.png"
    Image.new("L", (40, 40), 200).save(picture)
    lines = torchdeck(tmp_path, "predict", "@last", str(picture), str(tmp_path), "--json").stdout.splitlines()
    assert [json.loads(line)["path"] for line in lines] == [str(picture)] * 2
    assert len(json.loads(lines[0])["classes"]) == 3
    assert torchdeck(tmp_path, "predict", "@last", str(picture)).stdout.count("%") == 3
    assert torchdeck(tmp_path, "predict", "@last", str(picture), "--top", "1", "--csv").stdout.count(",") == 2
    (tmp_path / "broken.png").write_bytes(b"x")
    broken = torchdeck(tmp_path, "predict", "@last", str(tmp_path), "--csv")
    assert (broken.returncode, broken.stdout.count("picture.png")) == (2, 1)
    assert "broken.png" in broken.stderr
    assert json_of(torchdeck(tmp_path, "evaluate", "@last", "--json"))["images"] == 364
    assert "macro mean" in torchdeck(tmp_path, "evaluate", "@last", "data.test_limit=50").stdout
    longer = torchdeck(tmp_path, "resume", "@last", "training.epochs=2")
    assert "attempt 2" in longer.stderr
    wrong = torchdeck(tmp_path, "resume", "@last", "model.name=resnet9")
    assert (wrong.returncode, "cannot change within a run" in wrong.stderr) == (2, True)
    started = torchdeck(tmp_path, "run", "quickstart", *QUICK, "--from", "@last")
    assert "starts from run " in started.stderr
