import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from example_runs import Example, make_example_runs, make_hostile_run, make_study
from repository import ROOT

from torchdeck.core.errors import InputError
from torchdeck.core.runs.index import find_run
from torchdeck.core.studies.store import find_either
from torchdeck.tui.report.write import write_report

pytest.importorskip("matplotlib", reason="matplotlib comes with the extra named report")
NOW = 1_800_000_000.0
HOSTILE = "<script>alert(1)</script> \x1b[31m$\\frac{a}$ _`|&\"'"
VOID = {"meta", "img", "br", "rect", "path", "use"}


class Page(HTMLParser):
    """What a page would load, run and show, and whether every element that opens closes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.scripts = 0
        self.open: list[str] = []
        self.ids: list[str] = []
        self.shown = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.scripts += tag in ("script", "iframe", "link", "object") or any(name.startswith("on") for name in given)
        self.loads += [value for name in ("src", "href") if (value := given.get(name))]
        self.ids += [given["id"] or ""] if "id" in given else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.shown += data


def study_page(logs: Path, target: Path) -> Page:
    write_report(find_either(logs, "example"), logs, target, False)
    return Page(target.read_text(encoding="utf-8"))


RUNS = (
    Example("small steps", ("optimizer.lr=0.01",), 0.05, hits=350),
    Example("large steps", ("optimizer.lr=0.5",), 0.9, hits=300),
    Example("too large", ("optimizer.lr=1",), 2.0, 1, state="failed", reason="the loss is no longer finite"),
)
ALL = ["table", "curves", "landscape", "regularization", "batch-size", "comparison", "time-to-accuracy"]


def test_a_study_is_one_page_that_loads_nothing(tmp_path: Path) -> None:
    make_study(tmp_path / "logs", RUNS, shows=ALL)
    page = study_page(tmp_path / "logs", tmp_path / "a.html")
    assert [name for name in page.loads if not name.startswith(("#", "data:image/png;base64,"))] == []
    assert page.scripts == 0
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    text = (tmp_path / "a.html").read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert {f"url(#{name})" for name in page.ids} >= set(re.findall(r"url\([^)]*\)", text))
    assert [path.name for path in tmp_path.iterdir() if path.name != "logs"] == ["a.html"]


def test_a_study_tells_its_figures_and_how_to_repeat_it(tmp_path: Path) -> None:
    make_study(tmp_path / "logs", RUNS, shows=ALL, reported=["the smaller step wins"])
    shown = study_page(tmp_path / "logs", tmp_path / "a.html").shown
    for words in (
        "An example",
        "the smaller step wins",
        "small steps reached the highest test accuracy",
        "is more than noise (p < 0.001)",
        "the loss is no longer finite",
        "Loss of every step",
        "Gap: train less test accuracy, in points",
        "Confusion matrix",
        "small steps: 6 filters of 5×5",
        "torchdeck run quickstart optimizer.lr=0.01 training.epochs=8",
    ):
        assert words in shown


def test_a_run_tells_its_classes_settings_and_command(tmp_path: Path) -> None:
    make_example_runs(tmp_path / "logs", NOW)
    write_report(find_run(tmp_path / "logs", "aaaa"), tmp_path / "logs", tmp_path / "run.html", False)
    page = Page((tmp_path / "run.html").read_text())
    assert page.open == []
    for words in ("first", "macro mean", "training.batch_size", "Example GPU", "torchdeck run quickstart", "reached"):
        assert words in page.shown


def test_a_run_without_an_epoch_has_a_report_too(tmp_path: Path) -> None:
    make_study(tmp_path / "logs", [Example("a", epochs=0, state="failed", reason="no memory")])
    page = study_page(tmp_path / "logs", tmp_path / "a.html")
    assert "No run has a test accuracy yet." in page.shown
    write_report(find_run(tmp_path / "logs", "ee00"), tmp_path / "logs", tmp_path / "run.html", False)
    assert "no memory" in Page((tmp_path / "run.html").read_text()).shown


def test_text_from_files_is_only_ever_text(tmp_path: Path) -> None:
    folder = make_study(
        tmp_path / "logs",
        [Example(HOSTILE, floor=0.02, hits=350), Example(HOSTILE + "2", ("optimizer.lr=1",), hits=300)],
        title=HOSTILE, summary=HOSTILE, reported=[HOSTILE], notes={HOSTILE: HOSTILE}, shows=ALL,
    )  # fmt: skip
    page = study_page(folder.parent, tmp_path / "a.html")
    assert page.scripts == 0
    assert page.open == []
    assert "<script>alert(1)</script>" in page.shown
    assert "\x1b" not in page.shown
    make_hostile_run(tmp_path / "runs", NOW, HOSTILE)
    for target in (tmp_path / "run.html", tmp_path / "run.md"):
        write_report(find_run(tmp_path / "runs", "dddd"), tmp_path / "runs", target, False)
    page = Page((tmp_path / "run.html").read_text())
    assert (page.scripts, page.open) == (0, [])
    text = (tmp_path / "run.md").read_text()
    assert "<script" not in text.replace("\\<script", "")
    assert "\x1b" not in text


def test_markdown_has_its_pictures_beside_it(tmp_path: Path) -> None:
    make_study(tmp_path / "logs", RUNS, shows=ALL)
    files = write_report(find_either(tmp_path / "logs", "example"), tmp_path / "logs", tmp_path / "my report.md", False)
    text = (tmp_path / "my report.md").read_text()
    linked = re.findall(r"\]\((my%20report-figures/[^)]*)\)", text)
    assert sorted(linked) == sorted(f"my%20report-figures/{path.name}" for path in files[1:])
    assert all(path.stat().st_size > 200 for path in files[1:])
    svg = (tmp_path / "my report-figures" / "over-time.svg").read_text()
    assert svg.startswith("<svg xmlns=")
    assert "var(" not in svg
    tables = [line for line in text.splitlines() if line.startswith("| ")]
    assert "small steps" in " ".join(tables)


def test_a_report_replaces_nothing_unless_it_is_told_to(tmp_path: Path) -> None:
    make_study(tmp_path / "logs", RUNS[:1])
    found = find_either(tmp_path / "logs", "example")
    for name in ("a.html", "a.md"):
        write_report(found, tmp_path / "logs", tmp_path / name, False)
        with pytest.raises(InputError, match="--force"):
            write_report(found, tmp_path / "logs", tmp_path / name, False)
        write_report(found, tmp_path / "logs", tmp_path / name, True)
    with pytest.raises(InputError, match="cannot be written"):
        write_report(found, tmp_path / "logs", tmp_path / "nowhere" / "a.html", False)


def test_a_report_is_the_same_each_time_it_is_made(tmp_path: Path) -> None:
    make_study(tmp_path / "logs", RUNS[:2], shows=ALL)
    for name in ("a.html", "b.html"):
        study_page(tmp_path / "logs", tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize(("package", "command"), [
    ("matplotlib", ("report", "eeee", "--to", "{}/a.html")),
    ("tensorboard", ("export", "ee00", "--to", "tensorboard", "--output", "{}/events")),
])  # fmt: skip
def test_what_an_extra_would_bring_is_named_with_the_way_to_get_it(
    tmp_path: Path, package: str, command: tuple[str, ...]
) -> None:
    make_study(tmp_path / "logs", RUNS[:1])
    arguments = [part.format(tmp_path) for part in command] + ["--logs", str(tmp_path / "logs")]
    code = f"import sys; sys.modules['{package}'] = None; sys.argv[1:] = {arguments!r}\n"
    code += "from torchdeck.tui.cli.main import main; main()"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 2
    assert f"needs {package}" in shown.stderr
    assert "uv run --extra" in shown.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


@pytest.mark.parametrize(
    ("about", "command"),
    [
        ({"name": "lenet-tuning"}, "torchdeck study lenet-tuning"),
        (
            {"kind": "grid", "preset": "quickstart", "given": ["optimizer.lr=0.1,0.2"]},
            "torchdeck sweep quickstart optimizer.lr=0.1,0.2",
        ),
    ],
)
def test_a_study_is_repeated_by_one_command(about: dict[str, Any], command: str, tmp_path: Path) -> None:
    name = about.get("name", "example")
    make_study(tmp_path / "logs", RUNS, **about)
    write_report(find_either(tmp_path / "logs", name), tmp_path / "logs", tmp_path / "a.html", False)
    assert command in Page((tmp_path / "a.html").read_text()).shown
