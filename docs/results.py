"""Writes docs/results/: the report of every study in logs/reference, as Markdown with its pictures.

Usage: python docs/results.py
"""

from __future__ import annotations

from pathlib import Path

from torchdeck.core.studies.store import load_study, study_folders
from torchdeck.tui.report.write import write_report

DOCS = Path(__file__).parent


def main() -> None:
    """Replace the report of each study."""
    for folder in study_folders(DOCS.parent / "logs" / "reference"):
        study = load_study(folder)
        (DOCS / "results").mkdir(exist_ok=True)
        write_report(study, folder.parent, DOCS / "results" / f"{study.name}.md", force=True)


if __name__ == "__main__":
    main()
