"""Shards: many chunks in one object, found by the number of their grid cell.

Format: https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/sharded.md
"""

from collections.abc import Mapping
from typing import Any

from napari_kemp.errors import CodecError
from napari_kemp.precomputed.grid import Triple
from napari_kemp.precomputed.location import Location
from napari_kemp.precomputed.storage import ObjectStore


class ShardStore(ObjectStore):
    """The chunks of a sharded scale; their keys are those of `chunk_key`.

    An unsupported `sharding` shows when the first chunk is read.

    Parameters
    ----------
    location : Location
        The folder of the scale.
    sharding : dict
        As in the ``info`` file.
    """

    def __init__(self, location: Location, sharding: dict[str, Any]):
        packed = sharding.get("data_encoding") == "gzip"
        # TensorStore unpacks whatever a chunk unpacks to; `StoredObject.unwrapped` knows a limit.
        plain = {**sharding, "data_encoding": "raw"} if packed else sharding
        super().__init__(location.url, _spec(location, plain), packing=".gz" if packed else "")
        folder = f"{location.path}/" if location.is_local else None
        self._writer = ObjectStore(location.url, _spec(location, sharding), folder=folder)

    def write_together(self, objects: Mapping[bytes, bytes]) -> None:
        """Write the chunks of shards, all or none; each shard once.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        self._writer.write_together(objects)


def _spec(location: Location, sharding: dict[str, Any]) -> dict[str, Any]:
    return {
        "driver": "neuroglancer_uint64_sharded",
        "metadata": sharding,
        "base": location.spec(),
    }


def chunk_key(cell_xyz: Triple, grid_shape_xyz: Triple) -> bytes:
    """Return the key of a chunk: the compressed Morton code of its cell, in 8 bytes.

    Raises
    ------
    CodecError
        If the grid has more cells than 8 bytes can number.
    """
    try:
        return morton_code(cell_xyz, grid_shape_xyz).to_bytes(8, "big")
    except OverflowError:
        raise CodecError(
            f"a grid of {grid_shape_xyz} chunks (x, y, z) is too large to be sharded"
        ) from None


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
