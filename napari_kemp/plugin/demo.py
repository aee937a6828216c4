"""A demonstration that leaves proof: a picture of a volume, and a piece of it saved and read back.

Without a display, this module is run again as a program of its own within a virtual one (Xvfb).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from napari_kemp.errors import KempError
from napari_kemp.export import as_source, export
from napari_kemp.precomputed import open_volume

_PIECE_XYZ = (256, 256, 16)


def demo(url: str | None, *, screenshot: Path | None, destination: Path | None) -> None:
    """Save a piece of a volume as kempressed, read it back, and show the volume.

    Parameters
    ----------
    url : str or None
        The volume; None for the sample.
    screenshot : Path or None
        Where to leave a picture of the window. Without a display there always is one.
    destination : Path or None
        The folder to save to; None for a temporary one that stays.

    Raises
    ------
    KempError
        If the volume cannot be opened, what is read back is not what was saved, or there is
        neither a display nor Xvfb.
    """
    if url is None:
        from napari_kemp.plugin.sample import sample_volume

        url = str(sample_volume())
    _save_and_read_back(url, destination)
    if _has_display():
        _show(url, screenshot)
    else:
        _render_without_display(url, screenshot or Path("napari-kemp-demo.png"))


def _save_and_read_back(url: str, destination: Path | None) -> None:
    source = as_source(url)
    encoding = "kempressed" if source.dtype.kind == "f" else "raw"
    if encoding == "raw":
        print(f"{url} holds {source.dtype.name}, kempressed only floats: saving raw instead")
    if destination is None:
        destination = Path(tempfile.mkdtemp(prefix="napari-kemp-demo-")) / encoding
    piece = source.middle(_PIECE_XYZ)
    report = export(
        source,
        destination,
        encoding=encoding,
        chunk_size=(128, 128, 16),
        region=(piece.start_xyz, piece.stop_xyz),
    )
    print(f"saved      {report}")
    saved = np.asarray(open_volume(destination).scales[0].array)
    difference = np.abs(saved.astype(float) - source.read(piece))
    error = float(np.nanmax(difference, initial=0))  # where both are NaN, nothing was lost
    if error != report.max_abs_error:
        raise KempError(
            f"{destination}: read back with an error of {error}, which was not reported"
        )
    x, y, z = piece.shape_xyz
    print(f"read back  {x} x {y} x {z} voxels, largest absolute error {error:.3g}, as reported")


def _has_display() -> bool:
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _show(url: str, screenshot: Path | None) -> None:
    import napari

    from napari_kemp.plugin.view import viewer_of

    viewer = viewer_of([url])
    if screenshot is not None:
        _take(viewer, screenshot)
    napari.run()


def _render_without_display(url: str, screenshot: Path) -> None:
    xvfb_run = shutil.which("xvfb-run")
    if xvfb_run is None:
        raise KempError(
            "there is no display, and no Xvfb to draw without one: set DISPLAY, or install it "
            "(on Debian: apt-get install xvfb xauth libegl1 libgl1-mesa-dri libxcb-cursor0)"
        )
    command = [xvfb_run, "-a", "-s", "-screen 0 1280x900x24"]
    command += [sys.executable, "-m", "napari_kemp.plugin.demo", url, str(screenshot)]
    finished = subprocess.run(command, env={**os.environ, "QT_QPA_PLATFORM": "xcb"}, check=False)
    if finished.returncode:
        raise KempError(f"drawing {url} under Xvfb failed (exit status {finished.returncode})")


def _take(viewer: Any, screenshot: Path) -> None:
    try:
        screenshot.parent.mkdir(parents=True, exist_ok=True)
        viewer.screenshot(str(screenshot), canvas_only=False, flash=False)
    except OSError as error:
        raise KempError(f"{screenshot}: the picture cannot be written: {error}") from error
    print(f"drawn      {screenshot}")


def _main() -> None:
    from napari_kemp.plugin.view import viewer_of

    url, screenshot = sys.argv[1:]
    viewer = viewer_of([url])
    viewer.window.resize(1280, 860)
    try:
        _take(viewer, Path(screenshot))
    except KempError as error:
        sys.exit(f"napari-kemp: {error}")
    finally:
        viewer.close()


if __name__ == "__main__":
    _main()
