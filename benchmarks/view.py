"""Time to look at a section of a large kempressed volume, beside CloudVolume.

    python benchmarks/view.py [--data AFFINITIES] [--rounds N] [--out FOLDER] [--window]

AFFINITIES is a volume of affinities (three channels), by default the sample; its finest scale is
tiled to 1024 x 1024 x 64 x 3 and written in chunks of 128 x 128 x 64, once with section tables and
once as CloudVolume writes it. Measured on the local disk, alternating between the peers; medians.
With --window, and a display: opens a volume of 250000 x 250000 x 25000, all chunks missing, in
napari, pans and zooms, in a process of its own each time; beside the same layers of nothing but
zeros, which is what napari itself takes.
Writes ``view.json`` and ``view.md``.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

import napari_kemp
from napari_kemp import settings
from napari_kemp.codec import _core, kempressed
from napari_kemp.precomputed import stopwatch
from napari_kemp.sample import make_affinities

SIZE_XYZ = (1024, 1024, 64)
CHUNK_XYZ = (128, 128, 64)
LOOKS_A_ROUND = 3


def make_volume(source: np.ndarray, folder: Path, *, seekable: bool) -> None:
    volume = napari_kemp.create_volume(
        folder, size=SIZE_XYZ, resolution=(4, 4, 50), chunk_size=CHUNK_XYZ, encoding="kempressed"
    )
    (scale,) = volume.scales
    for cell in scale.grid.cells():
        box = scale.grid.box(cell)
        z, y, x = (
            # Back and forth, so that no seam is sharper than the data.
            mirrored(np.arange(start, stop), n)
            for start, stop, n in zip(
                box.start_xyz[::-1], box.stop_xyz[::-1], source.shape[1:], strict=True
            )
        )
        part = source[:, z[:, None, None], y[:, None], x]
        scale.write_chunk(cell, kempressed.encode(part.T, seekable=seekable))


def mirrored(positions: np.ndarray, length: int) -> np.ndarray:
    at = positions % (2 * length)
    return np.minimum(at, 2 * length - 1 - at)


def timed(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def cloudvolume_section(folder: Path, z: int) -> float:
    from cloudvolume import CloudVolume

    volume = CloudVolume(f"file://{folder}", progress=False, fill_missing=True, parallel=1)
    return timed(lambda: volume[:, :, z])


def our_sections(folder: Path, z: int) -> dict[str, Any]:
    """Look at a section nobody has seen, at the next one, and at the first again."""
    array = napari_kemp.open_volume(folder).scales[0].array

    def look(at: int) -> None:
        for channel in range(3):
            array.channel(channel)[at]

    array.read(np.s_[:, :1, :1, :1])  # the first use of the threads, not of the volume's data
    array = napari_kemp.open_volume(folder).scales[0].array
    with stopwatch.measured() as spent:
        cold = timed(lambda: look(z))
    return {
        "cold": cold,
        "next": timed(lambda: look(z + 1)),
        "seen": timed(lambda: look(z)),
        "waiting": spent.waiting,
        "decoding": spent.decoding,
        "assembling": spent.assembling,
    }


def measure(folders: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Look at sections in turn; CloudVolume's time does not depend on which, and is long."""
    rng = random.Random(0)
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in folders}
    peer: list[float] = []
    for _ in range(rounds):
        looks = []
        for _ in range(LOOKS_A_ROUND):
            z = rng.randrange(SIZE_XYZ[2] - 1)
            looks += [(name, {"z": z, **our_sections(folders[name], z)}) for name in folders]
        peer.append(cloudvolume_section(folders["plain"], z))
        for name, look in looks:
            figures[name].append({**look, "ratio": peer[-1] / look["cold"]})
    medians = {
        name: {key: statistics.median(each[key] for each in rows) for key in rows[0]}
        for name, rows in figures.items()
    }
    return {
        "medians": medians,
        "cloudvolume": statistics.median(peer),
        "rounds": {"ours": figures, "cloudvolume": peer},
    }


class _RangeHandler(SimpleHTTPRequestHandler):
    """Serve files and their ranges, and count the bytes."""

    protocol_version = "HTTP/1.1"

    sent = 0

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        size = path.stat().st_size
        start, stop, status = 0, size, 200
        if (wanted := self.headers.get("Range", "")).startswith("bytes="):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start = int(first) if first else size - int(last)
            stop = min(int(last) + 1, size) if first and last else size
            status = 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        with path.open("rb") as file:
            file.seek(start)
            self.wfile.write(file.read(stop - start))
        _RangeHandler.sent += stop - start


class _Server(ThreadingHTTPServer):
    # Python's own queue of 5 drops connections, which then take a second each.
    request_queue_size = 256


def bytes_over_http(folder: Path, z: int) -> dict[str, float]:
    handler = partial(_RangeHandler, directory=str(folder))
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        array = napari_kemp.open_volume(url).scales[0].array
        _RangeHandler.sent = 0
        seconds = timed(lambda: array[:, z])
        server.shutdown()
    stored = sum(path.stat().st_size for path in folder.glob("*/*"))
    return {"fetched": _RangeHandler.sent, "stored": stored, "seconds": seconds}


def peak_memory(folder: Path) -> dict[str, float]:
    """Scroll through a whole volume in a process of its own, with a small cache."""
    program = (
        "import re, sys, napari_kemp, pathlib, tensorstore\n"
        "from napari_kemp import settings\n"
        "settings.configure(cache_mb=int(sys.argv[2]))\n"
        "array = napari_kemp.open_volume(sys.argv[1]).scales[0].array\n"
        "for z in range(0, 64, 3): array[:, z]\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) / 1024)\n"
    )
    found = {}
    for limit in (256, settings.current().cache_mb):
        run = [sys.executable, "-c", program, str(folder), str(limit)]
        peak = subprocess.run(run, capture_output=True, text=True, check=True).stdout
        found[f"cache {limit} MiB"] = float(peak)
    return found


