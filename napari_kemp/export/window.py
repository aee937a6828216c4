"""Reading a source in whole chunks of its own, so that none is decoded more often than need be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from napari_kemp.export.source import Source
from napari_kemp.precomputed import Box
from napari_kemp.precomputed.grid import Triple

_WINDOW_BYTES = 1 << 26


# New chunks that are made of one reading of the source, along one axis.
_GROUP_MOST = 8


def common_step(old: int, new: int, start: int) -> int | None:
    """Return after how many voxels along an axis old and new chunks end together.

    Parameters
    ----------
    old, new : int
        Extents of the chunks.
    start : int
        Where the first new chunk begins, counted from the beginning of an old one.

    Returns
    -------
    int or None
        None where that is never, or too far away.
    """
    step = math.lcm(old, new)
    return step if start % old == 0 and step <= _GROUP_MOST * new else None


class Window:
    """What was read last of a source, for one task.

    A box that is asked for grows to a box of a regular grid, which holds as many new chunks that
    are asked for one after the other as stay below 64 MiB, and where possible ends where chunks of
    the source do. What is read is kept until a box outside of it is asked for.

    Parameters
    ----------
    source : Source
        What to read.
    bounds : Box
        What may be read of it. New chunks begin where it begins.
    extents : sequence of tuple of int
        Extents of a new chunk, and of ever larger boxes of them. All chunks of such a box are asked
        for one after the other, the first one first; a few voxels below the box may be asked for
        with its first chunks.

    Attributes
    ----------
    steps : tuple of int or None
        The grid's; None where not even what one chunk needs is small enough. Boxes grow as far as
        they can, then.
    """

    def __init__(self, source: Source, bounds: Box, extents: Sequence[Triple]):
        self._source = source
        self._bounds = bounds
        self._voxel = source.num_channels * source.dtype.itemsize
        self.steps: Triple | None = None
        for extent in extents:
            steps = self._ends_together(extent)
            if math.prod(steps) * self._voxel <= _WINDOW_BYTES:
                self.steps = steps
        self._box: Box | None = None
        self._values: NDArray[Any] | None = None

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box, (c, z, y, x)."""
        if self._box is None or not _holds(self._box, box):
            grown = self._grown(box)
            if grown == box:
                return self._source.read(box)
            self._values = None  # before the next, not beside it
            self._values, self._box = self._source.read(grown), grown
        assert self._values is not None
        x, y, z = (
            slice(a - low, b - low) for a, b, low in zip(*box, self._box.start_xyz, strict=True)
        )
        return self._values[:, z, y, x]

    def _ends_together(self, extent: Triple) -> Triple:
        """Return after how many voxels boxes of new chunks end where chunks of the source do.

        Along an axis where that is never, nothing is gained by reading more than the box.
        """
        x, y, z = (
            common_step(old, new, start) or new
            for old, new, start in zip(
                self._source.chunk_xyz, extent, self._bounds.start_xyz, strict=True
            )
        )
        return x, y, z

    def _grown(self, box: Box) -> Box:
        if self.steps is None:
            return self._grown_to_chunks(box)
        start, stop = [], []
        for low, high, step, first, last in zip(*box, self.steps, *self._bounds, strict=True):
            cell = first + (high - 1 - first) // step * step
            start.append(min(low, cell))
            stop.append(min(cell + step, last))
        return Box(_triple(start), _triple(stop))

    def _grown_to_chunks(self, box: Box) -> Box:
        """Grow a box to the chunks of the source, axis by axis, the cheapest first."""
        start, stop = [*box.start_xyz], [*box.stop_xyz]
        wanted = []
        for axis, size in enumerate(self._source.chunk_xyz):
            low = max(start[axis] // size * size, self._bounds.start_xyz[axis])
            high = min(-(-stop[axis] // size) * size, self._bounds.stop_xyz[axis])
            wanted.append(((high - low) / (stop[axis] - start[axis]), axis, low, high))
        for _, axis, low, high in sorted(wanted):
            shape = [b - a for a, b in zip(start, stop, strict=True)]
            shape[axis] = high - low
            if math.prod(shape) * self._voxel <= _WINDOW_BYTES:
                start[axis], stop[axis] = low, high
        return Box(_triple(start), _triple(stop))


def _holds(outer: Box, inner: Box) -> bool:
    return all(a <= start and stop <= b for a, b, start, stop in zip(*outer, *inner, strict=True))


def _triple(values: list[int]) -> Triple:
    x, y, z = values
    return x, y, z
