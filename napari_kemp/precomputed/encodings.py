"""How a chunk becomes bytes and back: one entry for each encoding that a scale may name."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.codec import fpzip, kempressed
from napari_kemp.errors import CodecError
from napari_kemp.precomputed import compressed_segmentation
from napari_kemp.precomputed.info import ScaleInfo

ChunkShape = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Encoding:
    """One encoding of chunks.

    Attributes
    ----------
    decode : callable
        ``decode(data, shape_xyzc, dtype, scale)`` returns the chunk (x, y, z, c) in Fortran order,
        or raises CodecError if the bytes do not hold a chunk of that shape and type.
    encode : callable
        ``encode(chunk_xyzc, scale)`` returns bytes; the chunk may have any strides.
    gzip : bool
        Whether chunks are gzipped on a local disk, as CloudVolume does.
    """

    decode: Callable[[bytes, ChunkShape, np.dtype[Any], ScaleInfo], NDArray[Any]]
    encode: Callable[[NDArray[Any], ScaleInfo], bytes]
    gzip: bool


def find_encoding(name: str) -> Encoding:
    """Return an encoding by its name in the ``info`` file.

    Raises
    ------
    CodecError
        If it is not supported; says which are.
    """
    if name not in ENCODINGS:
        raise CodecError(
            f"the encoding {name!r} is not supported; supported are {', '.join(ENCODINGS)}"
        )
    return ENCODINGS[name]


def _check_header(
    header: fpzip.Header, shape_xyzc: ChunkShape, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return the array to decode into, once the stream is known to fill it."""
    if (header.shape, header.dtype) != (shape_xyzc, dtype):
        raise CodecError(
            f"expected {dtype} of shape {shape_xyzc} (x, y, z, c), "
            f"the stream holds {header.dtype} of shape {header.shape}"
        )
    return np.empty(shape_xyzc, dtype, order="F")


def _decode_fpzip(
    data: bytes, shape_xyzc: ChunkShape, dtype: np.dtype[Any], scale: ScaleInfo
) -> NDArray[Any]:
    return fpzip.decode(data, out=_check_header(fpzip.header(data), shape_xyzc, dtype))


def _encode_fpzip(chunk_xyzc: NDArray[Any], scale: ScaleInfo) -> bytes:
    return fpzip.encode(chunk_xyzc, scale.fpzip_precision or 0)


def _decode_kempressed(
    data: bytes, shape_xyzc: ChunkShape, dtype: np.dtype[Any], scale: ScaleInfo
) -> NDArray[Any]:
    return kempressed.decode(data, out=_check_header(kempressed.header(data), shape_xyzc, dtype))


def _encode_kempressed(chunk_xyzc: NDArray[Any], scale: ScaleInfo) -> bytes:
    return kempressed.encode(chunk_xyzc)


def _decode_raw(
    data: bytes, shape_xyzc: ChunkShape, dtype: np.dtype[Any], scale: ScaleInfo
) -> NDArray[Any]:
    expected = math.prod(shape_xyzc) * dtype.itemsize
    if len(data) != expected:
        raise CodecError(
            f"expected {expected} bytes for {dtype} of shape {shape_xyzc} (x, y, z, c), "
            f"got {len(data)}"
        )
    little = np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape_xyzc, order="F")
    return little.astype(dtype, copy=False)


def _encode_raw(chunk_xyzc: NDArray[Any], scale: ScaleInfo) -> bytes:
    return chunk_xyzc.astype(chunk_xyzc.dtype.newbyteorder("<"), copy=False).tobytes(order="F")


def _decode_compressed_segmentation(
    data: bytes, shape_xyzc: ChunkShape, dtype: np.dtype[Any], scale: ScaleInfo
) -> NDArray[Any]:
    block_xyz = scale.compressed_segmentation_block_size
    return compressed_segmentation.decode(data, shape_xyzc, dtype, block_xyz)


def _encode_compressed_segmentation(chunk_xyzc: NDArray[Any], scale: ScaleInfo) -> bytes:
    from compressed_segmentation import compress

    # One channel at a time: several crash the package. What it returns is a table of one offset,
    # counted in words, and then the channel, in which offsets count from the channel's own start.
    channels = []
    for channel_xyz in np.moveaxis(chunk_xyzc, -1, 0):
        samples = np.array(channel_xyz[..., np.newaxis], order="F")  # it wants writable memory
        blocks = scale.compressed_segmentation_block_size
        channels.append(bytes(compress(samples, block_size=blocks, order="F"))[4:])
    lengths = [len(channels), *(len(channel) // 4 for channel in channels[:-1])]
    return np.cumsum(lengths).astype("<u4").tobytes() + b"".join(channels)


ENCODINGS = {
    "kempressed": Encoding(_decode_kempressed, _encode_kempressed, gzip=False),
    "fpzip": Encoding(_decode_fpzip, _encode_fpzip, gzip=False),
    "raw": Encoding(_decode_raw, _encode_raw, gzip=True),
    "compressed_segmentation": Encoding(
        _decode_compressed_segmentation, _encode_compressed_segmentation, gzip=True
    ),
}
"""All encodings that can be read and written, by their names in the ``info`` file."""
