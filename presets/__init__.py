"""Presets: experiments as TOML files with settings, notes and reported figures; load, list and save them."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

import platformdirs
import tomli_w

from ..core.config import SECTIONS, ExperimentConfig, parse_config, setting_names, to_plain, with_overrides
from ..core.errors import ConfigError, Fault, InputError, nearest
from ..core.runs.reported import FullRun, ReportedFigure, parse_reported
from ..core.utils.files import write_atomically
from ..core.utils.flatten import as_mapping
from ..core.utils.validation import too_deep

FOLDER = Path(__file__).parent
MAX_PRESET_BYTES = 2**16
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names of preset files that are listed; other files can be given by their path."""
_KEYS = ("title", "summary", "reported", "notes")


@dataclass(frozen=True)
class Preset:
    """One experiment: its settings as in the file, and the texts about it."""

    name: str
    title: str
    summary: str
    content: dict[str, Any]
    reported: tuple[ReportedFigure, ...] = ()
    notes: dict[str, str] = field(default_factory=dict[str, str])

    @cached_property
    def config(self) -> ExperimentConfig:
        """The settings of the file, validated."""
        return parse_config(self.content)

    def with_overrides(self, overrides: list[str]) -> ExperimentConfig:
        """The settings with `section.key=value` overrides; raises ConfigError that names every fault."""
        return parse_config(with_overrides(self.content, overrides))

    def reported_for(self, config: ExperimentConfig) -> tuple[ReportedFigure, ...]:
        """The reported figures that a config can be compared with: those for the same data set and model."""
        own = self.config
        same = (own.data.name, own.model.name) == (config.data.name, config.model.name)
        return self.reported if same else ()


def full_run(name: str, claim: ReportedFigure) -> FullRun | None:
    """The epochs and images of a preset's own settings, for a figure reported of these; else None.

    Figures that a study declares refer to the study's settings.
    """
    shipped = NAME.fullmatch(name) and (FOLDER / f"{name}.toml").exists()
    preset = _shipped(name) if shipped else _valid(name)
    if preset is None or claim not in preset.reported:
        return None
    return FullRun(preset.config.training.epochs, preset.config.data.train_limit)


def _valid(name: str) -> Preset | None:
    try:
        return load(name) if name in names() else None
    except InputError:
        return None


_shipped = cache(_valid)


def user_folder() -> Path:
    """The folder of the user's own presets."""
    given = os.environ.get("TORCHDECK_PRESETS")
    return Path(given) if given else platformdirs.user_config_path("torchdeck") / "presets"


def names() -> list[str]:
    """The names of the presets that come with Torchdeck, `quickstart` first, then the user's own."""
    shipped = sorted(names_in(FOLDER), key=lambda name: (name != "quickstart", name))
    return shipped + [name for name in names_in(user_folder()) if name not in shipped]


def names_in(folder: Path) -> list[str]:
    """The names of the TOML files in a folder."""
    return sorted(path.stem for path in folder.glob("*.toml") if NAME.fullmatch(path.stem))


def load_all() -> tuple[list[Preset], list[InputError]]:
    """All presets, and the errors of the user's own presets that cannot be loaded."""
    found: list[Preset] = []
    damaged: list[InputError] = []
    for name in names():
        try:
            found.append(load(name))
        except InputError as error:
            damaged.append(error)
    return found, damaged


def is_shipped(name: str) -> bool:
    """Whether a preset comes with Torchdeck; the others are the user's own."""
    return (FOLDER / f"{name}.toml").exists()


def save(name: str, title: str, summary: str, config: ExperimentConfig) -> Path:
    """Save settings as a preset of the user, replacing one of that name.

    Raises:
        InputError: the name is invalid or that of a preset that comes with Torchdeck, or the file cannot be written.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        raise InputError(f"'{name}' is not a valid name of a preset", "use lower-case letters, digits and - . _")
    if is_shipped(name):
        raise InputError(f"the preset '{name}' comes with Torchdeck", "choose another name")
    path = user_folder() / f"{name}.toml"
    content = {"title": title or name, "summary": summary, **to_plain(config)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, tomli_w.dumps(content).encode())
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror})", "choose another folder with TORCHDECK_PRESETS"
        ) from None
    return path


def load(name: str) -> Preset:
    """Load a preset by its name, or by the path of a TOML file.

    Raises:
        InputError: there is none, or its file is damaged.
        ConfigError: its settings are wrong.
    """
    path = Path(name) if name.endswith(".toml") or "/" in name else _named(name)
    preset = _parse(path.stem, read_toml(path, MAX_PRESET_BYTES))
    assert preset.config  # validated now, so that a wrong setting is reported when the preset is loaded
    return preset


def _named(name: str) -> Path:
    if name not in names():
        raise InputError(f"no preset named '{name}'", nearest(name, names()))
    shipped = FOLDER / f"{name}.toml"
    return shipped if shipped.exists() else user_folder() / f"{name}.toml"


def read_toml(path: Path, max_bytes: int) -> dict[str, Any]:
    """Read a TOML file of at most `max_bytes`; raises InputError with the path and what is wrong."""
    try:
        if not path.is_file():
            os.stat(path)
            raise InputError(f"{path} is not a regular file", "give the path of a TOML file")
        if path.stat().st_size > max_bytes:
            raise InputError(
                f"{path} is larger than {max_bytes // 1024} KiB", "give the path of a TOML file with settings"
            )
        content = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})", "check its path") from None
    except RecursionError:
        raise InputError(f"{path} is nested too deep", "fix the file") from None
    except ValueError as error:
        raise InputError(f"{path} is not TOML ({error})", "fix the file") from None
    if too_deep(content):
        raise InputError(f"{path} is nested too deep", "fix the file")
    return content


def _parse(name: str, content: dict[str, Any]) -> Preset:
    settings = {key: value for key, value in content.items() if key not in _KEYS}
    if flat := [key for key, value in settings.items() if key in SECTIONS and not isinstance(value, dict)]:
        raise ConfigError([Fault(key, f"must be a section: write [{key}]") for key in flat])
    notes = {str(key): str(value) for key, value in _table(content, "notes").items()}
    _check_notes(notes, settings)
    return Preset(
        name=name,
        title=str(content.get("title", name)),
        summary=str(content.get("summary", "")),
        content=settings,
        reported=parse_reported(content.get("reported", [])),
        notes=notes,
    )


def _table(content: dict[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise ConfigError([Fault(key, f"must be a section: write [{key}]")])
    return cast("dict[str, Any]", value)


def _check_notes(notes: dict[str, str], settings: dict[str, Any]) -> None:
    """Check that every note belongs to an existing setting; others would never be shown."""
    faults: list[Fault] = []
    for path in notes:
        section, _, key = path.partition(".")
        choice = str(as_mapping(settings.get(section)).get("name", ""))
        known = setting_names(section, choice) if section in SECTIONS else []
        if key not in known:
            faults.append(Fault(f"notes.{path}", f"no such setting; {nearest(key, known or SECTIONS)}"))
    if faults:
        raise ConfigError(faults)
