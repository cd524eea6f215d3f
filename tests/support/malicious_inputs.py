"""Texts that mean ill to a terminal, a page or a file system, and logs that have them in every place for a text."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from example_runs import Example, make_study

from torchdeck.core.runs.reader import load_record, write_caches

PAYLOADS: dict[str, str] = {
    "clear": "\x1b[2J\x1b[Hx",
    "title": "\x1b]0;owned\x07x",
    "clipboard": "\x1b]52;c;ZXZpbA==\x07x",
    "hyperlink": "\x1b]8;;http://evil.example\x1b\\x\x1b]8;;\x1b\\",
    "c1": "\x9b31mx\x9d0;t\x9c",
    "delete": "a\x7fb",
    "nul": "a\x00b",
    "bell": "a\x07b",
    "backspace": "a\x08\x08b",
    "return": "a\rb",
    "newline": "a\nb\n\nc",
    "tabs": "\t" * 300 + "x",
    "bidi": "\u202eevil\u202c x",
    "isolates": "\u2066a\u2067b\u2068c\u2069",
    "zero-width": "a\u200b\u200d\ufeffb",
    "surrogate": "a\ud800b\udfff",
    "tags": "a\U000e0001\U000e0041\U000e007f",
    "marks": "e" + "\u0301" * 500,
    "long": "x" * 1_000_000,
    "closing": "[/bold]x[/]",
    "action": "[@click=app.quit]x[/]",
    "link": "[link=http://evil.example]x[/link]",
    "markup": "[bold red on blue]x[/] [[x]] \\[x] \\",
    "format": "{} {0} {x!r} %s %n %(x)s ${HOME} `id` $(id)",
    "wide": "\u05d0\u05d1\u0627\u0644 \U0001f469\u200d\U0001f469\u200d\U0001f467 \u4e2d\u6587 \uff21",
    "path": "../../x/\u2028../etc/passwd <script>alert(1)</script><img src=x onerror=alert(1)>",
}
BIG = 10_000
ALONE = ("tabs", "marks", "long")


def groups() -> list[str]:
    """All payloads in a few texts, for what is slow to look at one by one."""
    rest = [text for name, text in PAYLOADS.items() if name not in ALONE]
    return [*(" ".join(rest[place : place + 6]) for place in range(0, len(rest), 6)), *(PAYLOADS[n] for n in ALONE)]


KEPT = {
    "kind", "phase", "status", "reproducible", "crc", "step_losses", "run_id", "study_id", "min_reader", "schema",
    "state", "shows", "at", "metric",
}  # fmt: skip
FAILURE = ("type", "message", "mend", "traceback")
FEW = {"name", "reason", "message", "title", "summary", "label", "note", "preset", "device_name"}
"""Where a text of a megabyte is put: everywhere would be a file that no reader takes."""


def run_id(number: int) -> str:
    """The id of the run that has the payload of this number."""
    return f"20270115-0800{number:02}-quickstart-{number:04}"


def poisoned(content: Any, text: str, key: str = "") -> Any:
    """JSON content with a text in the place of every other text that a person may see."""
    match content:
        case dict():
            return {name: poisoned(value, text, name) for name, value in content.items()}
        case list():
            return [poisoned(value, text, key) for value in content]
        case str() if key not in KEPT and (key in FEW or len(text) < BIG):
            return text
        case _:
            return content


def sealed(body: Any) -> bytes:
    """A line with the right checksum, as somebody who knows the format would forge it."""
    content = json.dumps(body, separators=(",", ":")).encode()[:-1]
    return content + b',"crc":"%08x"}\n' % zlib.crc32(content)


def poison_run(folder: Path, text: str) -> None:
    """Put a text everywhere into a run."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]
    made = [_event(event, text) for event in events]
    last = made.pop()
    extra: list[dict[str, Any]] = [
        {"kind": "StageStarted", "message": text},
        {"kind": "WarningRaised", "message": text},
        {"kind": "CommandApplied", "command": text, "reason": text},
        {"kind": "RolledBack", "step": 10**6, "to_step": 10**6, "lr_factor": 0.5, "reason": text},
        {"kind": "RunFailed", "error": {"kind": "crash", **dict.fromkeys(FAILURE, text)}},
    ]  # fmt: skip
    made += [{"seq": last["seq"] + number, "t": last["t"], "attempt": 1, **body} for number, body in enumerate(extra)]
    (folder / "events.jsonl").write_bytes(b"".join(map(sealed, made)))
    (folder / "curves.json").unlink()
    write_caches(folder, load_record(folder), curves=True)
    header = poisoned(json.loads((folder / "run.json").read_bytes()), text)
    header |= {"tags": [text, "kept"], "environment": {text[:BIG]: text}, "config": _config(header["config"], text)}
    (folder / "run.json").write_bytes(json.dumps(header).encode())
    (folder / "notes.json").write_bytes(json.dumps({"tags": [text, "later"], "note": text}).encode())
    (folder / "console.log").write_bytes(text.encode("utf-8", "surrogatepass"))


def _event(event: dict[str, Any], text: str) -> dict[str, Any]:
    made = poisoned({key: value for key, value in event.items() if key != "crc"}, text)
    if made["kind"] == "RunStarted":
        made["class_names"] = [f"{text[:BIG]}{number}" for number in range(10)]
        made["config"] = _config(made["config"], text)
    return made


def _config(config: dict[str, Any], text: str) -> dict[str, Any]:
    """Settings that nobody knows, and one that is known; the numbers stay."""
    short = text[:BIG]
    return {**config, short: {short: short}, "model": {**config["model"], "name": short, short: short}}


def make_hostile_logs(logs: Path) -> None:
    """A run for each payload, a study of all of them, and studies that have the payloads in their own texts."""
    names = list(PAYLOADS)
    examples = [Example("x", (f"optimizer.lr={0.01 + number / 1000}",), hits=300) for number in range(len(names))]
    study = make_study(logs, examples, tail="host")
    content = json.loads((study / "study.json").read_bytes())
    for number, text in enumerate(PAYLOADS.values()):
        short, item = text[:BIG], content["runs"][number]
        folder = logs / item["run_id"]
        folder.rename(logs / run_id(number))
        poison_run(logs / run_id(number), text)
        item |= {"run_id": run_id(number), "label": text, "reason": text, "preset": short}
        item["overrides"] = {"optimizer.lr": short, short: short}
    (study / "study.json").write_bytes(json.dumps(content).encode())
    for number, text in enumerate(groups()):
        short = text[:BIG]
        own = poisoned(content, text) | {
            "runs": [poisoned(content["runs"][number], text)], "notes": {short: text}, "varied": [short],
            "reported": [text], "given": [short], "study_id": f"20270115-13{number:04}-x-{number:04}",
        }  # fmt: skip
        place = logs / own["study_id"]
        place.mkdir()
        (place / "study.json").write_bytes(json.dumps(own).encode())


def make_hostile_presets(folder: Path) -> Iterator[Path]:
    """Presets of a person's own that have payloads in each of their texts; what TOML cannot hold is left out."""
    import tomli_w

    from torchdeck.core.config import to_plain
    from torchdeck.presets import load

    plain = to_plain(load("quickstart").config)
    (folder / "studies").mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(groups()):
        told = text.encode("utf-8", "ignore").decode()
        content = {"title": told, "summary": told, "notes": {"optimizer.lr": told}, **plain}
        path = folder / f"own-{number:02}.toml"
        path.write_bytes(tomli_w.dumps(content).encode())
        yield path
