"""Decoder of compressed_segmentation chunks that damaged bytes cannot lead astray.

The PyPI package ``compressed-segmentation`` follows the offsets in a chunk unchecked and ends the
process where they are damaged. This one checks each of them; blocks that use the same number of
bits are decoded together.

Format: https://github.com/google/neuroglancer/tree/master/src/sliceview/compressed_segmentation
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.errors import CodecError
from napari_kemp.precomputed.grid import Triple

# Bounds the memory that the indices take, at many times the voxels that they stand for.
_GROUP_VOXELS = 1 << 20

_BITS = (0, 1, 2, 4, 8, 16, 32)


def decode(
    data: bytes, shape_xyzc: tuple[int, int, int, int], dtype: np.dtype[Any], block_xyz: Triple
) -> NDArray[Any]:
    """Decode a chunk.

    Parameters
    ----------
    data : bytes
        The chunk, without transport compression.
    shape_xyzc : tuple of int
        Its shape.
    dtype : numpy.dtype
        uint32 or uint64.
    block_xyz : tuple of int
        The scale's ``compressed_segmentation_block_size``.

    Returns
    -------
    ndarray
        (x, y, z, c), Fortran order.

    Raises
    ------
    CodecError
        If the bytes do not describe such a chunk.
    """
    if len(data) % 4:
        raise CodecError(f"expected a whole number of 32-bit words, got {len(data)} bytes")
    words = np.frombuffer(data, "<u4")
    *shape, channels = shape_xyzc
    if len(words) < channels:
        raise CodecError(f"{len(data)} bytes are too few for {channels} channels")
    decoded = np.empty(shape_xyzc, dtype, order="F")
    for channel, start in enumerate(words[:channels].tolist()):
        decoded[..., channel] = _decode_channel(
            words[start:], (shape[0], shape[1], shape[2]), dtype, block_xyz
        )
    return decoded


def _decode_channel(
    words: NDArray[np.uint32], shape_xyz: Triple, dtype: np.dtype[Any], block_xyz: Triple
) -> NDArray[Any]:
    grid = [-(-size // block) for size, block in zip(shape_xyz, block_xyz, strict=True)]
    num_blocks, block_voxels = math.prod(grid), math.prod(block_xyz)
    if len(words) < 2 * num_blocks:
        raise CodecError(f"the headers of {num_blocks} blocks reach beyond the chunk's end")
    headers = words[: 2 * num_blocks].reshape(-1, 2).astype(np.int64)
    tables, bits, values = headers[:, 0] & 0xFFFFFF, headers[:, 0] >> 24, headers[:, 1]
    unknown = ~np.isin(bits, _BITS)
    if unknown.any():
        raise CodecError(f"a block of {bits[unknown][0]} bits a voxel is not legal")

    entry_words = dtype.itemsize // 4
    blocks = np.empty((num_blocks, block_voxels), dtype)
    group = max(1, _GROUP_VOXELS // block_voxels)
    for width in np.unique(bits).tolist():
        alike = np.flatnonzero(bits == width)
        for first in range(0, len(alike), group):
            members = alike[first : first + group]
            indices = _unpack(words, values[members], width, block_voxels)
            places = tables[members, np.newaxis] + indices * entry_words
            if places.max() + entry_words > len(words):
                raise CodecError("a lookup table reaches beyond the chunk's end")
            entries = words[places].astype(dtype)
            if entry_words == 2:
                entries |= words[places + 1].astype(dtype) << np.uint64(32)
            blocks[members] = entries

    bx, by, bz = block_xyz
    gx, gy, gz = grid
    whole = blocks.reshape(gz, gy, gx, bz, by, bx).transpose(2, 5, 1, 4, 0, 3)
    x, y, z = shape_xyz
    return whole.reshape(gx * bx, gy * by, gz * bz)[:x, :y, :z]


def _unpack(
    words: NDArray[np.uint32], starts: NDArray[np.int64], width: int, count: int
) -> NDArray[np.int64]:
    """Return the `count` numbers of `width` bits that begin at each of the starts."""
    if width == 0:
        return np.zeros((len(starts), 1), np.int64)
    length = -(-count * width // 32)
    if starts.max() + length > len(words):
        raise CodecError("the encoded values of a block reach beyond the chunk's end")
    packed = words[starts[:, np.newaxis] + np.arange(length)]
    shifts = np.arange(0, 32, width, dtype=np.uint32)
    numbers = packed[..., np.newaxis] >> shifts & np.uint32((1 << width) - 1)
    indices: NDArray[np.int64] = numbers.reshape(len(starts), -1)[:, :count].astype(np.int64)
    return indices
