import re
from pathlib import Path

from npe2 import PluginManifest
from npe2.cli import app
from typer.testing import CliRunner

from napari_kemp.plugin.shortcuts import SHORTCUTS

MANIFEST = Path(__file__).parents[1] / "napari.yaml"


def test_npe2_accepts_the_manifest():
    outcome = CliRunner().invoke(app, ["validate", str(MANIFEST), "--imports"])
    assert outcome.exit_code == 0, outcome.output
    assert "valid" in outcome.output


def test_every_command_is_there():
    manifest = PluginManifest.from_file(MANIFEST)
    assert [command.id for command in manifest.contributions.commands] == [
        "napari-kemp.get_reader",
        "napari-kemp.write_volume",
        "napari-kemp.open_sample",
        "napari-kemp.save_widget",
        "napari-kemp.open_widget",
        "napari-kemp.inspector",
        "napari-kemp.compare_widget",
    ]
    manifest.validate_imports()


def test_the_guide_tells_the_keys_and_shows_pictures_that_are_there():
    docs = MANIFEST.parent / "docs"
    guide = (docs / "guide.md").read_text()
    for key in SHORTCUTS:
        told = key.replace("-", "+").replace("PageDown", "Page Down").replace("PageUp", "Page Up")
        assert f"`{told}`" in guide
    pictures = re.findall(r"\]\((images/[^)]+)\)", guide)
    assert len(pictures) >= 6
    assert all((docs / picture).is_file() for picture in pictures)
    script = (docs / "screenshots.py").read_text()
    assert all(f'"{Path(picture).name}"' in script for picture in pictures)
