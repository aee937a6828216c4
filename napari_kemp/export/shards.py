"""The shards of a scale that is written sharded: how many chunks in one, and which."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from napari_kemp.precomputed import Box, ChunkGrid
from napari_kemp.precomputed.grid import Triple

# The values of one shard's chunks. A shard is written at once, so that it is in memory until then,
# and the next one of the same thread beside it.
_SHARD_BYTES = 1 << 26
# A reader fetches the index of a whole minishard, 24 bytes a chunk, to find one chunk.
_MINISHARD_BITS_MOST = 9


def plan_shards(scale: dict[str, Any], bytes_voxel: int) -> dict[str, Any]:
    """Choose the member ``sharding`` of a scale.

    A shard holds 2**n neighbours in compressed Morton order, which are a box of chunks: as many as
    come to 64 MiB of values.

    Parameters
    ----------
    scale : dict
        The other members of the scale.
    bytes_voxel : int
        Bytes of the values of a voxel.
    """
    chunk = math.prod(scale["chunk_sizes"][0]) * bytes_voxel
    grid = ChunkGrid(tuple(scale["size"]), tuple(scale["chunk_sizes"][0]))
    bits = sum((cells - 1).bit_length() for cells in grid.shape_xyz)
    in_shard = min(bits, max(0, (_SHARD_BYTES // chunk).bit_length() - 1))
    preshift = min(in_shard, _MINISHARD_BITS_MOST)
    packed = scale["encoding"] in ("kempressed", "fpzip")
    return {
        "@type": "neuroglancer_uint64_sharded_v1",
        "preshift_bits": preshift,
        "hash": "identity",
        "minishard_bits": in_shard - preshift,
        "shard_bits": bits - in_shard,
        "minishard_index_encoding": "gzip",
        "data_encoding": "raw" if packed else "gzip",
    }


def cells_in_shard(grid: ChunkGrid, sharding: dict[str, Any]) -> Triple:
    """Return the box of chunks that a shard holds, in cells along x, y and z."""
    left = int(sharding["preshift_bits"]) + int(sharding["minishard_bits"])
    box = [1, 1, 1]
    for bit in range(max(grid.shape_xyz).bit_length()):
        for axis, cells in enumerate(grid.shape_xyz):
            if left and 1 << bit < cells:
                box[axis] *= 2
                left -= 1
    return box[0], box[1], box[2]


def shards(grid: ChunkGrid, sharding: dict[str, Any]) -> Iterator[Iterator[Triple]]:
    """Iterate over the shards of a scale without hashing: the cells of each, none of them empty."""
    nx, ny, nz = cells_in_shard(grid, sharding)
    cx, cy, cz = grid.shape_xyz
    for z in range(0, cz, nz):
        for y in range(0, cy, ny):
            for x in range(0, cx, nx):
                stops = min(x + nx, cx), min(y + ny, cy), min(z + nz, cz)
                yield _cells(Box((x, y, z), stops))


def _cells(box: Box) -> Iterator[Triple]:
    x, y, z = (range(a, b) for a, b in zip(*box, strict=True))
    return ((i, j, k) for k in z for j in y for i in x)
