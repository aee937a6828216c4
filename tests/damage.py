"""Damage streams, and count what comes of it.

The test suite does this to very small chunks; ``python tests/damage.py [CHUNK]`` measures how much
damage goes unnoticed, and the most memory that a decode takes, on larger ones of made-up
affinities, or on a kempressed chunk of one's own.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_kemp.codec import kempressed
from napari_kemp.errors import CodecError
from napari_kemp.sample import make_affinities

Array = NDArray[np.float32]
USUAL = (128, 128, 64)


def affinities(size_xyz: tuple[int, int, int]) -> Array:
    """Made-up affinities (x, y, z, c)."""
    return make_affinities(size_xyz).T


def flips(data: bytes, bits: Iterable[int] | None = None) -> Iterator[bytearray]:
    """Yield `data` with one bit flipped, again and again the same memory: each bit, or some."""
    damaged = bytearray(data)
    for bit in range(8 * len(data)) if bits is None else bits:
        damaged[bit // 8] ^= 1 << bit % 8
        yield damaged
        damaged[bit // 8] ^= 1 << bit % 8


def truncations(data: bytes) -> Iterator[memoryview]:
    for size in range(len(data)):
        yield memoryview(data)[:size]


def outcomes(
    damaged: Iterable[bytes | bytearray | memoryview],
    decode: Callable[[bytes | bytearray | memoryview], Array],
    whole: Array,
) -> Counter[str]:
    """Count how often damage is an "error", gives "another" array, or the "same" one."""
    found: Counter[str] = Counter(error=0, another=0, same=0)
    for data in damaged:
        try:
            array = decode(data)
        except CodecError:
            found["error"] += 1
        else:
            same = array.shape == whole.shape and array.tobytes("F") == whole.tobytes("F")
            found["same" if same else "another"] += 1
            del array  # or it would be there beside the next one
    return found


def stream_with_header(extent: tuple[int, int, int, int], size: int) -> bytes:
    """Return `size` bytes that begin with a header of float32, written as the format tells it."""
    low, width, out = 0, 0xFFFFFFFF, bytearray()

    def emit(count: int) -> None:
        nonlocal low
        for _ in range(count):
            out.append(low >> 24)
            low = low << 8 & 0xFFFFFFFF

    def shift(number: int, bits: int) -> None:
        nonlocal low, width
        width >>= bits
        low = (low + width * number) & 0xFFFFFFFF
        while (low ^ (low + width) & 0xFFFFFFFF) >> 24 == 0:
            emit(1)
            width = width << 8 & 0xFFFFFFFF
        if width < 1 << 16:
            emit(2)
            width = -low & 0xFFFFFFFF

    items = [(letter, 8) for letter in b"fpz\0"] + [(0x110, 16), (1, 8), (0, 1), (0, 7)]
    for n in extent:
        items += [(n & 0xFFFF, 16), (n >> 16, 16)]
    for number, bits in items:
        shift(number, bits)
    return (bytes(out) + low.to_bytes(4, "big")).ljust(size, b"\0")


def peak_kilobytes() -> int:
    """Return the most memory that this process has had since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def memory_of(data: bytes, bits: Iterable[int]) -> tuple[int, Counter[str]]:
    """Return by how many bytes decodes of a damaged chunk make the process grow, and what came."""
    small = affinities((8, 8, 4))
    kempressed.decode(kempressed.encode(small, seekable=True))
    damaged = flips(data, bits)
    next(damaged)  # has made its copy
    forget_peak()
    before = peak_kilobytes()
    found = outcomes(damaged, kempressed.decode, small)
    return (peak_kilobytes() - before) * 1024, found


def main() -> None:
    rng = np.random.default_rng(0)
    small = affinities((16, 16, 8))
    chunk = Path(sys.argv[1]).read_bytes() if len(sys.argv) > 1 else None
    usual = affinities(USUAL) if chunk is None else kempressed.decode(chunk)
    header_bits = range(8 * 32)
    for seekable in (False, True):
        data = kempressed.encode(usual, seekable=seekable)
        some = [*header_bits, *rng.integers(0, 8 * len(data), 100)]
        grown, _ = memory_of(data, some)
        print(f"{usual.shape}, seekable={seekable}: {grown / usual.nbytes:.2f} of the chunk")
    for name, array, number in (("small", small, None), ("usual", usual, 300)):
        for seekable in (False, True):
            data = kempressed.encode(array, seekable=seekable)
            whole = kempressed.decode(data)
            bits = None if number is None else rng.integers(0, 8 * len(data), number)
            found = outcomes(flips(data, bits), kempressed.decode, whole)
            print(f"{name} {array.shape}, seekable={seekable}, {len(data)} bytes: {dict(found)}")


if __name__ == "__main__":
    main()
