import json
from pathlib import Path

import pytest

from torchdeck.core.runs.index import list_runs
from torchdeck.core.runs.reader import load_record
from torchdeck.core.studies.store import load_study, study_folders

ROOT = Path(__file__).parents[3]
LOGS = ROOT / "logs" / "reference"

pytestmark = pytest.mark.skipif(not LOGS.is_dir(), reason="the reference logs are not here")


def test_every_reference_log_opens_without_a_warning() -> None:
    rows = list_runs(LOGS)
    assert rows
    assert {row.id: row.problem for row in rows if row.problem} == {}
    records = {row.id: load_record(row.folder) for row in rows}
    # Warnings of the training itself are part of its log.
    logged = {row.id: (row.folder / "events.jsonl").read_text(encoding="utf-8") for row in rows}
    found = {
        run_id: [warning for warning in record.warnings if json.dumps(warning) not in logged[run_id]]
        for run_id, record in records.items()
    }
    assert {run_id: warnings for run_id, warnings in found.items() if warnings} == {}
    assert {record.status for record in records.values()} == {"completed"}


def test_every_reference_study_opens() -> None:
    assert {len(load_study(folder).runs) > 1 for folder in study_folders(LOGS)} == {True}
