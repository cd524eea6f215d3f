"""Presets and studies from anywhere: each is refused with one clear message, or is a config that holds."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from fault_counts import Faults

from torchdeck import presets
from torchdeck.core.config import config_hash, parse_config, to_plain
from torchdeck.core.errors import InputError
from torchdeck.presets import MAX_PRESET_BYTES
from torchdeck.presets.study_presets import MAX_STUDY_BYTES, load_declaration, study_names

GOOD = (presets.FOLDER / "quickstart.toml").read_bytes()
VALUES = (
    "-1", "0", "1e400", "inf", "-inf", "nan", "9" * 400, "true", "'x'", "''", "'''a\nb'''", "[]", "[[[]]]", "{}",
    "{a = 1}", "1979-05-27T07:32:00Z", "1979-05-27", "07:32:00", "0x7fffffffffffffff", "1_000", "'../../etc/passwd'",
    "'/etc/passwd'", '"\\u001b[2J"', '"\\ud800"', "'[@click=app.quit]'", "'!!python/object/apply:os.system [id]'",
    "'__import__'", "'torchdeck.core.session.session:run'",
    "'cuda:99999'", "9223372036854775808", "1.7976931348623157e308", "5e-324",
)  # fmt: skip
KEYS = ("lr", "name", "size", "batch_size", "epochs", "__class__", '"\\u001b"', '""', "a.b.c", "'../x'", "seed", "path")


def mutated(content: bytes, dice: random.Random) -> bytes:
    """A shipped file with one to three changes: to its values, keys, lines, sections or bytes."""
    for _ in range(dice.randint(1, 3)):
        lines = content.split(b"\n")
        place = dice.randrange(len(lines))
        key, equals, _ = lines[place].partition(b"=")
        value, name = dice.choice(VALUES).encode(), dice.choice(KEYS).encode()
        match dice.randrange(10):
            case 0 | 1 | 2 if equals:
                lines[place] = key + b"= " + value
            case 3:
                lines.insert(place, name + b" = " + value)
            case 4:
                lines.insert(place, b"[" + name + b"]")
            case 5:
                lines.insert(place, lines[dice.randrange(len(lines))])
            case 6:
                del lines[place]
            case 7 if equals:
                lines[place] = name + b"=" + lines[place].partition(b"=")[2]
            case 8:
                raw = bytearray(content)
                if raw:
                    raw[dice.randrange(len(raw))] = dice.randrange(256)
                content = bytes(raw)
                continue
            case _:
                content = content[: dice.randrange(len(content) + 1)]
                continue
        content = b"\n".join(lines)
    return content


def test_a_mutated_preset_is_refused_or_is_a_config_that_holds(tmp_path: Path, faults: Faults, soak: int) -> None:
    shipped = [path.read_bytes() for path in sorted(presets.FOLDER.glob("*.toml"))]
    count, accepted, crashes, invalid = 2000 * soak, 0, [], []
    for seed in range(count):
        dice = random.Random(seed)
        path = tmp_path / "x.toml"
        path.write_bytes(mutated(dice.choice(shipped), dice))
        try:
            item = presets.load(str(path))
        except InputError:
            continue
        except Exception as error:  # noqa: BLE001 - any exception is the crash that is counted
            crashes.append(f"{seed}: {error!r}")
            continue
        accepted += 1
        again = parse_config(to_plain(item.config))
        if again != item.config or config_hash(again) != config_hash(item.config):
            invalid.append(seed)
    faults("fuzzed presets", count, lost=len(invalid), crashes=len(crashes))
    assert (crashes, invalid) == ([], [])
    # Else the changes would be so wild that only the parser of TOML is tried.
    assert accepted > count / 20


def test_a_mutated_study_is_refused_or_is_one_that_can_run(tmp_path: Path, faults: Faults, soak: int) -> None:
    folder = presets.FOLDER / "studies"
    shipped = sorted((path.read_bytes() for path in folder.glob("*.toml")), key=len)[:4]
    count, crashes = 200 * soak, []
    for seed in range(count):
        dice = random.Random(seed)
        path = tmp_path / "x.toml"
        path.write_bytes(mutated(dice.choice(shipped), dice))
        try:
            study = load_declaration(str(path))
            assert all(to_plain(parse_config(run.config)) == run.config for run in study.runs)
        except InputError:
            continue
        except Exception as error:  # noqa: BLE001 - any exception is the crash that is counted
            crashes.append(f"{seed}: {error!r}")
    faults("fuzzed presets", count, crashes=len(crashes))
    assert crashes == []


BAD: list[tuple[str, bytes, str]] = [
    ("large", GOOD + b"# " + b"x" * MAX_PRESET_BYTES, "larger than 64 KiB"),
    ("binary", os.urandom(1) + b"\x00\x01\x02" * 100, "is not TOML"),
    ("not UTF-8", GOOD.replace(b"title", b"# \xff\xfe\ntitle", 1), "is not TOML"),
    ("a surrogate", GOOD.replace(b'title = "', b'title = "\\ud800', 1), "is not TOML"),
    ("NUL", GOOD + b"\x00", "is not TOML"),
    ("deep", GOOD + b"\nx = " + b"[" * 20_000 + b"]" * 20_000, "nested too deep"),
    ("rather deep", b"x = " + b"[" * 200 + b"]" * 200 + b"\n" + GOOD, "nested too deep"),
    ("deep tables", GOOD + b"\n[" + b".".join([b"a"] * 500) + b"]\n", "nested too deep"),
    ("a key twice", GOOD.replace(b"[optimizer]", b"[optimizer]\nlr = 1\nlr = 2", 1), "is not TOML"),
    ("a section twice", GOOD + b"\n[model]\nname = 'lenet'\n", "is not TOML"),
    ("an unknown key", GOOD.replace(b"[model]", b"[model]\nevil = 1", 1), "model.evil: no such setting"),
    ("an unknown section", GOOD + b"\n[evil]\nx = 1\n", "no section named 'evil'"),
    ("a text for a number", GOOD.replace(b"[training]", b"[training]\npatience = 'x'", 1), "training.patience"),
    ("a date for a number", GOOD.replace(b"[training]", b"[training]\npatience = 1979-05-27", 1), "training.patience"),
    ("true for a number", GOOD.replace(b"[training]", b"[training]\npatience = true", 1), "training.patience"),
    ("a huge integer", GOOD.replace(b"[training]", b"[training]\npatience = " + b"9" * 400, 1), "training.patience"),
    ("a huger integer", GOOD.replace(b"[training]", b"[training]\npatience = " + b"9" * 5000, 1), "is not TOML"),
    ("infinity", GOOD.replace(b"[optimizer]", b"[optimizer]\nweight_decay = inf", 1), "must be a finite number"),
    ("nan", GOOD.replace(b"[optimizer]", b"[optimizer]\nweight_decay = nan", 1), "must be a finite number"),
    ("a list for a section", b"data = []\n", "data: must be a section"),
    ("an import by name", GOOD.replace(b"[model]", b"[model]\nbuilder = 'os:system'", 1), "model.builder"),
    ("nothing", b"", "data: is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "told"), [item[1:] for item in BAD], ids=[item[0] for item in BAD])
def test_a_bad_preset_is_told_in_one_message(tmp_path: Path, faults: Faults, content: bytes, told: str) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    faults("hostile presets")
    with pytest.raises(InputError) as refused:
        presets.load(str(path))
    assert told in refused.value.message
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("name", ["\x00.toml", "a/\x00", "x" * 5000 + ".toml", "\udcff.toml", "/dev/zero/x.toml", "./"])
def test_a_path_that_no_file_can_have_is_told_in_one_message(faults: Faults, name: str) -> None:
    faults("hostile presets", 2)
    for load in (presets.load, load_declaration):
        with pytest.raises(InputError):
            load(name)


@pytest.mark.parametrize("name", ["pipe", "folder", "device"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, faults: Faults, name: str) -> None:
    path = tmp_path / f"{name}.toml"
    match name:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to("/dev/zero")
    faults("hostile presets", 2)
    for load in (presets.load, load_declaration):
        with pytest.raises(InputError, match="not a regular file"):
            load(str(path))


def test_a_study_may_be_larger_than_a_preset_but_not_of_any_size(tmp_path: Path, faults: Faults) -> None:
    shipped = (presets.FOLDER / "studies" / f"{study_names()[0]}.toml").read_bytes()
    path = tmp_path / "x.toml"
    path.write_bytes(shipped + b"\n#" + b"x" * MAX_PRESET_BYTES)
    assert load_declaration(str(path)).runs
    path.write_bytes(shipped + b"\n#" + b"x" * MAX_STUDY_BYTES)
    faults("hostile presets")
    with pytest.raises(InputError, match="larger than 1024 KiB"):
        load_declaration(str(path))


def test_a_file_with_a_name_for_a_terminal_is_not_listed(tmp_path: Path, faults: Faults) -> None:
    own = tmp_path / "presets"
    own.mkdir()
    for name in ("\x1b[2J", "..", "-x", "a b", "\u202eevil", "x" * 100, "fine"):
        (own / f"{name}.toml").write_bytes(GOOD)
    faults("hostile presets", 6)
    assert {name for name in presets.names() if (own / f"{name}.toml").exists()} == {"fine"}


def test_one_damaged_preset_hides_no_other(tmp_path: Path, faults: Faults) -> None:
    own = tmp_path / "presets"
    own.mkdir()
    (own / "broken.toml").write_bytes(b"[")
    (own / "fine.toml").write_bytes(GOOD)
    faults("hostile presets")
    found, damaged = presets.load_all()
    assert "fine" in [item.name for item in found]
    assert "broken.toml" in str(damaged[0])
