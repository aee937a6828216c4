"""The order of the work: sweeps over the volume, each a row of tasks that need not wait.

A sweep makes one or more scales at a time: a task reads its part of the finest of them and averages
it upwards while it has the values in hand, so that nothing is decoded again. The next sweep reads
what the one before it stored of its coarsest scale, which is a small part of the volume.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from napari_kemp.export.plan import Plan
from napari_kemp.export.shards import cells_in_shard
from napari_kemp.export.window import common_step
from napari_kemp.precomputed import ChunkGrid
from napari_kemp.precomputed.grid import Triple

Cell = tuple[int, Triple]
"""A chunk: which scale, and which cell of its grid."""

# A task has one chunk of each scale of its sweep in memory.
_COARSER_MOST = 2
# So that no processor runs out of tasks long before the others.
_TASKS_LEAST = 8
# Along one axis, so that the tasks of sources in large chunks do not become few.
_GROUP_MOST = 8


@dataclass(frozen=True)
class Sweep:
    """Scales that are made together.

    Attributes
    ----------
    base, top : int
        The finest and the coarsest of them. Values of the base come from the source if it is 0,
        else from the scale below it.
    grid : ChunkGrid
        The chunks of the coarsest.
    roots_xyz : tuple of int
        How many of them make a task, along each axis.
    """

    base: int
    top: int
    grid: ChunkGrid
    roots_xyz: Triple

    def _tasks_xyz(self) -> Triple:
        x, y, z = (-(-n // r) for n, r in zip(self.grid.shape_xyz, self.roots_xyz, strict=True))
        return x, y, z

    @property
    def num_tasks(self) -> int:
        """Tasks in all."""
        return math.prod(self._tasks_xyz())

    def tasks(self) -> Iterator[Task]:
        """Iterate over the tasks, x fastest."""
        nx, ny, nz = self._tasks_xyz()
        return (Task(self, (x, y, z)) for z in range(nz) for y in range(ny) for x in range(nx))


@dataclass(frozen=True)
class Task:
    """A box of chunks of a sweep's coarsest scale, and of all chunks that they are made of.

    Attributes
    ----------
    sweep : Sweep
        What it is a part of.
    index_xyz : tuple of int
        Which part.
    """

    sweep: Sweep
    index_xyz: Triple

    def roots(self) -> Iterator[Triple]:
        """Iterate over the cells of the coarsest scale."""
        x, y, z = (
            range(i * r, min((i + 1) * r, n))
            for i, r, n in zip(
                self.index_xyz, self.sweep.roots_xyz, self.sweep.grid.shape_xyz, strict=True
            )
        )
        return ((i, j, k) for k in z for j in y for i in x)


def sweeps(plan: Plan) -> list[Sweep]:
    """Divide a plan into sweeps.

    The same plan is always divided in the same way: which scales are made of stored values, and
    which of values in hand, decides over their last bits.
    """
    result = []
    base = 0
    while base < len(plan.grids):
        top = base
        # A shard is written at once, by one task.
        if plan.info.scales[base].sharding is None:
            top = min(base + _COARSER_MOST, len(plan.grids) - 1)
            while top > base and plan.grids[top].num_cells < _TASKS_LEAST:
                top -= 1
        grid = plan.grids[top]
        result.append(Sweep(base, top, grid, _roots(plan, base, top)))
        base = top + 1
    return result


def children(plan: Plan, level: int, cell_xyz: Triple) -> Iterator[Triple]:
    """Iterate over the chunks of the next finer scale that belong to a chunk: each to one only."""
    ranges = [children_along(plan, level, axis, cell_xyz[axis]) for axis in range(3)]
    return ((x, y, z) for z in ranges[2] for y in ranges[1] for x in ranges[0])


def children_along(plan: Plan, level: int, axis: int, cell: int) -> range:
    """Return which chunks of the next finer scale belong to a chunk, along one axis."""
    coarse, fine = plan.grids[level], plan.grids[level - 1]
    size, offset = coarse.chunk_xyz[axis], coarse.voxel_offset_xyz[axis]
    fine_size, fine_offset = fine.chunk_xyz[axis], fine.voxel_offset_xyz[axis]
    low, high = (
        plan.factors[level][axis] * (offset + i * size) - fine_offset for i in (cell, cell + 1)
    )
    return range(max(0, -(-low // fine_size)), min(fine.shape_xyz[axis], -(-high // fine_size)))


def read_together(plan: Plan, sweep: Sweep) -> list[Triple]:
    """Return the extents of ever larger boxes whose chunks a task makes one after the other.

    In voxels of the finest scale: a chunk of each scale of the sweep, and then rows, planes and all
    of the chunks of the coarsest that make a task. A chunk alone where none of the source's chunks
    is needed for two new ones.
    """
    x, y, z = root = _root_extent(plan, sweep.top)
    if all(
        old == 1 or (new % old == start % old == 0 and offset % (whole // new) == 0)
        for old, new, start, offset, whole in zip(
            plan.source.chunk_xyz,
            plan.grid.chunk_xyz,
            plan.region.start_xyz,
            plan.grid.voxel_offset_xyz,
            root,
            strict=True,
        )
    ):
        return [plan.grid.chunk_xyz]
    nx, ny, nz = sweep.roots_xyz
    rows = [(nx * x, y, z), (nx * x, ny * y, z), (nx * x, ny * y, nz * z)]
    return [*(_root_extent(plan, level) for level in range(sweep.top)), root, *rows]


def _root_extent(plan: Plan, top: int) -> Triple:
    """Return how many voxels of the finest scale make a whole chunk of another."""
    x, y, z = (
        chunk * math.prod(factors[axis] for factors in plan.factors[1 : top + 1])
        for axis, chunk in enumerate(plan.grid.chunk_xyz)
    )
    return x, y, z


def _roots(plan: Plan, base: int, top: int) -> Triple:
    sharding = plan.info.scales[top].sharding
    if sharding is not None:
        return cells_in_shard(plan.grids[top], sharding)
    if base > 0:
        return (1, 1, 1)
    roots = []
    for source, chunk, root, start in zip(
        plan.source.chunk_xyz,
        plan.grid.chunk_xyz,
        _root_extent(plan, top),
        plan.region.start_xyz,
        strict=True,
    ):
        step = common_step(source, root, start) or min(source, _GROUP_MOST * chunk)
        roots.append(-(-step // root))
    if top == 0:  # two chunks are encoded faster together
        roots[0] = max(roots[0], 2)
    return roots[0], roots[1], roots[2]
