"""`torchdeck data show`: augmented training images in the terminal or as a picture."""

from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from torchdeck.tui.cli.data_commands import data_app

NOISE = ["quickstart", "data.name=synthetic", "data.size=12", "data.flip=true"]


def test_images_are_printed_or_written_with_their_classes(tmp_path: Path) -> None:
    in_color = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "NO_COLOR": ""}
    shown = CliRunner().invoke(data_app, ["show", *NOISE, "--count", "3", "--data", str(tmp_path)], env=in_color)
    assert shown.exit_code == 0, shown.output
    assert "\x1b[" in shown.stdout
    *picture, captions = [line for line in shown.stdout.splitlines() if line.strip()]
    assert len(picture) == 6
    assert captions.count("pattern") == 3
    file = tmp_path / "images.png"
    written = CliRunner().invoke(data_app, ["show", *NOISE, "--to", str(file), "--data", str(tmp_path)])
    assert written.exit_code == 0, written.output
    with Image.open(file) as picture_of_16:
        assert picture_of_16.size == (8 * 14, 2 * 14)
    refused = CliRunner().invoke(data_app, ["show", *NOISE, "--to", str(tmp_path / "images.what")])
    assert refused.exit_code
