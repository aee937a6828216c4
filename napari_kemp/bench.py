"""The compression table of kempressed, recomputed on the user's own data, beside the peers.

Every manipulation of the data (none, adding 2.0, adding 2.0 and reordering to X, Y, C, Z) is
combined with every codec. The codecs take turns within a round, so that all see the same machine;
the figures are the medians of the rounds.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from napari_kemp.codec import fpzip, kempressed
from napari_kemp.errors import KempError
from napari_kemp.export import Source

Chunk = NDArray[np.float32]
_Seconds = tuple[float, float, float, float]

CHUNK_XYZ = (256, 256, 16)
"""Largest piece of the data that is measured, as in the published table."""


@dataclass(frozen=True)
class Row:
    """One line of the table; seconds are medians, for one chunk.

    Attributes
    ----------
    manipulation, codec : str
        What was done to the values, and what compressed them.
    encode, compress, decompress, decode : float
        Seconds for the manipulation, the codec, and both ways back.
    size : int
        Bytes of the compressed chunk.
    ratio : float
        Of the raw size.
    max_abs_error : float
        Largest absolute difference after the way there and back.
    """

    manipulation: str
    codec: str
    encode: float
    compress: float
    decompress: float
    decode: float
    size: int
    ratio: float
    max_abs_error: float


@dataclass(frozen=True)
class Table:
    """The table and what it was measured on.

    Attributes
    ----------
    data : str
        Where the chunk comes from.
    shape_xyzc : tuple of int
        Its shape.
    raw : int
        Its bytes.
    rounds : int
        Rounds behind each median.
    processor : str
        The machine.
    rows : list of Row
        The table.
    """

    data: str
    shape_xyzc: tuple[int, ...]
    raw: int
    rounds: int
    processor: str
    rows: list[Row]

    def to_json(self) -> dict[str, Any]:
        """Return the table as members of a JSON object."""
        return {**asdict(self), "speedups": self.speedups()}

    def speedups(self) -> dict[str, float]:
        """Return how many times faster ours is than PyPI fpzip, where that was measured."""
        ratios = {}
        by_name = {(row.manipulation, row.codec): row for row in self.rows}
        for (manipulation, codec), ours in by_name.items():
            peer = by_name.get((manipulation, "fpzip"))
            if codec == "ours" and peer is not None:
                there = (peer.encode + peer.compress) / (ours.encode + ours.compress)
                back = (peer.decompress + peer.decode) / (ours.decompress + ours.decode)
                ratios[f"{manipulation}: compress"] = there
                ratios[f"{manipulation}: decompress"] = back
        return ratios

    def __str__(self) -> str:
        x, y, z, c = self.shape_xyzc
        lines = [
            f"{self.data}: {x} x {y} x {z} x {c} float32, {self.raw / 1e6:.1f} MB",
            f"{self.processor}; one thread; medians of {self.rounds} rounds, codecs in turn",
            "",
            "| manipulation | codec | encode s | compress s | decompress s | decode s "
            "| bytes | ratio | largest error |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for row in self.rows:
            lines.append(
                f"| {row.manipulation} | {row.codec} | {row.encode:.4f} | {row.compress:.4f} "
                f"| {row.decompress:.4f} | {row.decode:.4f} | {row.size} "
                f"| {100 * row.ratio:.2f} % | {row.max_abs_error:.2g} |"
            )
        speedups = self.speedups()
        if speedups:
            lines += ["", "ours against PyPI fpzip, manipulation included:"]
            lines += [f"  {name} {factor:.2f} x" for name, factor in speedups.items()]
        else:
            lines += [
                "",
                "PyPI fpzip is left out: it is not installed (pip install 'napari-kemp[bench]'), "
                "or these values do not compress, which it does not survive",
            ]
        return "\n".join(lines)


@dataclass(frozen=True)
class _Codec:
    """A codec, as functions of contiguous bytes or arrays in Fortran order."""

    name: str
    compress: Callable[[Chunk], Any]
    decompress: Callable[[Any, tuple[int, ...]], Chunk]


def middle(source: Source) -> Chunk:
    """Read the piece to measure: the middle of the source, as (x, y, z, c) float32.

    Raises
    ------
    KempError
        If the values are not floating-point.
    """
    if source.dtype.kind != "f":
        raise KempError(f"the table is made for affinities (floats), these are {source.dtype.name}")
    values = source.read(source.middle(CHUNK_XYZ)).T
    if not values.size:
        raise KempError("the source has no voxels to measure")
    # A copy in any case: PyPI fpzip does not take read-only memory, such as a mapped file.
    return np.array(values, dtype=np.float32, order="F")


def measure(chunk: Chunk, data: str, rounds: int = 5) -> Table:
    """Measure the table.

    Parameters
    ----------
    chunk : ndarray
        (x, y, z, c) float32, Fortran order.
    data : str
        What to call it.
    rounds : int
        How often everything is done.

    Raises
    ------
    KempError
        If a lossless codec does not give back what it was given.
    """

    def medians(times: list[_Seconds]) -> _Seconds:
        a, b, c, d = (statistics.median(column) for column in zip(*times, strict=True))
        return a, b, c, d

    cases = [case for case in _cases() if case[1].name != "fpzip" or not _expands(case[2](chunk))]
    timings: list[list[_Seconds]] = [[] for _ in cases]
    results: list[tuple[int, float]] = [(0, 0.0)] * len(cases)
    for _ in range(rounds):
        for index, (manipulation, codec, encode, decode) in enumerate(cases):
            encode_s, encoded = _timed(encode, chunk)
            compress_s, stream = _timed(codec.compress, encoded)
            decompress_s, decompressed = _timed(codec.decompress, stream, encoded.shape)
            decode_s, decoded = _timed(decode, decompressed)
            timings[index].append((encode_s, compress_s, decompress_s, decode_s))
            error = float(np.nanmax(np.abs(decoded - chunk), initial=0.0))
            if manipulation == "none" and error:
                raise KempError(f"{codec.name} is lossless, but its error is {error}")
            results[index] = len(stream), error
    rows = [
        Row(
            manipulation,
            codec.name,
            *medians(times),
            size,
            size / chunk.nbytes,
            error,
        )
        for (manipulation, codec, _, _), times, (size, error) in zip(
            cases, timings, results, strict=True
        )
    ]
    return Table(data, chunk.shape, chunk.nbytes, rounds, processor(), rows)


def processor() -> str:
    """Return the name of this machine's processor and how many there are."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {os.cpu_count()} cores"


