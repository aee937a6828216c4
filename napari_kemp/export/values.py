"""What a save does to values: its largest error, and which values are unlike affinities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.codec import kempressed

# Values looked at together: their scratch arrays stay in the processor's cache.
_TOGETHER = 1 << 17


@dataclass(frozen=True)
class Census:
    """What was found in values, and what became of them.

    Attributes
    ----------
    count : int
        Values looked at.
    outside, nan, infinite : int
        How many of them are finite but below 0 or above 1, are NaN, or are infinite.
    max_abs_error : float
        Largest absolute difference between what was to be stored and what is; infinite if a NaN or
        an infinity came or went.
    """

    count: int = 0
    outside: int = 0
    nan: int = 0
    infinite: int = 0
    max_abs_error: float = 0.0

    def __add__(self, other: Census) -> Census:
        return Census(
            self.count + other.count,
            self.outside + other.outside,
            self.nan + other.nan,
            self.infinite + other.infinite,
            max(self.max_abs_error, other.max_abs_error),
        )


def _stored_values(chunk: NDArray[Any], encoding: str) -> NDArray[Any]:
    """Return what values read back as after an encoding that loses nothing but in its sums."""
    if encoding != "kempressed":
        return chunk
    two = np.float32(2)
    stored: NDArray[Any] = (chunk + two) - two
    return stored


def take_census(values: NDArray[Any], chunk: NDArray[Any], encoding: str) -> Census:
    """Look at the values of a chunk and at what they are stored as, without decoding anything.

    kempressed rounds when it adds 2 and when it takes 2 away, and what that does to a value is the
    same here as in the codec: both are single float32 operations. All other encodings keep every
    bit, but for fpzip with a precision (see `compare`).

    Parameters
    ----------
    values : ndarray
        As they were read.
    chunk : ndarray
        The same, in the type that is stored.
    encoding : str
        How they are stored.
    """
    if values.dtype.kind != "f":
        return Census(values.size)
    if values.dtype == chunk.dtype == np.float32:
        found = kempressed.survey(values.T)
        error = found.max_abs_error if encoding == "kempressed" else 0.0
        return Census(values.size, found.outside, found.nan, found.infinite, error)
    census = Census(values.size)
    for source, converted in zip(_slabs(values), _slabs(chunk), strict=True):
        census += _kinds(source)
        census += _difference(source, _stored_values(converted, encoding))
    return census


def compare(values: NDArray[Any], stored: NDArray[Any]) -> Census:
    """Find the largest difference; NaN equals NaN, and nothing else does.

    Both are chunks (c, z, y, x).
    """
    census = Census()
    for one, other in zip(_slabs(values), _slabs(stored), strict=True):
        census += _difference(one, other)
    return census


def is_stored_as(chunk: NDArray[Any], stored: NDArray[Any], encoding: str) -> bool:
    """Tell whether a chunk reads back as it should, after an encoding that is told by its sums.

    Not for fpzip with a precision, of which only a decoded stream can tell.
    """
    return all(
        _difference(_stored_values(one, encoding), other).max_abs_error == 0
        for one, other in zip(_slabs(chunk), _slabs(stored), strict=True)
    )


def _difference(values: NDArray[Any], stored: NDArray[Any]) -> Census:
    if values.dtype.kind != "f":
        return Census(max_abs_error=0.0 if np.array_equal(values, stored) else np.inf)
    with np.errstate(invalid="ignore"):
        difference = np.abs(np.subtract(stored, values, dtype=np.float64))
    same = (values == stored) | (np.isnan(values) & np.isnan(stored))
    difference[same] = 0.0
    difference[np.isnan(difference)] = np.inf
    return Census(max_abs_error=float(difference.max(initial=0.0)))


def _kinds(values: NDArray[Any]) -> Census:
    nan = int(np.count_nonzero(np.isnan(values)))
    infinite = int(np.count_nonzero(np.isinf(values)))
    # Comparisons with NaN are false.
    outside = int(np.count_nonzero((values < 0) | (values > 1))) - infinite
    return Census(outside=outside, nan=nan, infinite=infinite)


def _slabs(values_czyx: NDArray[Any]) -> Iterator[NDArray[Any]]:
    c, z, y, x = values_czyx.shape
    if values_czyx.size == 0:
        return
    rows = max(1, _TOGETHER // x)
    sections = max(1, _TOGETHER // (y * x))
    for channel in range(c):
        for start in range(0, z, sections):
            part = values_czyx[channel, start : start + sections]
            if sections > 1 or y <= rows:
                yield part
            else:
                for row in range(0, y, rows):
                    yield part[:, row : row + rows]
