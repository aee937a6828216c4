"""Shards: many chunks in one object, found by the number of their grid cell.

Format: https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/sharded.md
"""

from typing import Any

from napari_kemp.precomputed.grid import Triple
from napari_kemp.precomputed.location import Location
from napari_kemp.precomputed.storage import ObjectStore


def open_shards(location: Location, sharding: dict[str, Any]) -> ObjectStore:
    """Return the chunks of a sharded scale; their keys are those of `chunk_key`.

    An unsupported `sharding` shows when the first chunk is read.
    """
    spec = {
        "driver": "neuroglancer_uint64_sharded",
        "metadata": sharding,
        "base": location.spec(),
    }
    return ObjectStore(location.url, spec)


def chunk_key(cell_xyz: Triple, grid_shape_xyz: Triple) -> bytes:
    """Return the key of a chunk: the compressed Morton code of its cell, in 8 bytes."""
    return morton_code(cell_xyz, grid_shape_xyz).to_bytes(8, "big")


def morton_code(cell_xyz: Triple, grid_shape_xyz: Triple) -> int:
    """Return the compressed Morton code of a cell.

    The bits of x, y and z are interleaved, lowest first; an axis drops out as soon as its bits
    suffice to count the cells along it.
    """
    code = position = 0
    for bit in range(max(grid_shape_xyz).bit_length()):
        for coordinate, cells in zip(cell_xyz, grid_shape_xyz, strict=True):
            if 1 << bit < cells:
                code |= (coordinate >> bit & 1) << position
                position += 1
    return code
