"""Which chunks of a source several tasks of a save need, each of which reads them for itself.

Where the chunks of the source and the new ones never end together, as in a crop that begins inside
a chunk, new chunks share some of the old ones. To keep what is shared until its last use would take
the memory of a whole plane of the volume, so that tasks, which need nothing of each other, read it
again.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from napari_kemp.export.plan import Plan
from napari_kemp.export.sweeps import Sweep, children_along, read_together, sweeps
from napari_kemp.export.window import Window


def chunks_read_again(plan: Plan) -> tuple[int, int]:
    """Count the chunks of the source that a save reads, and those that it reads more than once.

    Costs no more than the extent of the volume along its axes; both are 0 for a source without
    chunks. Where the source's chunks are so large that less than what one new chunk needs is read
    at a time, the second is what new chunks have in common.
    """
    if plan.source.chunk_xyz == (1, 1, 1):
        return 0, 0
    sweep = sweeps(plan)[0]
    steps = Window(plan.source, plan.region, read_together(plan, sweep)).steps
    times = [
        _times_along(plan, sweep, axis, (steps or plan.grid.chunk_xyz)[axis]) for axis in range(3)
    ]
    chunks = math.prod(int(np.count_nonzero(along)) for along in times)
    once = math.prod(int(np.count_nonzero(along == 1)) for along in times)
    return chunks, chunks - once


def _times_along(plan: Plan, sweep: Sweep, axis: int, step: int) -> NDArray[np.int64]:
    """Count how often each layer of the source's chunks across an axis is read."""
    size = plan.source.chunk_xyz[axis]
    shift = plan.region.start_xyz[axis] - plan.grid.voxel_offset_xyz[axis]
    start, stop = (corner[axis] for corner in plan.grid.bounds)
    readings = [
        (_first_asked_for(plan, sweep, axis, first), min(first + step, stop))
        for first in range(start, stop, step)
    ]
    for root in range(sweep.grid.shape_xyz[axis]):
        if not _has_chunks(plan, axis, sweep.top, root):
            # A few voxels of chunks that belong to a neighbour: read by a task of its own.
            readings.append(readings[-1])
    # One more at the first layer of each reading, and one less behind the last.
    changes = np.zeros(-(-plan.source.size_xyz[axis] // size) + 1, np.int64)
    for low, high in readings:
        changes[(low + shift) // size] += 1
        changes[-(-(high + shift) // size)] -= 1
    times: NDArray[np.int64] = changes[:-1].cumsum()
    return times


def _has_chunks(plan: Plan, axis: int, level: int, cell: int) -> bool:
    """Tell whether any chunks of the finest scale belong to a chunk, along one axis."""
    return level == 0 or any(
        _has_chunks(plan, axis, level - 1, child)
        for child in children_along(plan, level, axis, cell)
    )


def _first_asked_for(plan: Plan, sweep: Sweep, axis: int, voxel: int) -> int:
    """Return the first voxel that is asked for with the chunk that begins at a voxel.

    A coarser voxel that lies in two chunks is made with the upper one.
    """
    grid = plan.grid
    cell = (voxel - grid.voxel_offset_xyz[axis]) // grid.chunk_xyz[axis]
    factor = 1
    for level in range(1, sweep.top + 1):
        factor *= plan.factors[level][axis]
        parent = cell // plan.factors[level][axis]
        cells = children_along(plan, level, axis, parent)
        if not cells or cells[0] != cell:
            break
        cell = parent
    return max(voxel // factor * factor, grid.voxel_offset_xyz[axis])
