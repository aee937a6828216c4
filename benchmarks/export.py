"""Measure a whole save beside CloudVolume's ``vol[...] = array``, in one run.

    python benchmarks/export.py [--data AFFINITIES] [--rounds N] [--out FOLDER]

Each save runs in a process of its own, so that its peak memory is its own, and in turn, so that a
machine that is busy for a while is as busy for all; times leave out starting and importing. Figures
are medians; ratios are medians of the ratios within one round. ``codec`` is the encoder alone, on
the same chunks and threads, with nothing read or written. Writes ``export.json`` and ``export.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

CHUNK = (128, 128, 64)
SHAPE = (512, 512, 128)


def make_data(source: str | None) -> np.ndarray:
    """Affinities (c, z, y, x) of SHAPE, tiled from a volume, or from the sample."""
    if source is None:
        from napari_kemp.sample import make_affinities

        piece = make_affinities((256, 256, 64))
    else:
        from napari_kemp import open_volume

        array = open_volume(source).scales[0].array
        piece = array[:, :64, :512, :512]
    x, y, z = SHAPE
    times = [-(-n // m) for n, m in zip((z, y, x), piece.shape[1:], strict=True)]
    return np.ascontiguousarray(np.tile(piece, (1, *times))[:, :z, :y, :x])


def save_with_cloudvolume(array: np.ndarray, place: str) -> None:
    from cloudvolume import CloudVolume

    info = CloudVolume.create_new_info(
        3, "image", "float32", "kempressed", (4, 4, 40), (0, 0, 0), SHAPE, chunk_size=CHUNK
    )
    volume = CloudVolume(f"file://{place}", info=info, progress=False)
    volume.commit_info()
    volume[:] = array.T


def save_with_ours(array: np.ndarray, place: str, **arguments: Any) -> None:
    import napari_kemp

    napari_kemp.export(array, place, resolution=(4, 4, 40), chunk_size=CHUNK, **arguments)


def encode_only(array: np.ndarray, threads: int) -> None:
    from napari_kemp.codec import kempressed

    x, y, z = SHAPE
    chunks = [
        array[:, k : k + CHUNK[2], j : j + CHUNK[1], i : i + CHUNK[0]].T
        for k in range(0, z, CHUNK[2])
        for j in range(0, y, CHUNK[1])
        for i in range(0, x, CHUNK[0])
    ]
    kempressed.encode_many(chunks, seekable=True, threads=threads)


CONTENDERS = {
    "CloudVolume": lambda array, place: save_with_cloudvolume(array, place),
    "ours": lambda array, place: save_with_ours(array, place, mips=0),
    "ours, plain": lambda array, place: save_with_ours(array, place, mips=0, seekable=False),
    "ours, with coarser scales": lambda array, place: save_with_ours(array, place),
    "ours, verified": lambda array, place: save_with_ours(array, place, mips=0, verify=True),
    "ours, sharded": lambda array, place: save_with_ours(array, place, mips=0, sharded=True),
    "codec": lambda array, place: encode_only(array, 2),
}


def run_one(name: str, data: str, place: str) -> None:
    """Run one save in this process, and print what it took."""
    import cloudvolume  # noqa: F401
    import tensorstore  # noqa: F401

    import napari_kemp.export.run  # noqa: F401

    array = np.load(data, mmap_mode="r")
    array.sum()  # the file is in the system's memory for all
    with PeakMemory() as memory:
        started, worked = time.perf_counter(), time.process_time()
        CONTENDERS[name](array, place)
        seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_mb": memory.grown_mb}))


class PeakMemory:
    """The most memory that this process took, beside files that it looks at, over the start."""

    def __enter__(self) -> PeakMemory:
        self._first = self._most = self._now()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.grown_mb = (self._most - self._first) / 1024

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            self._most = max(self._most, self._now())

    @staticmethod
    def _now() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0])


def measure(data: Path, rounds: int) -> list[dict[str, Any]]:
    results: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name in CONTENDERS:
            with tempfile.TemporaryDirectory() as folder:
                place = str(Path(folder, "volume"))
                command = [sys.executable, __file__, "--one", name, str(data), place]
                run = subprocess.run(command, capture_output=True, text=True, check=True)
                result = json.loads(run.stdout.splitlines()[-1])
                files = [p for p in Path(place).rglob("*") if p.is_file()]
                result["stored_mb"] = sum(p.stat().st_size for p in files) / 1e6
                result["files"] = len(files)
                results[name].append(result)
    raw = np.load(data, mmap_mode="r").nbytes / 1e6
    rows = []
    for name, found in results.items():
        times = [each["seconds"] for each in found]
        against = {
            peer: statistics.median(
                theirs["seconds"] / mine["seconds"]
                for theirs, mine in zip(results[peer], found, strict=True)
            )
            for peer in ("CloudVolume", "codec")
        }
        rows.append(
            {
                "name": name,
                "seconds": statistics.median(times),
                "cpu_seconds": statistics.median(each["cpu_seconds"] for each in found),
                "mb_per_second": raw / statistics.median(times),
                "times_cloudvolume": against["CloudVolume"],
                "share_of_codec": against["codec"],
                "peak_mb": statistics.median(each["peak_mb"] for each in found),
                "stored_mb": statistics.median(each["stored_mb"] for each in found),
                "files": found[0]["files"],
            }
        )
    return rows


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['data']}: {result['raw_mb']:.0f} MB as kempressed chunks of 128 x 128 x 64 x 3; "
        f"{result['processor']}, {result['cores']} cores; medians of {result['rounds']} rounds",
        "",
        "| save | s | CPU s | MB/s | times CloudVolume | of the codec's speed | memory MB "
        "| stored MB | files |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {row['name']} | {row['seconds']:.2f} | {row['cpu_seconds']:.2f} "
            f"| {row['mb_per_second']:.0f} "
            f"| {row['times_cloudvolume']:.1f} | {100 * row['share_of_codec']:.0f} % "
            f"| {row['peak_mb']:.0f} | {row['stored_mb']:.0f} | {row['files']} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", help="a volume of affinities (default: the sample)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("bench-output"))
    parser.add_argument("--one", nargs=3, metavar=("NAME", "DATA", "PLACE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(*options.one)
        return

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data.npy")
        array = make_data(options.data)
        np.save(data, array)
        result = {
            "data": options.data or "the sample",
            "raw_mb": array.nbytes / 1e6,
            "processor": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "rounds": options.rounds,
            "rows": measure(data, options.rounds),
        }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "export.json").write_text(json.dumps(result, indent=2))
    (options.out / "export.md").write_text(table(result) + "\n")
    print(table(result))


if __name__ == "__main__":
    main()
