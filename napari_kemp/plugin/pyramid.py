"""Which scales of a volume become levels of one multiscale layer, and in what box they agree.

napari knows no place for a coarser level: it stretches each level over the box of the finest one,
so it takes ``shape[0] / shape[i]`` for the downsampling factor and lets all levels begin at the
same edge. In a precomputed volume a coarser scale has a place of its own, a whole number of its
voxels from the origin, and covers a little more than the finest one where sizes or offsets do not
divide (101 voxels become 51 of double size). Stretched, it would lie off by up to a coarse voxel.

All scales have a grid line at the origin, however, so each box whose faces are multiples of the
coarsest voxel is a whole number of voxels in all of them. Seen in the smallest such box that holds
the volume, with background around it, each level lies exactly where it belongs. Where sizes and
offsets divide, that box is the volume itself, and nothing is added.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, prod
from typing import Protocol

Voxels = tuple[int, int, int]
Padding = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class PlacedScale(Protocol):
    """What must be known of a scale to place it; all in x, y, z."""

    @property
    def size(self) -> Sequence[int]:
        """Voxels of this scale."""

    @property
    def voxel_offset(self) -> Sequence[int]:
        """First voxel, in voxels of this scale."""

    @property
    def resolution(self) -> Sequence[float]:
        """Nanometres a voxel."""


@dataclass(frozen=True)
class Level:
    """One scale as a level of a multiscale layer.

    Attributes
    ----------
    scale
        Number of the scale in the volume.
    factor_xyz
        Voxels of the finest scale that one voxel of this one spans.
    padding_zyx
        Voxels of this scale to add before and after it, to fill the box.
    """

    scale: int
    factor_xyz: Voxels
    padding_zyx: Padding


@dataclass(frozen=True)
class Pyramid:
    """The levels of a layer, finest first, and the box that they share.

    Attributes
    ----------
    levels
        At least one: the finest scale.
    voxel_offset_xyz
        First voxel of the box, in voxels of the finest scale.
    """

    levels: tuple[Level, ...]
    voxel_offset_xyz: Voxels


def build_pyramid(scales: Sequence[PlacedScale]) -> Pyramid:
    """Choose the levels of a layer and the box in which they lie exactly on each other.

    A scale whose voxels are not whole blocks of voxels of the next finer level cannot be drawn in
    its place; it is left out, and the finer levels are drawn instead.

    Parameters
    ----------
    scales
        All scales of the volume, the finest first.
    """
    chosen: list[tuple[int, Voxels]] = [(0, (1, 1, 1))]
    for number, scale in enumerate(scales[1:], start=1):
        finer = chosen[-1][1]
        factor = _whole_factor(scales[0], scale)
        if (
            factor
            and prod(factor) > prod(finer)
            and not any(f % before for f, before in zip(factor, finer, strict=True))
        ):
            chosen.append((number, factor))

    coarsest = chosen[-1][1]
    low, high = [], []
    for axis in range(3):
        starts, stops = zip(
            *(
                (
                    scales[number].voxel_offset[axis] * factor[axis],
                    (scales[number].voxel_offset[axis] + scales[number].size[axis]) * factor[axis],
                )
                for number, factor in chosen
            ),
            strict=True,
        )
        step = coarsest[axis]
        low.append(floor(min(starts) / step) * step)
        high.append(ceil(max(stops) / step) * step)

    levels = []
    for number, factor in chosen:
        padding = [
            (
                scales[number].voxel_offset[axis] - low[axis] // factor[axis],
                high[axis] // factor[axis]
                - scales[number].voxel_offset[axis]
                - scales[number].size[axis],
            )
            for axis in (2, 1, 0)
        ]
        levels.append(Level(number, factor, (padding[0], padding[1], padding[2])))
    return Pyramid(tuple(levels), (low[0], low[1], low[2]))


def _whole_factor(finest: PlacedScale, scale: PlacedScale) -> Voxels | None:
    """Voxels of ``finest`` in one of ``scale`` along x, y and z; None if not a whole number."""
    factors = []
    for axis in range(3):
        ratio = scale.resolution[axis] / finest.resolution[axis]
        factor = round(ratio)
        # Resolutions are decimal fractions in JSON: 7.1 / 3.55 need not be 2 to the last bit. What
        # counts is that the far end of the volume is not drawn half a voxel beside its place.
        reach = max(abs(scale.voxel_offset[axis]), abs(scale.voxel_offset[axis] + scale.size[axis]))
        if factor < 1 or abs(ratio - factor) * reach >= 0.5:
            return None
        factors.append(factor)
    return factors[0], factors[1], factors[2]
