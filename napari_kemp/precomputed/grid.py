"""The chunk grid: which chunks a volume has, where they lie, and what they are called."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

Triple = tuple[int, int, int]


class Box(NamedTuple):
    """A box of voxels, in absolute voxel coordinates of one scale.

    Attributes
    ----------
    start_xyz, stop_xyz : tuple of int
        The lowest corner, and the corner just beyond the highest voxel.
    """

    start_xyz: Triple
    stop_xyz: Triple

    @property
    def shape_xyz(self) -> Triple:
        """Extent in voxels, 0 where the box is empty."""
        x, y, z = (
            max(0, stop - start) for start, stop in zip(self.start_xyz, self.stop_xyz, strict=True)
        )
        return x, y, z


@dataclass(frozen=True, slots=True)
class ChunkGrid:
    """The regular grid of chunks that covers one scale of a volume.

    The grid starts at the voxel offset; chunks at the upper ends are clipped to the bounds. Cells
    are counted from 0 in x, y, z. Nothing is stored per chunk.

    Parameters
    ----------
    size_xyz : tuple of int
        Extent of the scale, in voxels.
    chunk_xyz : tuple of int
        Extent of a whole chunk, in voxels.
    voxel_offset_xyz : tuple of int
        Absolute coordinates of the lowest voxel.
    """

    size_xyz: Triple
    chunk_xyz: Triple
    voxel_offset_xyz: Triple = (0, 0, 0)

    @property
    def shape_xyz(self) -> Triple:
        """Cells along each axis."""
        x, y, z = (-(-s // c) for s, c in zip(self.size_xyz, self.chunk_xyz, strict=True))
        return x, y, z

    @property
    def num_cells(self) -> int:
        """Cells in all."""
        return math.prod(self.shape_xyz)

    @property
    def bounds(self) -> Box:
        """The box that the scale fills."""
        x, y, z = (o + s for o, s in zip(self.voxel_offset_xyz, self.size_xyz, strict=True))
        return Box(self.voxel_offset_xyz, (x, y, z))

    def box(self, cell_xyz: Triple) -> Box:
        """Return the box of voxels that a chunk holds.

        Raises
        ------
        IndexError
            If there is no such cell in the grid.
        """
        starts: list[int] = []
        stops: list[int] = []
        for cell, cells, chunk, offset, size in zip(
            cell_xyz,
            self.shape_xyz,
            self.chunk_xyz,
            self.voxel_offset_xyz,
            self.size_xyz,
            strict=True,
        ):
            if not 0 <= cell < cells:
                raise IndexError(f"cell {cell_xyz} is outside a grid of {self.shape_xyz} cells")
            starts.append(offset + cell * chunk)
            stops.append(offset + min((cell + 1) * chunk, size))
        return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))

    def name(self, cell_xyz: Triple) -> str:
        """Return the name of a chunk's object, ``x0-x1_y0-y1_z0-z1``."""
        return "_".join(f"{a}-{b}" for a, b in zip(*self.box(cell_xyz), strict=True))

    def cells(self, box: Box | None = None) -> Iterator[Triple]:
        """Iterate over the cells that touch a box (default: all), x fastest, then y, then z."""
        box = self.bounds if box is None else box
        ranges = []
        for start, stop, offset, size, chunk in zip(
            *box, self.voxel_offset_xyz, self.size_xyz, self.chunk_xyz, strict=True
        ):
            low, high = max(start - offset, 0), min(stop - offset, size)
            ranges.append(range(low // chunk, -(-high // chunk)) if low < high else range(0))
        # itertools.product would first make tuples of whole axes.
        return ((x, y, z) for z in ranges[2] for y in ranges[1] for x in ranges[0])

    def snapped(self, point_xyz: Triple) -> Triple:
        """Return the corner of the grid that is nearest to a point."""
        corner = []
        for point, offset, chunk, cells in zip(
            point_xyz, self.voxel_offset_xyz, self.chunk_xyz, self.shape_xyz, strict=True
        ):
            cell = (2 * (point - offset) + chunk) // (2 * chunk)
            corner.append(offset + chunk * min(max(cell, 0), max(cells - 1, 0)))
        return corner[0], corner[1], corner[2]
