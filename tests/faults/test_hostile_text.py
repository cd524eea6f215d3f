"""Text from files and from the command line reaches no terminal as control bytes or markup, and no page as HTML."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from app_driver import until
from fault_counts import Faults
from malicious_inputs import BIG, PAYLOADS, groups, make_hostile_logs, make_hostile_presets, run_id
from rich.console import Console as RichConsole
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Label, OptionList, Static
from typer.main import get_command

from torchdeck.core.runs.reader import EventReader
from torchdeck.core.studies.store import study_folders
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.cli import main as cli
from torchdeck.tui.format.values import MAX_TEXT_LENGTH, safe
from torchdeck.tui.screens.dialogs import ConfirmDialog, TextDialog
from torchdeck.tui.state.feed import Feed
from torchdeck.tui.state.messages import Mode, StudyRequested

NAMES = list(PAYLOADS)
STUDY = "20270115-120000-example-host"


def unsafe(text: str, spared: str = "\n") -> set[str]:
    """Signs that could do something to a terminal."""
    return {sign for sign in set(text) - set(spared) if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


# The cleaning itself


@pytest.mark.parametrize("name", NAMES)
def test_a_cleaned_text_is_one_line_without_control_signs(name: str) -> None:
    cleaned = safe(PAYLOADS[name])
    assert unsafe(cleaned, "") == set()
    assert len(cleaned) <= MAX_TEXT_LENGTH + 1
    assert safe(cleaned) == cleaned
    cleaned.encode()


def test_what_people_write_stays_as_it_is() -> None:
    for text in ("[red]x[/red]", "Zürich 猫 e\u0301 \u05e9\u05b8\u05c1", "a\\b {} %s", "☃ ½ …", "x" * MAX_TEXT_LENGTH):
        assert safe(text) == text
    assert safe("e" + "\u0301" * 99) == "e" + "\u0301" * 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hostile logs to copy."""
    logs = tmp_path_factory.mktemp("made") / "logs"
    make_hostile_logs(logs)
    return logs


@pytest.fixture
def hostile(made: Path, tmp_path: Path) -> Path:
    """Hostile logs of the test's own."""
    return shutil.copytree(made, tmp_path / "logs")


# The command line


