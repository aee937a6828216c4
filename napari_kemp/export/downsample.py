"""Coarser values out of finer ones: means for images, the most frequent label for segmentations.

Coarse voxel i covers the fine voxels i * factor to (i + 1) * factor - 1 in absolute coordinates,
whatever the voxel offset, so that all scales show the same point of space. At the edges of a volume
a coarse voxel has fewer fine ones, and only those count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.precomputed import Box
from napari_kemp.precomputed.grid import Triple

Downsample = Callable[[NDArray[Any], Triple, Triple], NDArray[Any]]


def coarser(box: Box, factor_xyz: Triple) -> Box:
    """Return the coarse voxels of which a box of fine ones holds at least a part."""
    x, y, z = (start // f for start, f in zip(box.start_xyz, factor_xyz, strict=True))
    x1, y1, z1 = (-(-stop // f) for stop, f in zip(box.stop_xyz, factor_xyz, strict=True))
    return Box((x, y, z), (x1, y1, z1))


def means(fine_czyx: NDArray[Any], start_xyz: Triple, factor_xyz: Triple) -> NDArray[Any]:
    """Average the fine voxels of each coarse one.

    Parameters
    ----------
    fine_czyx : ndarray
        (c, z, y, x). NaN stands for "no value": it does not count, and where there is nothing else
        the mean is NaN. Means of integers are rounded to the nearest, halves to even.
    start_xyz : tuple of int
        Absolute coordinates of its first voxel.
    factor_xyz : tuple of int
        Fine voxels in a coarse one.

    Returns
    -------
    ndarray
        (c, z, y, x) of the same type, that covers `coarser` of the box of the fine values.
    """
    dtype = fine_czyx.dtype
    sums, counts = _sums(fine_czyx, start_xyz, factor_xyz)
    if dtype.kind == "f" and np.isnan(np.min(sums, initial=0)):
        present = ~np.isnan(fine_czyx)
        sums, _ = _sums(np.where(present, fine_czyx, dtype.type(0)), start_xyz, factor_xyz)
        counts, _ = _sums(present, start_xyz, factor_xyz)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, as it should be
        np.divide(sums, counts, out=sums, casting="same_kind")
    if dtype.kind != "f":
        np.rint(sums, out=sums)
    return sums.astype(dtype, copy=False)


def modes(fine_czyx: NDArray[Any], start_xyz: Triple, factor_xyz: Triple) -> NDArray[Any]:
    """Choose the most frequent value of each coarse voxel; parameters as for `means`.

    Of values that are equally frequent, the one with the lowest z, then y, then x is chosen. The
    background is a value like any other.
    """
    padding = [(0, 0)]
    for size, start, f in zip(fine_czyx.shape[1:], start_xyz[::-1], factor_xyz[::-1], strict=True):
        # To repeat the voxels at the edge changes no majority among them.
        padding.append((start % f, -(start + size) % f))
    if any(before or after for before, after in padding):
        fine_czyx = np.pad(fine_czyx, padding, mode="edge")
    fx, fy, fz = factor_xyz
    candidates = [
        np.ascontiguousarray(fine_czyx[:, z::fz, y::fy, x::fx])
        for z, y, x in product(range(fz), range(fy), range(fx))
    ]
    best = candidates[0].copy()
    most = np.zeros(best.shape, np.uint8)
    for candidate in candidates:
        count = np.zeros(best.shape, np.uint8)
        for other in candidates:
            count += candidate == other
        np.copyto(best, candidate, where=count > most)
        np.maximum(most, count, out=most)
    return best


def _sums(
    fine_czyx: NDArray[Any], start_xyz: Triple, factor_xyz: Triple
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Add up the fine voxels of each coarse one, and count them (in a shape that broadcasts)."""
    dtype = fine_czyx.dtype if fine_czyx.dtype.kind == "f" else np.dtype(np.float64)
    axes = [
        [*_phases(start, size, f)]
        for start, size, f in zip(
            start_xyz[::-1], fine_czyx.shape[1:], factor_xyz[::-1], strict=True
        )
    ]
    lengths = [
        -(-(start + size) // f) - start // f
        for start, size, f in zip(
            start_xyz[::-1], fine_czyx.shape[1:], factor_xyz[::-1], strict=True
        )
    ]
    sums = np.zeros((len(fine_czyx), *lengths), dtype)
    counts = np.zeros(lengths, dtype)
    for (to_z, from_z), (to_y, from_y), (to_x, from_x) in product(*axes):
        sums[:, to_z, to_y, to_x] += fine_czyx[:, from_z, from_y, from_x]
        counts[to_z, to_y, to_x] += 1
    return sums, counts


def _phases(start: int, size: int, factor: int) -> Iterator[tuple[slice, slice]]:
    """Pair coarse voxels with the first, second... fine voxel of each, along one axis."""
    for phase in range(factor):
        first = (phase - start) % factor
        if first < size:
            to = (start + first) // factor - start // factor
            number = len(range(first, size, factor))
            yield slice(to, to + number), slice(first, None, factor)
