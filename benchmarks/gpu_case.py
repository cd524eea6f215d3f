"""What the checks of the acceptance run share: settings, runs that must not fail, and notes of what was found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from presets_on_noise import on_noise

from torchdeck import presets
from torchdeck.core.config import ExperimentConfig, parse_config, to_plain
from torchdeck.core.control import Control
from torchdeck.core.events import EpochCompleted, RunCompleted, RunEvent, RunFailed, StepCompleted
from torchdeck.core.runs import checkpoint
from torchdeck.core.runs.reader import load_record
from torchdeck.core.session.session import SessionContext, run

CHECKS = Path(__file__).parent / "gpu_checks.py"


@dataclass(slots=True)
class Case:
    """The surroundings of a check, and what it found."""

    folder: Path
    data: Path
    seconds: float
    rehearse: bool
    figures: dict[str, Any] = field(default_factory=dict[str, Any])
    wrong: list[str] = field(default_factory=list[str])

    def expect(self, holds: bool, otherwise: str, *, number: bool = True) -> None:
        """Note what does not hold; numbers mean nothing in a rehearsal."""
        if not holds and not (number and self.rehearse):
            self.wrong.append(otherwise)

    def config(self, preset: str, changes: Mapping[str, Any] = {}) -> ExperimentConfig:
        """A preset on the GPU, changed; in a rehearsal on a little noise."""
        if self.rehearse:
            small = {
                key: value for key, value in changes.items() if key not in ("training.batch_size", "training.epochs")
            }
            small |= {"training.epochs": min(2, changes.get("training.epochs", 1)), "training.batch_size": 16}
            return on_noise(preset, {"training.device": "cuda", **small}, steps=6)
        content = to_plain(presets.load(preset).config)
        for key, value in {"training.device": "cuda", **changes}.items():
            section, name = key.split(".")
            content[section][name] = value
        return parse_config(content)

    def train(self, name: str, config: ExperimentConfig, control: Control | None = None) -> list[RunEvent]:
        """The events of a run; raises where it failed."""
        events = list(run(config, self.folder / "logs", control, context=SessionContext(self.data), run_id=name))
        return checked(events)

    def stopped(self, name: str, config: ExperimentConfig, step: int) -> None:
        """Train until a step."""
        control, events = Control(), list[RunEvent]()
        context = SessionContext(self.data, sample_every=0.0)
        for event in run(config, self.folder / "logs", control, context=context, run_id=name):
            events.append(event)
            if isinstance(event, StepCompleted) and event.phase == "train" and event.step == step:
                control.request("stop", "as planned")
        checked(events)

    def resumed(self, name: str) -> None:
        """Resume a run in a process of its own."""
        command = [sys.executable, str(CHECKS), "resume-run", "--folder", str(self.folder / "logs" / name)]
        command += ["--data", str(self.data), *(["--rehearse"] if self.rehearse else [])]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        status = load_record(self.folder / "logs" / name).status
        self.expect(status == "completed", f"{name} was not resumed: {status} {shown.stderr[-500:]}", number=False)

    def weights(self, name: str) -> str:
        """SHA-256 of the weights of a run's last checkpoint."""
        newest = next(iter(checkpoint.newest_first(self.folder / "logs" / name / "checkpoints")))
        return json.loads((newest / "manifest.json").read_text())["files"]["model.safetensors"]["sha256"]


def checked(events: list[RunEvent]) -> list[RunEvent]:
    """Events of a run that did not fail."""
    last = events[-1]
    if isinstance(last, RunFailed):
        raise RuntimeError(f"{last.error.message}\n{last.error.traceback}")
    return events


def accuracy(events: list[RunEvent]) -> float:
    """The test accuracy of the last epoch."""
    return [event.metrics["test/accuracy"] for event in events if isinstance(event, EpochCompleted)][-1]


def train_seconds(events: list[RunEvent]) -> float:
    """Seconds that a run trained."""
    return next(event.train_seconds for event in events if isinstance(event, RunCompleted))
