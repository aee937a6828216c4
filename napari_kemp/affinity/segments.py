"""Segments that thresholded affinities leave connected."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.affinity.convention import Convention

# What cc3d reads of a voxel's bits: whether it is joined to the voxel after and before it along
# its x, y and z, which are the first, second and third axis of the array, whatever they mean.
_AFTER_BEFORE = ((1, 2), (4, 8), (16, 32))


@dataclass(frozen=True, eq=False)
class Segments:
    """A region cut into segments.

    Attributes
    ----------
    labels
        (z, y, x) uint32: the number of a voxel's segment, from 1; 0 where a voxel is joined to no
        other.
    count
        Number of segments, of two voxels or more.
    largest
        The number of the largest one; 0 if there is none.
    largest_voxels
        Its size in voxels.
    """

    labels: NDArray[np.uint32]
    count: int
    largest: int
    largest_voxels: int

    def steady_labels(
        self, start_zyx: tuple[int, int, int], shape_zyx: tuple[int, int, int]
    ) -> NDArray[np.int64]:
        """Return the labels with each segment numbered by the place of its first voxel.

        Most segments keep such a number, and so their colour, while the threshold moves.

        Parameters
        ----------
        start_zyx
            The region's first voxel in the volume.
        shape_zyx
            Extent of the volume.
        """
        flat = self.labels.ravel()
        first = np.zeros(self.count + 1, np.int64)
        # What is assigned last stays.
        first[flat[::-1]] = np.arange(flat.size - 1, -1, -1)
        (z, y, x), (z0, y0, x0) = np.unravel_index(first, self.labels.shape), start_zyx
        number = 1 + ((z + z0) * shape_zyx[1] + y + y0) * shape_zyx[2] + x + x0
        number[0] = 0
        steady: NDArray[np.int64] = number[self.labels]
        return steady


def find_segments(
    affinities_czyx: NDArray[Any],
    threshold: float,
    convention: Convention,
    *,
    mutex: bool = False,
) -> Segments:
    """Find the segments of the affinity graph: its connected components, or a mutex watershed.

    A voxel and its neighbour along an axis are joined where the affinity of the two is at least
    the threshold; a segment is what can be reached from a voxel that way. Affinities that lead out
    of the region join nothing.

    One gap in a membrane is enough for two cells to be one component. In a mutex watershed, pairs
    far below the threshold keep segments apart that pairs little above it would join: pairs take
    effect in the order of how far they are from the threshold, on either side.

    Parameters
    ----------
    affinities_czyx
        (3, z, y, x) of numbers, channels as ``convention`` says; NaN joins nothing.
    threshold
        The smallest affinity that joins.
    convention
        Which channel speaks of which neighbour.
    mutex
        Whether to do a mutex watershed (Wolf et al. 2020, doi:10.1109/TPAMI.2020.2980827).
    """
    shape = affinities_czyx.shape[1:]
    if 0 in shape:
        return Segments(np.zeros(shape, np.uint32), 0, 0, 0)
    find = _mutex_watershed if mutex else _components
    components = find(affinities_czyx, threshold, convention)
    sizes = np.bincount(components.ravel(order="K").astype(np.int64, copy=False))
    sizes[0] = 0
    segments = np.flatnonzero(sizes > 1)
    number = np.zeros(len(sizes), np.uint32)
    number[segments] = np.arange(1, len(segments) + 1, dtype=np.uint32)
    labels = np.ascontiguousarray(number[components])
    if not len(segments):
        return Segments(labels, 0, 0, 0)
    largest = int(sizes[segments].argmax())
    return Segments(labels, len(segments), largest + 1, int(sizes[segments[largest]]))


def _components(
    affinities_czyx: NDArray[Any], threshold: float, convention: Convention
) -> NDArray[Any]:
    import cc3d

    graph = _graph(affinities_czyx, threshold, convention)
    return np.asarray(cc3d.color_connectivity_graph(graph, connectivity=6))


def _mutex_watershed(
    affinities_czyx: NDArray[Any], threshold: float, convention: Convention
) -> NDArray[Any]:
    import mwatershed

    weights = convention.by_axis_zyx(affinities_czyx).astype(np.float64) - threshold
    # What is not a number joins nothing, and keeps nothing apart.
    np.nan_to_num(weights, copy=False, nan=-np.finfo(float).tiny)
    offsets = (convention.offset * np.eye(3, dtype=int)).tolist()
    return np.asarray(mwatershed.agglom(np.ascontiguousarray(weights), offsets))


def _graph(
    affinities_czyx: NDArray[Any], threshold: float, convention: Convention
) -> NDArray[np.uint8]:
    """Say of each voxel to which of its six neighbours it is joined, in the bits of cc3d."""
    joined = convention.by_axis_zyx(affinities_czyx) >= threshold
    graph = np.zeros(joined.shape[1:], np.uint8)
    for axis, (after, before) in enumerate(_AFTER_BEFORE):
        lower: list[slice] = [slice(None)] * 3
        upper = lower.copy()
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        below, above = tuple(lower), tuple(upper)
        pair = joined[axis][above if convention.offset == -1 else below]
        graph[above] |= pair * np.uint8(before)
        graph[below] |= pair * np.uint8(after)
    return graph
