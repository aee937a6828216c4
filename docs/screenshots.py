"""Draw the pictures of the guide, from made-up tissue: ``make screenshots``."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication, QWidget

from napari_kemp import export
from napari_kemp.plugin.compare_widget import CompareWidget
from napari_kemp.plugin.inspector import AffinityInspector
from napari_kemp.plugin.open_widget import OpenWidget
from napari_kemp.plugin.position import go_to
from napari_kemp.plugin.save_widget import SaveWidget
from napari_kemp.plugin.view import viewer_of
from napari_kemp.precomputed import VolumeInfo, create_from_info
from napari_kemp.sample import RESOLUTION_XYZ, make_neurites

SIZE_XYZ = (512, 384, 24)
OFFSET_XYZ = (1024, 2048, 100)
WINDOW = (1280, 800)


def main(folder: Path) -> None:
    """Write all pictures to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    # By this name each time, so that the pictures only differ where the plugin does.
    volumes = Path(tempfile.gettempdir(), "neurites")
    shutil.rmtree(volumes, ignore_errors=True)
    volumes.mkdir()
    os.chdir(volumes)
    write_volumes()
    for draw in (opening, inspecting, saving, comparing):
        draw(folder)
    shutil.rmtree(volumes)


def write_volumes() -> None:
    """Write an image, affinities of two scales, and affinities of less precision."""
    neurites = make_neurites(SIZE_XYZ)
    for name, array, encoding in (
        ("image", neurites.image[np.newaxis], "raw"),
        ("affinities", neurites.affinities, "kempressed"),
    ):
        coarse = array.reshape(*array.shape[:2], SIZE_XYZ[1] // 2, 2, SIZE_XYZ[0] // 2, 2)
        coarse = coarse.mean(axis=(3, 5)).astype(array.dtype)
        write_volume(name, [array, coarse], encoding)
    export("affinities", "affinities, 16 bits", encoding="fpzip", precision=16)


def write_volume(name: str, levels: list[np.ndarray], encoding: str) -> None:
    """Write a volume whose scales halve x and y."""
    scales = []
    for factor in range(1, 1 + len(levels)):
        step = (factor, factor, 1)
        resolution = [r * f for r, f in zip(RESOLUTION_XYZ, step, strict=True)]
        scales.append(
            {
                "key": "_".join(map(str, resolution)),
                "size": [s // f for s, f in zip(SIZE_XYZ, step, strict=True)],
                "voxel_offset": [o // f for o, f in zip(OFFSET_XYZ, step, strict=True)],
                "resolution": resolution,
                "chunk_sizes": [[128, 128, 16]],
                "encoding": encoding,
            }
        )
    members = {
        "type": "image",
        "data_type": levels[0].dtype.name,
        "num_channels": len(levels[0]),
        "scales": scales,
    }
    volume = create_from_info(name, VolumeInfo.from_members(members, "info"))
    for scale, level in zip(volume.scales, levels, strict=True):
        scale.write(level, scale.info.voxel_offset)


def opening(folder: Path) -> None:
    """Draw the dialog that opens volumes."""
    viewer = napari.Viewer()
    widget = dock(viewer, OpenWidget, "Open precomputed...")
    widget.url.setCurrentText("affinities")
    widget.look()
    settle(lambda: not widget.busy)
    widget.open()
    settle(lambda: not widget.busy)
    widget.url.setCurrentText("affinities")
    viewer.reset_view()
    picture(viewer, folder / "open.png")
    viewer.close()


def inspecting(folder: Path) -> None:
    """Draw the inspector: modes, layouts, segments, a region in 3D, and the light theme."""
    viewer = viewer_of(["image", "affinities"])
    widget = dock(viewer, AffinityInspector, "Affinity inspector")

    def shot(name: str) -> None:
        point_at(viewer, 1236, 2230, round(viewer.dims.point[0] / RESOLUTION_XYZ[2]))
        settle(lambda: not widget.busy)
        picture(viewer, folder / name)

    widget.display.mode.setCurrentIndex(widget.display.mode.findData("boundary"))
    shot("boundary.png")
    widget.display.mode.setCurrentIndex(0)
    widget.tabs.setCurrentIndex(1)
    widget.segments.threshold.setValue(0.9)
    widget.segments.live.setChecked(True)
    settle(lambda: not widget.busy)
    widget.display.side_by_side()
    settle(lambda: not widget.busy)
    go_to(viewer, widget.subject.affinities, (1236, 2230, 112))
    viewer.scene.camera.zoom = 0.45
    shot("side-by-side.png")
    widget.display.overlay()
    viewer.reset_view()
    viewer.theme = "light"
    shot("overlay-light.png")
    viewer.theme = "dark"
    widget.segments.region.sections.setValue(24)
    widget.segments.region.find_segments()
    settle(lambda: not widget.busy)
    widget.segments.region.show_in_3d()
    shot("region-3d.png")
    viewer.close()


def saving(folder: Path) -> None:
    """Draw the dock widget that saves."""
    viewer = viewer_of(["affinities"])
    widget = SaveWidget(viewer)
    viewer.window.resize(*WINDOW)
    viewer.window.add_dock_widget(widget, name="Save as kempressed")
    settle()
    viewer.reset_view()
    widget.destination.line_edit.value = "affinities-saved"
    widget.save()
    settle(lambda: not widget.saving)
    picture(viewer, folder / "save.png")
    viewer.close()


def comparing(folder: Path) -> None:
    """Draw the comparison of two volumes."""
    viewer = viewer_of(["affinities", "affinities, 16 bits"])
    widget = dock(viewer, CompareWidget, "Compare volumes")
    widget.show_difference()
    settle(lambda: not widget.measuring)
    picture(viewer, folder / "compare.png")
    viewer.close()


def dock(viewer: napari.Viewer, kind: Callable[[napari.Viewer], QWidget], name: str) -> QWidget:
    """Dock a widget in a window of the right size, and show all of the layers."""
    viewer.window.resize(*WINDOW)
    widget = kind(viewer)
    viewer.window.add_dock_widget(widget, name=name)
    settle()
    viewer.reset_view()
    settle()
    return widget


def point_at(viewer: napari.Viewer, x: int, y: int, z: int) -> None:
    """Let the cursor be over a voxel of the section on screen."""
    step = RESOLUTION_XYZ
    viewer.cursor.position = (z * step[2], y * step[1], x * step[0])


def settle(done: Callable[[], bool] = lambda: True, seconds: float = 60) -> None:
    """Let the window live for a moment, and until something is done."""
    start = time.monotonic()
    while time.monotonic() < start + 0.4 or not done():
        if time.monotonic() > start + seconds:
            raise TimeoutError(f"nothing has come of {done} in {seconds} seconds")
        QApplication.processEvents()
        time.sleep(0.01)


def picture(viewer: napari.Viewer, file: Path) -> None:
    """Draw the window."""
    settle()
    window = viewer.screenshot(canvas_only=False, flash=False)
    # 256 colours are enough, and a third of the bytes.
    Image.fromarray(window).convert("RGB").quantize(256).save(file, optimize=True)
    print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
