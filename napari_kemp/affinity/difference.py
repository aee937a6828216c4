"""How far two volumes of the same place differ."""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Triple = tuple[int, int, int]

# A block is what is in memory of each channel at a time: 16 MB of float32.
_BLOCK_ZYX = (16, 512, 512)


@dataclass(frozen=True)
class Difference:
    """How far two volumes differ in the voxels that were compared so far.

    Attributes
    ----------
    largest
        The largest absolute difference of two values, in any channel; NaN if there is one.
    at_zyx
        The first voxel that has it; None before anything was compared.
    mean
        The mean absolute difference of all values.
    values
        How many values were compared: voxels times channels.
    done, total
        Blocks, of all that there are.
    """

    largest: float
    at_zyx: Triple | None
    mean: float
    values: int
    done: int
    total: int


def largest_difference(*channels: NDArray[Any]) -> NDArray[Any]:
    """Return the largest absolute difference of any channel, voxel by voxel.

    Parameters
    ----------
    *channels
        The channels of one volume, and then as many of the other.
    """
    half = len(channels) // 2
    pairs = zip(channels[:half], channels[half:], strict=True)
    largest: NDArray[Any] = np.maximum.reduce([_absolute(one, other) for one, other in pairs])
    return largest


def measure_difference(
    one: Sequence[Any],
    other: Sequence[Any],
    start_zyx: Triple,
    stop_zyx: Triple,
    block_zyx: Triple = _BLOCK_ZYX,
) -> Generator[Difference, None, Difference]:
    """Compare two volumes within a box, block by block, in bounded memory.

    Parameters
    ----------
    one, other
        Their channels, arrays (z, y, x) that can be sliced.
    start_zyx, stop_zyx
        The first voxel of the box, and the one beyond the last.
    block_zyx
        Voxels that are read at a time.

    Yields
    ------
    Difference
        After each block, of what has been compared so far.

    Returns
    -------
    Difference
        Of the whole box.
    """
    total = math.prod(
        -(-max(0, stop - start) // step)
        for start, stop, step in zip(start_zyx, stop_zyx, block_zyx, strict=True)
    )
    found = Difference(0.0, None, 0.0, 0, 0, total)
    summed = 0.0
    for done, block in enumerate(_blocks(start_zyx, stop_zyx, block_zyx), start=1):
        largest, at, values = found.largest, found.at_zyx, found.values
        for a, b in zip(one, other, strict=True):
            part = _absolute(np.asarray(a[block]), np.asarray(b[block]))
            summed += float(part.sum(dtype=np.float64))
            values += part.size
            # argmax stops at the first NaN: what cannot be compared differs most.
            place = np.unravel_index(int(part.argmax()), part.shape)
            value = float(part[place])
            if at is None or value > largest or (math.isnan(value) and not math.isnan(largest)):
                z, y, x = (int(p) + each.start for p, each in zip(place, block, strict=True))
                largest, at = value, (z, y, x)
        found = Difference(largest, at, summed / values, values, done, total)
        yield found
    return found


def _absolute(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    # Unsigned integers would wrap around, and float32 is what affinities are.
    kind = np.result_type(one, other, np.float32)
    with np.errstate(invalid="ignore"):
        difference: NDArray[Any] = np.abs(one.astype(kind) - other.astype(kind))
    same = one == other
    # Of two infinities, too.
    return np.where(same, 0, difference)


def _blocks(start: Triple, stop: Triple, step: Triple) -> Iterator[tuple[slice, slice, slice]]:
    for corner in product(*(range(a, b, s) for a, b, s in zip(start, stop, step, strict=True))):
        z, y, x = (slice(c, min(c + s, b)) for c, s, b in zip(corner, step, stop, strict=True))
        yield z, y, x