def _cases() -> Iterator[tuple[str, _Codec, Callable[[Chunk], Chunk], Callable[[Chunk], Chunk]]]:
    manipulations: Sequence[tuple[str, Callable[[Chunk], Chunk], Callable[[Chunk], Chunk]]] = [
        ("none", _same, _same),
        ("+2.0", _plus_two, _minus_two),
        ("+2.0 & XYCZ", _plus_two_xycz, _minus_two_xycz),
    ]
    for name, encode, decode in manipulations:
        for codec in _peers():
            yield name, codec, encode, decode
        if name == "+2.0 & XYCZ":
            # Both manipulations are part of our pass over the values.
            ours = _Codec("ours", kempressed.encode, lambda data, _: kempressed.decode(data))
            yield name, ours, _same, _same
        else:
            ours = _Codec("ours", fpzip.encode, lambda data, _: fpzip.decode(data))
            yield name, ours, encode, decode


def _expands(encoded: Chunk) -> bool:
    """Tell whether fpzip makes values larger; PyPI's then writes past the end of its buffer."""
    return len(fpzip.encode(encoded)) > encoded.nbytes


def _peers() -> list[_Codec]:
    zstd = zstandard.ZstdCompressor(level=14)
    unzstd = zstandard.ZstdDecompressor()
    # gzip's own container adds 12 bytes to what zlib writes here, and no time.
    codecs = [
        _Codec(
            "gzip -6",
            lambda a: zlib.compress(_bytes(a), 6),
            lambda d, s: _chunk(zlib.decompress(d), s),
        ),
        _Codec(
            "zstd -14",
            lambda a: zstd.compress(_bytes(a)),
            lambda d, s: _chunk(unzstd.decompress(d), s),
        ),
    ]
    try:
        import fpzip as reference
    except ImportError:
        return codecs
    return [
        *codecs,
        _Codec(
            "fpzip",
            lambda a: reference.compress(a, order="F"),
            lambda d, _: reference.decompress(d, order="F"),
        ),
    ]


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def _bytes(chunk: Chunk) -> memoryview:
    return chunk.T.data.cast("B")


def _chunk(data: bytes, shape: tuple[int, ...]) -> Chunk:
    return np.frombuffer(data, np.float32).reshape(shape, order="F")


def _same(chunk: Chunk) -> Chunk:
    return chunk


def _plus_two(chunk: Chunk) -> Chunk:
    return np.float32(2) + chunk


def _minus_two(chunk: Chunk) -> Chunk:
    return chunk - np.float32(2)


def _plus_two_xycz(chunk: Chunk) -> Chunk:
    return np.asfortranarray((np.float32(2) + chunk).transpose(0, 1, 3, 2))


def _minus_two_xycz(chunk: Chunk) -> Chunk:
    return np.asfortranarray(chunk.transpose(0, 1, 3, 2) - np.float32(2))