@pytest.fixture
def said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process: its exit code, and the text on stdout and stderr."""
    monkeypatch.setenv("TORCHDECK_LOGS", str(tmp_path / "logs"))
    monkeypatch.setenv("TORCHDECK_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    # What the commands are is worked out once, not for each of hundreds.
    monkeypatch.setattr(cli, "app", get_command(cli.app))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["torchdeck", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsysbinary.readouterr()
        return code, out.decode(), err.decode()

    return run


Said = Callable[..., tuple[int, str, str]]


@pytest.mark.usefixtures("hostile")
def test_no_command_that_shows_logs_prints_a_control_byte(tmp_path: Path, said: Said, faults: Faults) -> None:
    commands: list[tuple[str, ...]] = [
        ("runs",), ("runs", "--json"), ("runs", "tag:kept"), ("studies",), ("studies", "--json"), ("doctor",),
        ("doctor", "--json"), ("study-status", "host"), ("study-status", "host", "--json"), ("study-result", "host"),
        ("study-result", "host", "--json"), ("study-result", "host", "--ascii"),
        ("export", "host", "--to", "csv", "-o", "a.csv"),
    ]  # fmt: skip
    for number in range(len(NAMES)):
        commands += [("show", run_id(number)), ("show", run_id(number), "--json")]
    for number in range(len(groups())):
        study = f"20270115-13{number:04}-x-{number:04}"
        commands += [("study-status", study), ("study-result", study)]
    for command in commands:
        code, out, err = said(*command)
        assert (code, err) == (0, ""), (command, err)
        assert unsafe(out) == set(), command
        if "--json" in command:
            json.loads(out)
    faults("hostile texts", len(commands))
    # A label of a megabyte does not stand in every line.
    assert max(path.stat().st_size for path in tmp_path.glob("a*.csv")) < 2**20


def test_no_command_that_shows_presets_prints_a_control_byte(tmp_path: Path, said: Said, faults: Faults) -> None:
    own = list(make_hostile_presets(tmp_path / "presets"))
    for command in (("presets",), ("presets", "--json"), *(("preset", path.stem) for path in own)):
        code, out, err = said(*command)
        # The one of a megabyte is too large for a preset, which does not hide the others.
        assert (code, "larger than 64 KiB" in err) in ((0, command[0] == "presets"), (2, True)), (command, err)
        assert unsafe(out + err) == set(), command
    faults("hostile texts", len(own))


COMMANDS: list[tuple[str, ...]] = [
    ("show", "{}"), ("export", "{}", "--to", "csv"), ("report", "{}", "--to", "a.html"), ("resume", "{}"),
    ("run", "{}"), ("run", "quickstart", "{}"), ("run", "quickstart", "optimizer.lr={}"), ("preset", "{}"),
    ("run", "quickstart", "model.name={}", "--dry-run"), ("settings", "{}"), ("runs", "status:{}"), ("runs", "{}<1"),
    ("data", "check", "{}"), ("data", "fetch", "{}"), ("study", "{}"), ("study", "./{}.toml"), ("study-status", "{}"),
    ("study-result", "{}"), ("study-stop", "{}"), ("sweep", "{}", "optimizer.lr=1,2"),
    ("sweep", "lenet", "optimizer.{}=1,2"), ("search", "lenet", "optimizer.lr=log({},1)"),
    ("study", "lenet-l2", "--devices", "{}"), ("study", "lenet-l2", "--budget", "{}"), ("{}",), ("run", "--{}"),
    ("runs", "--logs", "{}"), ("run", "quickstart", "--device", "{}"), ("serve", "--port", "{}"),
    ("tui", "--page", "{}"), ("study-status", "@last", "--logs", "{}"), ("show", "@best:{}"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_error_message_repeats_a_control_byte(
    tmp_path: Path, said: Said, faults: Faults, command: tuple[str, ...]
) -> None:
    (tmp_path / "logs").mkdir()
    for text in PAYLOADS.values():
        code, out, err = said(*(part.replace("{}", text[:BIG]) for part in command))
        assert code in (0, 2), (code, err[:500])
        assert "internal error" not in err
        assert unsafe(out + err) == set()
    faults("hostile texts", len(PAYLOADS))


# Reports


class Tags(HTMLParser):
    """What of a page does something, or fetches something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kept = [(name, value or "") for name, value in attrs]
        acts = [(name, value) for name, value in kept if name.startswith("on")]
        fetches = [(n, v) for n, v in kept if n in ("href", "src", "xlink:href") and not v.startswith(("#", "data:"))]
        self.found += [(tag, *pair) for pair in acts + fetches]
        if tag in ("script", "iframe", "object", "embed", "form"):
            self.found.append((tag, "", None))


@pytest.mark.usefixtures("hostile")
def test_a_report_takes_no_text_for_html_or_markdown(tmp_path: Path, said: Said, faults: Faults) -> None:
    format_run, path_run = (run_id(NAMES.index(name)) for name in ("format", "path"))
    for reference, file in (("host", "a.html"), ("host", "b.md"), (format_run, "c.html"), (path_run, "d.html")):
        assert said("report", reference, "--to", file) == (0, f"{file}\n", "")
        text = (tmp_path / file).read_text()
        assert unsafe(text) == set()
        if file.endswith("html"):
            assert Tags(text).found == []
            continue
        prose = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
        assert re.findall(r"(?<!\\)<", prose) == []
        assert all(link.startswith("b-figures/") for link in re.findall(r"(?<!\\)\]\(([^)]*)\)", prose))
    faults("hostile texts", len(NAMES) + 2)


def test_printed_as_it_is_the_same_text_reaches_the_terminal() -> None:
    file = io.StringIO()
    RichConsole(file=file, width=100).print(PAYLOADS["title"], markup=False)
    assert "\x1b]0;owned" in file.getvalue()


# The app


