"""Runs the benchmarks one after another, each a process of its own, and prints one table of what they found.

The short form takes a few minutes. The long one takes an hour or two, and has the other frameworks too where their
environment is there (`training_overhead.py --peers` tells how to make it).

Usage: python benchmarks/bench.py [--full] [--only NAME ...] [--write docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from blocks import figure_from
from peers import PEERS

FOLDER = Path(__file__).parent
SCRIPTS = (
    "training_overhead",
    "data_path",
    "precision",
    "tui_overhead",
    "startup",
    "logs",
    "scaling",
    "host_time",
    "time_to_accuracy",
)
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def run(name: str, full: bool) -> dict[str, Any] | None:
    """What a script found; None where it cannot be run here, which it says on stderr itself."""
    peers = ("--peers",) if name == "training_overhead" and PEERS.exists() else ()
    given = peers if full else ("--short",)
    shown = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", "--json", *given], stdout=subprocess.PIPE, check=False
    )
    return json.loads(shown.stdout) if shown.returncode == 0 else None


def rows(found: dict[str, Any]) -> list[str]:
    """The lines of the table that one script gives."""
    lines: list[str] = []
    for body in found["figures"]:
        item = figure_from(body)
        threads = f", {item.threads} threads" if (item.threads or 0) > 1 else ", 1 thread" if item.threads else ""
        cells = [item.name, item.value, item.quartiles, item.again, f"{item.clock}{threads}", str(item.pairs), item.bar]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def table(results: list[dict[str, Any]]) -> str:
    """One table of all figures, with the machine above it."""
    where = results[0]["machine"]
    versions = f"Python {where['python']}, torch {where['torch']}, Textual {where['textual']}"
    told = f"{where['date']}, {where['processor']} with {where['cpus']} CPUs, {where['system']}, {versions}."
    cards = [f"GPU: {item['card']}, {item['matrix_tflops']} TFLOP/s in bf16." for item in results if "card" in item]
    head = ["| figure | median | quartiles | A/A | clock | n | bar |", "|---|---|---|---|---|---|---|"]
    return "\n".join([" ".join([told, *cards]), "", *head, *(line for item in results for line in rows(item))])


def write(path: Path, text: str) -> None:
    """Put the table between the marks of a document."""
    content = path.read_text(encoding="utf-8")
    if BEGIN not in content or END not in content:
        sys.exit(f"{path} has no place for the figures: put {BEGIN} and {END} in it")
    before, _, rest = content.partition(BEGIN)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def main() -> None:
    """Run them, print the table, and write it where asked."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--full", action="store_true", help="the long form")
    made.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS)
    made.add_argument("--write", type=Path, help="a document to put the table into")
    asked = made.parse_args()
    results: list[dict[str, Any]] = []
    for name in asked.only:
        start = time.perf_counter()
        found = run(name, asked.full)
        print(f"{name}: {time.perf_counter() - start:.0f} s{'' if found else ', no figures'}", file=sys.stderr)
        results += [found] if found else []
    if not results:
        sys.exit("no benchmark gave a figure")
    text = table(results)
    print(text)
    if asked.write:
        write(asked.write, text)


if __name__ == "__main__":
    main()
