"""A draft of a preset's settings as the user edits them: texts in, configs or error messages out."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...core.config import SECTIONS, ExperimentConfig, to_plain
from ...core.devices.device_spec import split_list
from ...core.errors import ConfigError
from ...core.settings import Setting, section_settings
from ...presets import Preset
from ..format.values import as_text

MAX_RUNS = 64


@dataclass(frozen=True, slots=True)
class CheckedSettings:
    """The result of checking a draft: the config of every run, or error messages by setting."""

    runs: tuple[ExperimentConfig, ...] = ()
    faults: dict[str, str] = field(default_factory=dict[str, str])


class SettingsDraft:
    """One preset's settings with the user's edits; a comma-separated list of values plans a run for each."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self.edits: dict[str, str] = {}
        self._plain = to_plain(preset.config)

    def choice(self, section: str) -> str:
        """The chosen name of a section (of the model, say); "" for training, which has no choice."""
        if SECTIONS[section] is None:
            return ""
        return self.edits.get(f"{section}.name") or str(self._plain[section]["name"])

    def settings(self, section: str) -> list[Setting]:
        """The settings of a section for the current choice, its name first."""
        table = SECTIONS[section]
        rest = section_settings(section, self.choice(section))
        if table is None:
            return [*rest]
        about = table.options(self.choice(section)).__doc__ or ""
        name = Setting(f"{section}.name", "", "", "", about.splitlines()[0], tuple(table.names()))
        return [name, *rest]

    def unedited(self, path: str) -> str:
        """A setting's unedited value: the preset's, or the default if the section's choice was changed."""
        section, _, key = path.partition(".")
        values = self._plain[section]
        if key == "name" or SECTIONS[section] is None or self.choice(section) == values["name"]:
            return as_text(values.get(key, ""))
        found = (item.default for item in section_settings(section, self.choice(section)) if item.path == path)
        return as_text(next(found, ""))

    def text(self, path: str) -> str:
        """The text in a setting's field."""
        return self.edits.get(path, self.unedited(path))

    def edit(self, path: str, text: str) -> None:
        """Set a field's text; changing a section's choice drops its other edits."""
        section, _, key = path.partition(".")
        if key == "name" and text != self.choice(section):
            self.edits = {known: value for known, value in self.edits.items() if not known.startswith(f"{section}.")}
        if text.strip() == self.unedited(path):
            self.edits.pop(path, None)
        else:
            self.edits[path] = text.strip()

    def reset(self, path: str) -> None:
        """Undo the edit of one setting; of a choice, those of its whole section."""
        self.edit(path, self.unedited(path))

    def check(self) -> CheckedSettings:
        """Parse and validate all texts."""
        faults: dict[str, str] = {}
        runs: list[ExperimentConfig] = []
        count = 1
        for values in self._varied().values():
            count *= len(values)
        if count > MAX_RUNS:
            return CheckedSettings(
                faults=dict.fromkeys(self._varied(), f"{count} runs; at most {MAX_RUNS} are allowed")
            )
        for differing in self.combinations():
            try:
                values = (self.edits | differing).items()
                runs.append(self.preset.with_overrides([f"{path}={value}" for path, value in values]))
            except ConfigError as error:
                faults |= {fault.path: fault.message for fault in error.faults if fault.path not in faults}
        return CheckedSettings(faults=faults) if faults else CheckedSettings(tuple(runs))

    def overrides(self) -> list[str]:
        """The edits as `section.key=value`, lists of values separated by commas."""
        varied = self._varied()
        return [f"{path}={','.join(varied.get(path, [text]))}" for path, text in self.edits.items()]

    def command(self) -> str:
        """The equivalent command line: `torchdeck run`, or `torchdeck sweep` for several runs."""
        kind = "sweep" if self._varied() else "run"
        return " ".join([f"torchdeck {kind}", shlex.quote(self.preset.name), *map(shlex.quote, self.overrides())])

    def combinations(self) -> Iterator[dict[str, str]]:
        """What differs between the runs that are planned, one after the other: values by path."""
        varied = self._varied()
        for values in itertools.product(*varied.values()):
            yield dict(zip(varied, values, strict=True))

    def _varied(self) -> dict[str, list[str]]:
        """The settings that have several values."""
        lists = {path: split_values(text) for path, text in self.edits.items() if "," in text and path != "data.path"}
        return {path: values for path, values in lists.items() if len(values) > 1}


def split_values(text: str) -> list[str]:
    """The distinct values of a list such as `0.1, 0.05`, `[0.1, 0.05]` or `cpu, cuda:0,1`."""
    return list(dict.fromkeys(split_list(text.strip().removeprefix("[").removesuffix("]"))))