class Seen:
    """Looks at every strip that a screen draws, again and again."""

    def __init__(self, app: App[None], pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot
        self.looks = 0
        self.text = ""

    async def look(self, spared: str = "") -> None:
        """Let the app draw; no segment has a control sign, a link, or an action that a text brought."""
        await self.pilot.pause(0.02)
        strips = self.app.screen._compositor.render_strips()
        segments = [segment for strip in strips for segment in strip]
        self.text = "".join(segment.text for segment in segments)
        assert unsafe(self.text, spared) == set(), (self.app.screen, self.text)
        for style in {segment.style for segment in segments if segment.style}:
            assert not style.link
            assert "quit" not in str(style.meta.get("@click"))
        self.looks += 1
        assert self.app.is_running
        assert unsafe(self.app.title + self.app.sub_title) == set()

    async def page(self, mode: Mode) -> None:
        """Go to a page, or have it show what is there now."""
        self.app.action_show(mode)  # type: ignore[attr-defined]
        await until(self.pilot, lambda: self.app.current_mode == mode and getattr(self.app.screen, "ready", False))
        self.app.screen.activate()  # type: ignore[attr-defined]
        await self.look()


def nothing(*_: object) -> None:
    """A run that cannot be asked."""


def feed_of(folder: Path) -> Feed:
    return Feed(lambda: EventReader(folder).read(), nothing, own=False)


async def test_the_pages_of_runs_take_text_from_a_log_for_no_more_than_text(
    hostile: Path, make_app: Callable[..., Torchdeck], faults: Faults
) -> None:
    app = make_app(hostile, page="runs")
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        seen = Seen(app, pilot)
        await seen.page("runs")
        for number, (name, text) in enumerate(PAYLOADS.items()):
            app.screen._table.go_to(run_id(number))  # type: ignore[attr-defined]
            await seen.look()
            while name in ("closing", "action", "link") and text not in seen.text:
                await seen.look()
        for number in range(len(NAMES)):
            app.workspace.chosen = run_id(number)
            await seen.page("analyze")
        for number, text in enumerate(PAYLOADS.values()):
            app.captured_output.add(text[:BIG])
            app.workspace.feed = feed = feed_of(hostile / run_id(number))
            feed.iterate()
            await until(pilot, lambda feed=feed: feed.over)
            await seen.page("live")
        for number in range(0, len(NAMES), 8):
            app.workspace.marked[:] = list(map(run_id, range(len(NAMES))))[number : number + 8]
            await seen.page("compare")
        app.action_help()
        await seen.look()
        faults("hostile texts", seen.looks)


async def test_the_questions_about_a_run_take_text_from_a_log_for_no_more_than_text(
    hostile: Path, make_app: Callable[..., Torchdeck], faults: Faults
) -> None:
    app = make_app(hostile, page="runs")
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        seen = Seen(app, pilot)
        await seen.page("runs")
        page = app.screen
        for number in range(len(NAMES)):
            page._table.go_to(run_id(number))  # type: ignore[attr-defined]
            # A few above each other: to close each would be to draw the page anew.
            for ask in ("trash", "tags", "note"):
                below = app.screen
                getattr(page, f"action_{ask}")()
                await until(
                    pilot,
                    lambda below=below: isinstance(app.screen, ConfirmDialog | TextDialog) and app.screen != below,
                )
                await seen.look()
                assert ask == "trash" or run_id(number) in seen.text
            if number % 4 == 3 or number == len(NAMES) - 1:
                page.pop_until_active()
                await until(pilot, lambda: app.screen is page)
        faults("hostile texts", seen.looks)


async def test_the_pages_of_studies_and_presets_take_text_for_no_more_than_text(
    hostile: Path, make_app: Callable[..., Torchdeck], tmp_path: Path, faults: Faults
) -> None:
    list(make_hostile_presets(tmp_path / "presets"))
    app = make_app(hostile)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        seen = Seen(app, pilot)
        await seen.page("setup")
        for name in app.screen._presets:  # type: ignore[attr-defined]
            if name.startswith("own-"):
                options = app.screen.query_one("#presets", OptionList)
                options.highlighted = options.get_option_index(name)
                await seen.look()
                await app.screen._show_draft()  # type: ignore[attr-defined]
                await seen.look()
        app.post_message(StudyRequested(None))
        await until(pilot, lambda: app.screen.id != "x" and app.screen.query("#studies-table"))
        await seen.look()
        app.pop_screen()
        for folder in study_folders(hostile):
            app.post_message(StudyRequested(folder))
            await until(pilot, lambda: bool(app.screen.query("#study-table")))
            await until(pilot, lambda: app.screen._snapshot is not None)  # type: ignore[attr-defined]
            await seen.look()
            app.pop_screen()
        faults("hostile texts", seen.looks)


async def test_a_widget_of_textual_as_it_is_passes_control_signs_and_takes_markup() -> None:
    class Raw(App[None]):
        def compose(self):  # type: ignore[no-untyped-def]
            yield Static(PAYLOADS["title"], markup=False)
            yield Label(PAYLOADS["action"])

    app = Raw()
    async with app.run_test() as pilot:
        await pilot.pause()
        segments = [segment for strip in app.screen._compositor.render_strips() for segment in strip]
    assert any("\x1b" in segment.text for segment in segments)
    assert any("@click" in segment.style.meta for segment in segments if segment.style)
