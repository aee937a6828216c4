"""Coarse levels for volumes that have none: samples of the coarsest scale, a bounded number.

Zoomed out, a volume without coarser scales would have to be read as a whole. Instead each voxel of
a virtual level shows one true voxel of the coarsest scale there is, the one nearest to it on a
lattice. While a chunk covers at least `PIXELS_PER_CHUNK` voxels of the level along x and y, each
voxel of the level has a sample of its own; further out one sample, and one chunk, serves for a
block of so many. So no picture takes more chunks than it has blocks, however large the volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.plugin.pyramid import PlacedScale
from napari_kemp.precomputed.reader import ReadOptions

Triple = tuple[int, int, int]

PIXELS_PER_CHUNK = 32
_MOST_SECTION_VOXELS = 1 << 24
_SMALLEST_SECTION = 1024  # voxels along the longer of x and y
_DEPTH_IN_3D = 128


@dataclass(frozen=True)
class SampledScale:
    """A virtual scale, in its own voxels; all in x, y, z.

    Attributes
    ----------
    size, voxel_offset, resolution
        As in an ``info`` file.
    factor
        Voxels of the coarsest real scale that one of its voxels spans.
    lattice
        Distance of the samples, in voxels of the coarsest real scale.
    """

    size: Triple
    voxel_offset: Triple
    resolution: tuple[float, float, float]
    factor: Triple
    lattice: Triple


def sampled_scales(coarsest: PlacedScale, chunk_xyz: Triple) -> list[SampledScale]:
    """Choose virtual scales, finest first; none where a whole section can well be shown."""
    x, y, z = coarsest.size
    if x * y <= _MOST_SECTION_VOXELS:
        return []
    scales = []
    factor = 1
    while max(x, y) // factor > _SMALLEST_SECTION:
        factor *= 2
        lattices = [
            factor if chunk // factor >= PIXELS_PER_CHUNK else factor * PIXELS_PER_CHUNK
            for chunk in chunk_xyz[:2]
        ]
        scales.append(_sampled(coarsest, (factor, factor, 1), (lattices[0], lattices[1], 1)))
    # napari shows the coarsest level in 3D, and all of it.
    depth = 1 << max(0, (-(-z // _DEPTH_IN_3D) - 1).bit_length())
    factor *= 2
    spread = factor * PIXELS_PER_CHUNK
    scales.append(_sampled(coarsest, (factor, factor, depth), (spread, spread, 8 * depth)))
    return scales


def _sampled(base: PlacedScale, factor: Triple, lattice: Triple) -> SampledScale:
    starts = [o // f for o, f in zip(base.voxel_offset, factor, strict=True)]
    stops = [-(-(o + n) // f) for o, n, f in zip(base.voxel_offset, base.size, factor, strict=True)]
    sizes = [b - a for a, b in zip(starts, stops, strict=True)]
    steps = [r * f for r, f in zip(base.resolution, factor, strict=True)]
    return SampledScale(
        (sizes[0], sizes[1], sizes[2]),
        (starts[0], starts[1], starts[2]),
        (steps[0], steps[1], steps[2]),
        factor,
        lattice,
    )


class SampledArray:
    """The values of a virtual scale, (c, z, y, x): reads the samples that it is indexed for.

    Parameters
    ----------
    array
        Of the coarsest real scale, (c, z, y, x).
    scale
        The virtual scale.
    base_offset_xyz
        First voxel of the real scale.
    """

    def __init__(self, array: Any, scale: SampledScale, base_offset_xyz: Triple) -> None:
        self._array = array
        self._axes = [
            _Lattice(o, n, f, step, first)
            for o, n, f, step, first in zip(
                base_offset_xyz[::-1],
                array.shape[1:],
                scale.factor[::-1],
                scale.lattice[::-1],
                scale.voxel_offset[::-1],
                strict=True,
            )
        ]
        self.shape = (array.shape[0], *scale.size[::-1])
        self.dtype = array.dtype
        self.chunks = (
            array.shape[0],
            *(max(1, c // f) for c, f in zip(array.chunks[1:], scale.factor[::-1], strict=True)),
        )

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        return self.read(key)

    def read(self, key: tuple[Any, ...], options: ReadOptions | None = None) -> NDArray[Any]:
        """Read samples; a key is a slice for each axis, rising, or one integer for z."""
        samples, places = self._samples(key)
        values: NDArray[Any] = self._array.read((key[0], *samples), options)
        return values[np.ix_(np.arange(values.shape[0]), *places)]

    def prefetch(self, key: tuple[Any, ...], options: ReadOptions | None = None) -> None:
        """Read what indexing would need into the cache."""
        self._array.prefetch((key[0], *self._samples(key)[0]), options)

    def _samples(self, key: tuple[Any, ...]) -> tuple[list[slice], list[NDArray[np.intp]]]:
        samples, places = [], []
        for one, axis, n in zip(key[1:], self._axes, self.shape[1:], strict=True):
            wanted = range(n)[one if isinstance(one, slice) else slice(one, one + 1)]
            indices = axis.sample_of(np.arange(wanted.start, wanted.stop, wanted.step))
            samples.append(axis.base_slice(int(indices[0]), int(indices[-1])))
            places.append(indices - indices[0])
        return samples, places


@dataclass(frozen=True)
class _Lattice:
    """Where samples lie along one axis: in the middle of cells that are counted from the origin."""

    offset: int  # of the real scale
    length: int
    factor: int
    step: int
    first: int  # voxel of the virtual scale

    @property
    def _start(self) -> int:
        """First voxel of the real scale that is a sample, from 0."""
        start = (self.step // 2 - self.offset) % self.step
        return start if start < self.length else self.length // 2

    def sample_of(self, voxels: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the numbers of the samples that voxels of the virtual scale show."""
        cells = (voxels + self.first) * self.factor // self.step
        first_cell = (self.offset + self._start) // self.step
        number = -(-(self.length - self._start) // self.step)
        clipped: NDArray[np.intp] = np.clip(cells - first_cell, 0, number - 1)
        return clipped

    def base_slice(self, first: int, last: int) -> slice:
        """Return the voxels of the real scale that are samples `first` to `last`."""
        start = self._start + first * self.step
        return slice(start, self._start + last * self.step + 1, self.step)
