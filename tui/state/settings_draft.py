"""The settings of a preset as a person edits them: texts in, configs or faults out."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...core.config import SECTIONS, ExperimentConfig, Setting, section_settings, to_plain
from ...core.devices.device_spec import split_list
from ...core.errors import ConfigError
from ...presets import Preset
from ..format.values import as_text

MOST_RUNS = 64


@dataclass(frozen=True, slots=True)
class Checked:
    """What the texts mean: the config of every run, or the faults by path."""

    runs: tuple[ExperimentConfig, ...] = ()
    faults: dict[str, str] = field(default_factory=dict[str, str])


class Draft:
    """One preset's settings and what was changed of them; a list of values in a text plans a run for each."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self.edits: dict[str, str] = {}
        self._plain = to_plain(preset.config)

    def choice(self, section: str) -> str:
        """The name that picks a section's settings; "" for training, which has none."""
        if SECTIONS[section] is None:
            return ""
        return self.edits.get(f"{section}.name") or str(self._plain[section]["name"])

    def settings(self, section: str) -> list[Setting]:
        """The settings of a section as it is chosen now, its name first."""
        table = SECTIONS[section]
        rest = section_settings(section, self.choice(section))
        if table is None:
            return [*rest]
        about = table.options(self.choice(section)).__doc__ or ""
        name = Setting(f"{section}.name", "", "", "", about.splitlines()[0], tuple(table.names()))
        return [name, *rest]

    def base(self, path: str) -> str:
        """What a setting is without its edit: the preset's value, or the default of a choice that was changed."""
        section, _, key = path.partition(".")
        values = self._plain[section]
        if key == "name" or SECTIONS[section] is None or self.choice(section) == values["name"]:
            return as_text(values.get(key, ""))
        found = (item.default for item in section_settings(section, self.choice(section)) if item.path == path)
        return as_text(next(found, ""))

    def text(self, path: str) -> str:
        """What stands in the field of a setting."""
        return self.edits.get(path, self.base(path))

    def put(self, path: str, text: str) -> None:
        """Take in what a person typed; another choice drops the edits of the one before."""
        section, _, key = path.partition(".")
        if key == "name" and text != self.choice(section):
            self.edits = {known: value for known, value in self.edits.items() if not known.startswith(f"{section}.")}
        if text.strip() == self.base(path):
            self.edits.pop(path, None)
        else:
            self.edits[path] = text.strip()

    def reset(self, path: str) -> None:
        """Put one setting back; a choice with all its settings."""
        self.put(path, self.base(path))

    def check(self) -> Checked:
        """The runs that the texts plan, or what is wrong with them."""
        faults: dict[str, str] = {}
        runs: list[ExperimentConfig] = []
        count = 1
        for values in self._varied().values():
            count *= len(values)
        if count > MOST_RUNS:
            return Checked(faults=dict.fromkeys(self._varied(), f"{count} runs are planned; {MOST_RUNS} at most"))
        for overrides in self._combinations():
            try:
                runs.append(self.preset.with_overrides(overrides))
            except ConfigError as error:
                faults |= {fault.path: fault.message for fault in error.faults if fault.path not in faults}
        return Checked(faults=faults) if faults else Checked(tuple(runs))

    def texts(self) -> list[str]:
        """The changes as `section.key=value` texts; several values stand with commas between them."""
        varied = self._varied()
        return [f"{path}={','.join(varied.get(path, [text]))}" for path, text in self.edits.items()]

    def command(self) -> str:
        """The same as a command line: of a run, or of the study of several."""
        kind = "sweep" if self._varied() else "run"
        return " ".join([f"torchdeck {kind}", shlex.quote(self.preset.name), *map(shlex.quote, self.texts())])

    def _combinations(self) -> Iterator[list[str]]:
        varied = self._varied()
        fixed = [f"{path}={text}" for path, text in self.edits.items() if path not in varied]
        for values in itertools.product(*varied.values()):
            yield fixed + [f"{path}={value}" for path, value in zip(varied, values, strict=True)]

    def _varied(self) -> dict[str, list[str]]:
        """The settings with several values."""
        lists = {path: values_of(text) for path, text in self.edits.items() if "," in text and path != "data.path"}
        return {path: values for path, values in lists.items() if len(values) > 1}


def values_of(text: str) -> list[str]:
    """The values of a list such as `0.1, 0.05`, `[0.1, 0.05]` or `cpu, cuda:0,1`, each once."""
    return list(dict.fromkeys(split_list(text.strip().removeprefix("[").removesuffix("]"))))
