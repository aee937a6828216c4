"""What the fuzz targets begin with: ``python seeds.py FOLDER`` makes a corpus for each of them."""

from __future__ import annotations

import itertools
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.codec import SectionTable, fpzip, kempressed

SHAPES = ((1, 1, 1, 1), (7, 5, 3, 2), (33, 9, 7, 3), (300, 2, 1, 1), (0, 4, 3, 2))
COUNTS = (1, 2, 5, 9, 17, 33)
PLUS_TWO = 0x40
IS_DOUBLE = 0x20


def smooth(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0) -> NDArray[Any]:
    steps = np.random.default_rng(seed).normal(0, 0.03, shape)
    return np.clip(np.cumsum(steps, axis=0) + 0.5, 0, 1).astype(dtype)


def wild(shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """Smooth but for NaNs, infinities and denormal numbers."""
    array = smooth(shape, dtype)
    array.ravel()[::11] = np.nan
    array.ravel()[1::13] = np.inf
    array.ravel()[2::17] = np.finfo(dtype).smallest_subnormal
    return array


def streams() -> Iterator[bytes]:
    for shape, precision in itertools.product(SHAPES, (0, 8, 16, 24, 32)):
        yield fpzip.encode(smooth(shape), precision)
    for shape, precision in itertools.product(SHAPES, (0, 8, 32, 64)):
        yield fpzip.encode(smooth(shape, np.float64), precision)
    for shape in SHAPES:
        yield kempressed.encode(smooth(shape))
        yield fpzip.encode(wild(shape))
        yield fpzip.encode(wild(shape, np.float64))


def from_the_end(layout: str, *numbers: int) -> bytes:
    """Pack numbers so that a FuzzedDataProvider, which takes them from the end, meets them so."""
    pieces = [struct.pack(f"<{kind}", n) for kind, n in zip(layout, numbers, strict=True)]
    return b"".join(reversed(pieces))


def decode_seeds() -> Iterator[bytes]:
    for i, stream in enumerate(streams()):
        count, flags = COUNTS[i % len(COUNTS)], i % 32
        yield stream + from_the_end("BBBI", count - 1, flags, 255, i)
        yield stream + from_the_end("BBBI", 0, flags, 1, i)
    largest = np.empty((2**31 - 1, 2**29, 1, 0), np.float32)
    for flags in (0, 8, 16, 24):  # in each layout
        yield fpzip.encode(largest) + from_the_end("BBBI", 0, flags, 255, 0)


def of_array(shape: tuple[int, ...], flags: int, precision: int, count: int) -> bytes:
    nx, ny, nz, nf = shape
    return from_the_end("BBHBBBB", flags, precision, nx, ny, nz, nf, count - 1)


def seek_seeds() -> Iterator[bytes]:
    keep_states, open_end = 1, 4
    for data, precision, kind in (
        (fpzip.encode(smooth((33, 9, 7, 3)), seekable=True), 0, 0),
        (fpzip.encode(smooth((300, 9, 1, 5)), 20, seekable=True), 20, 0),
        (fpzip.encode(smooth((20, 5, 3, 4)), 8, seekable=True), 8, 0),
        (fpzip.encode(smooth((20, 5, 3, 4), np.float64), seekable=True), 0, IS_DOUBLE),
        (kempressed.encode(smooth((17, 9, 20, 3)), seekable=True), 0, PLUS_TWO),
    ):
        table = SectionTable.read(data)
        body = data[: table.length]
        nx, ny, nz, nf = fpzip.header(body).shape
        entries = table.entries
        ends = [entry.offset + 4 for entry in entries[1:]] + [table.length]
        jobs = [
            from_the_end("HHII", end, entry.offset, entry.low, entry.range)
            for entry, end in zip(entries, ends, strict=True)
        ]
        for flags in (kind, kind | keep_states, kind | open_end):
            some = jobs[: min(nf, 5)]
            one_field = of_array((nx, ny, nz, 1), flags, precision, len(some))
            yield body + b"".join(reversed(some)) + one_field
            yield body + jobs[-1] + of_array((nx, ny, nz, 1), flags, precision, 1)


def roundtrip_seeds() -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    bodies = (
        rng.bytes(500),
        bytes(16),
        wild((9, 5, 3, 1)).tobytes(),
        wild((9, 5, 3, 1), np.float64).tobytes(),
        rng.integers(0, 1 << 32, 90, np.uint32).tobytes(),
    )
    shapes = (*SHAPES, (1100, 1, 1, 2), (16, 40, 8, 3))
    for i, (body, shape) in enumerate(itertools.product(bodies, shapes)):
        flags = i * 37 % 128
        for precision in (0, 4, 8, 9, 12, 24, 32, 64):
            count = COUNTS[(i + precision) % len(COUNTS)]
            if precision == 64:
                flags |= IS_DOUBLE
            yield body + of_array(shape, flags, precision, count)
    # Any arithmetic makes them quiet, also one that a compiler adds: clang did, of all lanes.
    signalling = rng.integers(1, 1 << 22, 90, np.uint32) | np.uint32(0x7F800000)
    for count in COUNTS:
        yield signalling.tobytes() + of_array((35, 2, 2, 2), 0, 0, count)


def table_seeds() -> Iterator[bytes]:
    as_it_is = b"\1"
    for stream in streams():
        yield stream + as_it_is
    for shape in SHAPES:
        yield kempressed.encode(smooth(shape), seekable=True) + as_it_is
        yield fpzip.encode(smooth(shape, np.float64), seekable=True) + as_it_is


def main() -> None:
    folder = Path(sys.argv[1])
    for name, seeds in (
        ("decode", decode_seeds()),
        ("seek", seek_seeds()),
        ("roundtrip", roundtrip_seeds()),
        ("table", table_seeds()),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, seed in enumerate(seeds):
            (folder / name / f"{i:03}").write_bytes(seed)


if __name__ == "__main__":
    main()
