"""Measure the codec beside PyPI ``fpzip``, the library that CloudVolume calls, in one run.

    python benchmarks/codec.py [--data AFFINITIES] [--repeats N] [--quick] [--out FOLDER]

What is compared runs in turn, so that a machine that is busy for a while is as busy for both; each
figure is a median, and each ratio the median of the ratios within one round. The peer is given the
numpy passes that CloudVolume needs for kempressed; ours decodes into arrays that are there, for
which the peer has no way. Every stream and every array is checked against the peer's before it is
timed. One thread throughout. Writes ``codec.json``, ``codec.md`` and, where
matplotlib is installed, ``codec.svg``.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fpzip as peer
import numpy as np
from numpy.typing import NDArray

from napari_kemp import open_volume
from napari_kemp.bench import processor
from napari_kemp.codec import FieldStarts, _core, fpzip, kempressed
from napari_kemp.sample import make_affinities

Array = NDArray[np.float32]
Action = Callable[[], Any]


def measured(path: Path) -> Array:
    """Read a precomputed volume, or an array (c, z, y, x) in a .npy file, as x, y, z, c."""
    array = np.load(path) if path.suffix == ".npy" else open_volume(path).scales[0].array
    return np.asfortranarray(np.asarray(array).T, dtype=np.float32)


def peer_kempress(array: Array) -> bytes:
    shifted = np.float32(2) + array
    return peer.compress(np.asfortranarray(shifted.transpose(0, 1, 3, 2)), precision=0, order="F")


def peer_unkempress(data: bytes) -> Array:
    return peer.decompress(data, order="F").transpose(0, 1, 3, 2) - np.float32(2)


def peer_compress(array: Array) -> bytes:
    return peer.compress(array, precision=0, order="F")


def peer_decompress(data: bytes) -> Array:
    return peer.decompress(data, order="F")


class Bench:
    """Rounds of timed actions; each is compared with one called its peer."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.rows: list[dict[str, Any]] = []

    def compare(
        self, data: str, raw_bytes: int, peer_action: Action, ours: dict[str, tuple[Action, int]]
    ) -> None:
        """Time `peer_action` on `raw_bytes`, and each of `ours` on the bytes it says."""
        times: dict[str, list[float]] = {name: [] for name in ours}
        peers: list[float] = []
        for _ in range(self.repeats):
            peers.append(seconds(peer_action))
            for name, (action, _) in ours.items():
                times[name].append(seconds(action))
        peer_rate = raw_bytes / statistics.median(peers) / 1e6
        for name, (_, size) in ours.items():
            ratios = [p / raw_bytes / (t / size) for p, t in zip(peers, times[name], strict=True)]
            rate = size / statistics.median(times[name]) / 1e6
            row = {
                "data": data,
                "what": name,
                "peer_MB_per_s": round(peer_rate, 1),
                "MB_per_s": round(rate, 1),
                "ns_per_float": round(4e3 / rate, 2),
                "ratio": round(statistics.median(ratios), 2),
            }
            self.rows.append(row)
            print(f"{data:34} {name:44} {row['MB_per_s']:8} MB/s  {row['ratio']:6}x", flush=True)


