"""Every preset trains, stops and resumes in a new process on a GPU."""

from pathlib import Path

import pytest
from gpu_process import stops_and_resumes
from presets_on_noise import PRESETS

PRECISIONS = ("fp16", "bf16", "fp32")
TWO = ("lenet", "resnet9")
"""Networks that are tried in every precision."""
EACH = [(name, PRECISIONS[number % 3]) for number, name in enumerate(PRESETS) if name not in TWO]
"""Each other preset once, the precisions in turn."""


@pytest.mark.parametrize(("preset", "precision"), [*EACH, *((name, each) for name in TWO for each in PRECISIONS)])
def test_a_preset_trains_stops_and_resumes_in_a_new_process(preset: str, precision: str, tmp_path: Path) -> None:
    stops_and_resumes(tmp_path, preset, {"training.precision": precision})
