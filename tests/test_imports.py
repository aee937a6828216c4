"""What importing a room brings along: a cluster worker has no window."""

import subprocess
import sys
from pathlib import Path

import napari_kemp

PACKAGE = Path(napari_kemp.__file__).parent
ROOMS = [
    ".".join(("napari_kemp", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    )
    for path in sorted(PACKAGE.rglob("*.py"))
    if "plugin" not in path.relative_to(PACKAGE).parts
]


def loaded_by(*modules):
    """Import modules in a new interpreter, and list all that is loaded then."""
    code = "import sys\n" + "".join(f"import {module}\n" for module in modules)
    code += "print(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {module.partition(".")[0] for module in run.stdout.split()}


def test_nothing_below_the_plugin_knows_napari_or_qt():
    assert "napari_kemp.export" in ROOMS
    loaded = loaded_by(*ROOMS)
    assert not loaded & {
        "PyQt5",
        "PyQt6",
        "PySide2",
        "PySide6",
        "magicgui",
        "napari",
        "npe2",
        "qtpy",
        "superqt",
        "vispy",
    }


def test_importing_napari_kemp_is_cheap():
    assert not loaded_by("napari_kemp") & {"dask", "magicgui", "napari", "qtpy", "tensorstore"}


def test_tensorstore_waits_until_a_volume_is_opened():
    assert "tensorstore" not in loaded_by("napari_kemp.precomputed", "napari_kemp.export")


def test_looking_at_a_path_brings_no_window():
    assert not loaded_by("napari_kemp.plugin.reader") & {
        "magicgui",
        "napari",
        "qtpy",
        "tensorstore",
    }