def seconds(action: Action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def on_paths(action: Action, raw_bytes: int, what: str) -> dict[str, tuple[Action, int]]:
    """Return the same action on each path that differs for many streams."""

    def by(path: str) -> Action:
        def run() -> None:
            _core.set_path(path)
            action()
            _core.set_path(_core.paths()[-1])

        return run

    return {f"{what}, {path}": (by(path), raw_bytes) for path in _core.paths()[1:]}


def cut(volume: Array, shape_xyz: tuple[int, int, int]) -> list[Array]:
    """Cut sixteen pieces out of a volume, which is repeated where it is too small."""
    reps = [
        -(-need // have)
        for need, have in zip(
            (2 * shape_xyz[0], 2 * shape_xyz[1], shape_xyz[2]), volume.shape, strict=False
        )
    ]
    volume = np.tile(volume, (*reps, 1))
    steps = [max(0, volume.shape[i] - shape_xyz[i]) // 3 for i in range(2)]
    return [
        np.asfortranarray(
            volume[i * steps[0] :, j * steps[1] :, :][
                : shape_xyz[0], : shape_xyz[1], : shape_xyz[2]
            ]
        )
        for i in range(4)
        for j in range(4)
    ]


def bench_volume(bench: Bench, name: str, volume: Array, quick: bool) -> None:
    shapes = [(128, 128, 30)] if quick else [(128, 128, 30), (256, 256, 16)]
    for shape in shapes:
        pieces = cut(volume, shape)
        label = f"{name} {'x'.join(map(str, pieces[0].shape))}"
        for encoding, ours, peer_encode, peer_decode in (
            ("kempressed", kempressed, peer_kempress, peer_unkempress),
            ("fpzip", fpzip, peer_compress, peer_decompress),
        ):
            bench_encoding(bench, f"{label} {encoding}", pieces, ours, peer_encode, peer_decode)
    bench_sections(bench, name, cut(volume, (128, 128, 64))[0])


def bench_encoding(
    bench: Bench, label: str, pieces: list[Array], ours: Any, peer_encode: Any, peer_decode: Any
) -> None:
    piece, size = pieces[0], pieces[0].nbytes
    streams = ours.encode_many(pieces)
    stream = peer_encode(piece)
    assert streams[0] == stream
    out = np.empty_like(piece)
    outs = [np.empty_like(p) for p in pieces]
    assert np.array_equal(ours.decode(stream, out), peer_decode(stream))
    bench.compare(
        label,
        size,
        lambda: peer_encode(piece),
        {
            "encode": (lambda: ours.encode(piece), size),
            "encode_many of 4": (lambda: ours.encode_many(pieces[:4]), 4 * size),
        },
    )
    bench.compare(
        label,
        size,
        lambda: peer_decode(stream),
        {
            "decode": (lambda: ours.decode(stream, out), size),
            **on_paths(lambda: ours.decode_many(streams, outs), 16 * size, "decode_many of 16"),
        },
    )


def bench_sections(bench: Bench, name: str, chunk: Array) -> None:
    label = f"{name} {'x'.join(map(str, chunk.shape))} kempressed"
    plain = kempressed.encode(chunk)
    seekable = kempressed.encode(chunk, seekable=True)
    out = np.empty_like(chunk)
    one = np.empty_like(chunk[:, :, :1])
    expected = peer_unkempress(seekable)
    assert np.array_equal(kempressed.decode(seekable, out), expected)
    kempressed.decode(seekable, one, sections=slice(40, 41))
    assert np.array_equal(one[:, :, 0], expected[:, :, 40])
    bench.compare(
        label,
        chunk.nbytes,
        lambda: peer_unkempress(plain),
        on_paths(lambda: kempressed.decode(seekable, out), chunk.nbytes, "decode, seekable"),
    )
    starts = FieldStarts()
    kempressed.decode(plain, out, starts=starts)
    middle = slice(40, 41)
    bench.compare(
        f"{label}, own decode as peer",
        chunk.nbytes,
        lambda: kempressed.decode(plain, out),
        {
            "one section, from the table": (
                lambda: kempressed.decode(seekable, one, sections=middle),
                chunk.nbytes,
            ),
            "one section, from kept starts": (
                lambda: kempressed.decode(plain, one, sections=middle, starts=starts),
                chunk.nbytes,
            ),
        },
    )


def markdown(result: dict[str, Any]) -> str:
    lines = [
        f"{result['processor']}; {result['system']}; paths: {', '.join(result['paths'])}; "
        f"{result['repeats']} rounds, medians.",
        "",
        "| data | what | peer MB/s | MB/s | ns a float | ratio |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {r['data']} | {r['what']} | {r['peer_MB_per_s']} | {r['MB_per_s']} | "
        f"{r['ns_per_float']} | {r['ratio']}x |"
        for r in result["rows"]
    ]
    return "\n".join(lines) + "\n"


def chart(result: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    rows = [
        r for r in result["rows"] if "kempressed" in r["data"] and "own decode" not in r["data"]
    ]
    first = rows[0]["data"].split(" ")[0]
    bars: dict[str, float] = {}
    for row in rows:
        if row["data"].startswith(first):
            bars.setdefault(row["what"], row["ratio"])
    figure = Figure(figsize=(7, 0.4 * len(bars) + 1.1), layout="constrained")
    axes = figure.add_subplot()
    names = list(bars)
    axes.barh(names, list(bars.values()), color="#3b7dd8", height=0.65)
    axes.axvline(1, color="#555", linewidth=1)
    for i, name in enumerate(names):
        axes.text(bars[name], i, f" {bars[name]:.1f}×", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as PyPI fpzip with CloudVolume's passes, one thread")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="affinities to measure on too: a precomputed volume, or c, z, y, x in a .npy",
    )
    parser.add_argument("--repeats", type=int, default=7, help="rounds for each figure")
    parser.add_argument("--quick", action="store_true", help="one shape only, three rounds")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder for results")
    options = parser.parse_args()
    repeats = 3 if options.quick else options.repeats
    bench = Bench(repeats)
    if options.data is not None:
        bench_volume(bench, options.data.resolve().stem, measured(options.data), options.quick)
    sample = np.asfortranarray(make_affinities((256, 256, 64)).T)
    bench_volume(bench, "sample", sample, options.quick)
    result = {
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "paths": list(_core.paths()),
        "repeats": repeats,
        "rows": bench.rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "codec.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "codec.md").write_text(markdown(result))
    try:
        chart(result, options.out / "codec.svg")
    except ImportError:
        print("matplotlib is not installed: no chart")


if __name__ == "__main__":
    main()