HUGE = {"size": (250000, 250000, 25000), "resolution": (4, 4, 40), "chunk_size": (128, 128, 64)}

_IN_NAPARI = """
import json, os, sys, time
import napari, numpy, psutil, tensorstore
from napari.layers import Layer
from napari_kemp import open_volume
from napari_kemp.plugin.layers import volume_layers

class Zeros:
    dtype = numpy.dtype("f4")
    def __init__(self, shape):
        self.shape, self.ndim = shape, len(shape)
        self.size = int(numpy.prod(shape, dtype=object))
    def __getitem__(self, key):
        return numpy.broadcast_to(numpy.float32(0), self.shape)[key]

folder, zeros, warm = sys.argv[1], sys.argv[2] == "zeros", sys.argv[3] == "warm"
viewer = napari.Viewer()
viewer.screenshot(flash=False)
if warm:
    viewer.layers.remove(viewer.add_image(numpy.zeros((2, 64, 64))))
    viewer.screenshot(flash=False)
found, process = {}, psutil.Process()
began, before = time.perf_counter(), process.memory_info().rss
layers = volume_layers(open_volume(folder))
if zeros:
    layers = [([Zeros(each.shape) for each in data], *rest) for data, *rest in layers]
for layer in layers:
    viewer.add_layer(Layer.create(*layer))
viewer.reset_view()

def step(name, began):
    viewer.screenshot(flash=False)
    found[name] = time.perf_counter() - began

step("opening", began)
found["MB"] = (process.memory_info().rss - before) / 1e6
viewer.scene.camera.zoom = 0.01
viewer.screenshot(flash=False)
began = time.perf_counter()
viewer.scene.camera.center = (0, 400000, 500000)
step("panning", began)
began = time.perf_counter()
viewer.scene.camera.zoom = 0.1
step("zooming", began)
print(json.dumps(found), flush=True)
os._exit(0)
"""


def in_napari(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Open, pan and zoom the largest volume, as a session's first layers and as later ones."""
    napari_kemp.create_volume(folder, encoding="kempressed", **HUGE)
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for when in ("first", "warm"):
            for what in ("volume", "zeros"):
                run = [sys.executable, "-c", _IN_NAPARI, str(folder), what, when]
                out = subprocess.run(run, stdout=subprocess.PIPE, text=True, check=True).stdout
                found.setdefault(f"{what}, {when}", []).append(json.loads(out.splitlines()[-1]))
    return {
        name: {key: statistics.median(each[key] for each in rows) for key in rows[0]}
        for name, rows in found.items()
    }


def window_table(figures: dict[str, dict[str, float]]) -> list[str]:
    lines = ["", "| the largest volume in napari | opening | memory | panning | zooming |"]
    lines.append("| --- | --- | --- | --- | --- |")
    names = {
        "volume, first": "the session's first layers",
        "zeros, first": "of zeros instead",
        "volume, warm": "later layers",
        "zeros, warm": "of zeros instead",
    }
    for key, name in names.items():
        row = figures[key]
        cells = [f"{row['opening']:.2f} s", f"{row['MB']:.0f} MB"]
        cells += [f"{row[what] * 1e3:.0f} ms" for what in ("panning", "zooming")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def markdown(results: dict[str, Any]) -> str:
    peer = results["cloudvolume"]
    lines = [
        f"CloudVolume, one section of all chunks: {peer:.2f} s. {results['machine']}",
        "",
        "| volume | cold | against CloudVolume | next section | seen before | waiting for storage "
        "| decoding, all threads | assembling, all threads |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in results["medians"].items():
        cells = [f"{row['cold'] * 1e3:.0f} ms", f"{row['ratio']:.0f} x"]
        cells += [
            f"{row[key] * 1e3:.1f} ms"
            for key in ("next", "seen", "waiting", "decoding", "assembling")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    http = results["http"]
    lines += [
        "",
        f"Over HTTP, one cold section: {http['fetched'] / 1e6:.2f} MB of "
        f"{http['stored'] / 1e6:.0f} MB (1/{http['stored'] / http['fetched']:.0f}), "
        f"{http['seconds'] * 1e3:.0f} ms.",
        "",
        "Peak memory, every third section: "
        + "; ".join(
            f"{name}, {limit}: {peak:.0f} MiB"
            for name, peaks in results["memory"].items()
            for limit, peak in peaks.items()
        )
        + ".",
    ]
    if "window" in results:
        lines += window_table(results["window"])
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("bench-output"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window", action="store_true")
    options = parser.parse_args()
    if options.data is None:
        source = make_affinities()
    else:
        source = np.asarray(napari_kemp.open_volume(options.data).scales[0].array)
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: Path(temporary) / name for name in ("seekable", "plain")}
        for name, folder in folders.items():
            make_volume(source, folder, seekable=name == "seekable")
        del source
        results = measure(folders, options.rounds)
        results["http"] = bytes_over_http(folders["seekable"], 37)
        if options.window:
            results["window"] = in_napari(Path(temporary) / "huge", options.rounds)
        results["memory"] = {name: peak_memory(folder) for name, folder in folders.items()}
    results["machine"] = (
        f"{os.cpu_count()} processors, {platform.machine()}, lanes: {_core.paths()[-1]}, "
        f"cache {settings.current().cache_mb} MiB"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "view.json").write_text(json.dumps(results, indent=1) + "\n")
    text = markdown(results)
    (options.out / "view.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
