"""How a chunk becomes bytes and back: one entry for each encoding that a scale may name."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.codec import SectionTable, fpzip, kempressed
from napari_kemp.errors import CodecError
from napari_kemp.precomputed import compressed_segmentation
from napari_kemp.precomputed.foreign import PACKAGES, foreign_decoder
from napari_kemp.precomputed.info import ScaleInfo

ChunkShape = tuple[int, int, int, int]
EncodeMany = Callable[[Sequence[NDArray[Any]], ScaleInfo, bool], list[bytes]]


class WrongShapeError(CodecError):
    """A chunk is whole as far as can be told, but has not the shape or type of its cell."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """One encoding of chunks.

    Attributes
    ----------
    decode : callable
        ``decode(data, shape_xyzc, dtype, scale)`` returns the chunk (x, y, z, c) in Fortran order,
        or raises CodecError if the bytes do not hold a chunk of that shape and type.
    check : callable
        ``check(data, shape_xyzc, dtype, scale)`` raises CodecError if it can tell, without decoding
        them, that the bytes do not hold a chunk of that shape and type.
    encode_many : callable or None
        ``encode_many(chunks_xyzc, scale, seekable)`` returns the bytes of each; chunks may have any
        strides. `seekable` asks for section tables, where the encoding knows them. None where
        chunks can be read but not written.
    gzip : bool
        Whether chunks are gzipped on a local disk, as CloudVolume does.
    field_axis : int or None
        Along which axis of (x, y, z, c) a chunk consists of pieces that can be decoded alone, the
        fields of an fpzip stream; None where a chunk can only be decoded whole.
    """

    decode: Callable[[bytes, ChunkShape, np.dtype[Any], ScaleInfo], NDArray[Any]]
    check: Callable[[bytes, ChunkShape, np.dtype[Any], ScaleInfo], object]
    encode_many: EncodeMany | None
    gzip: bool
    field_axis: int | None = None


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


def find_encoder(name: str) -> EncodeMany:
    """Return how chunks are encoded.

    Raises
    ------
    CodecError
        If the encoding is not supported, or can only be read; says which can be written.
    """
    encode_many = find_encoding(name).encode_many
    if encode_many is None:
        writable = ", ".join(each for each, encoding in ENCODINGS.items() if encoding.encode_many)
        raise CodecError(f"the encoding {name!r} can be read but not written; choose {writable}")
    return encode_many


def _check_header(header: fpzip.Header, shape_xyzc: ChunkShape, dtype: np.dtype[Any]) -> None:
    """Raise CodecError unless a stream holds a chunk of that shape and type."""
    if (header.shape, header.dtype) != (shape_xyzc, dtype):
        raise WrongShapeError(
            f"expected {dtype} of shape {shape_xyzc} (x, y, z, c), "
            f"the stream holds {header.dtype} of shape {header.shape}"
        )


def _check_sections(data: bytes) -> None:
    """Check the checksums of a stream that has a section table: those of all its bytes."""
    table = SectionTable.find(data, whole=True)
    if table is not None:
        for field in range(len(table.entries)):
            table.cut(field, data).check()


def _check_fpzip(
    data: bytes, shape_xyzc: ChunkShape, dtype: np.dtype[Any], scale: ScaleInfo
) -> None:
    _check_header(fpzip.header(data), shape_xyzc, dtype)
    _check_sections(data)


def _decode_fpzip(
    data: bytes, shape_xyzc: ChunkShape, dtype: np.dtype[Any], scale: ScaleInfo
) -> NDArray[Any]:
    _check_header(fpzip.header(data), shape_xyzc, dtype)
    return fpzip.decode(data)


def _encode_fpzip(
    chunks_xyzc: Sequence[NDArray[Any]], scale: ScaleInfo, seekable: bool
) -> list[bytes]:
    return fpzip.encode_many(chunks_xyzc, scale.fpzip_precision or 0, seekable=seekable)


def _check_kempressed(
    data: bytes, shape_xyzc: ChunkShape, dtype: np.dtype[Any], scale: ScaleInfo
) -> None:
    _check_header(kempressed.header(data), shape_xyzc, dtype)
    _check_sections(data)


def _decode_kempressed(
    data: bytes, shape_xyzc: ChunkShape, dtype: np.dtype[Any], scale: ScaleInfo
) -> NDArray[Any]:
    _check_header(kempressed.header(data), shape_xyzc, dtype)
    return kempressed.decode(data)


def _encode_kempressed(
    chunks_xyzc: Sequence[NDArray[Any]], scale: ScaleInfo, seekable: bool
) -> list[bytes]:
    return kempressed.encode_many(chunks_xyzc, seekable=seekable)


def _check_raw(data: bytes, shape_xyzc: ChunkShape, dtype: np.dtype[Any], scale: ScaleInfo) -> None:
    expected = math.prod(shape_xyzc) * dtype.itemsize
    if len(data) != expected:
        raise WrongShapeError(
            f"expected {expected} bytes for {dtype} of shape {shape_xyzc} (x, y, z, c), "
            f"got {len(data)}"
        )


def _decode_raw(
    data: bytes, shape_xyzc: ChunkShape, dtype: np.dtype[Any], scale: ScaleInfo
) -> NDArray[Any]:
    _check_raw(data, shape_xyzc, dtype, scale)
    little = np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape_xyzc, order="F")
    return little.astype(dtype, copy=False)


def _encode_raw(
    chunks_xyzc: Sequence[NDArray[Any]], scale: ScaleInfo, seekable: bool
) -> list[bytes]:
    return [
        chunk_xyzc.astype(chunk_xyzc.dtype.newbyteorder("<"), copy=False).tobytes(order="F")
        for chunk_xyzc in chunks_xyzc
    ]


def _decode_compressed_segmentation(
    data: bytes, shape_xyzc: ChunkShape, dtype: np.dtype[Any], scale: ScaleInfo
) -> NDArray[Any]:
    block_xyz = scale.compressed_segmentation_block_size
    return compressed_segmentation.decode(data, shape_xyzc, dtype, block_xyz)


def _encode_compressed_segmentation(
    chunks_xyzc: Sequence[NDArray[Any]], scale: ScaleInfo, seekable: bool
) -> list[bytes]:
    return [_encode_one_segmentation(chunk_xyzc, scale) for chunk_xyzc in chunks_xyzc]


def _encode_one_segmentation(chunk_xyzc: NDArray[Any], scale: ScaleInfo) -> bytes:
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
    "kempressed": Encoding(
        _decode_kempressed, _check_kempressed, _encode_kempressed, gzip=False, field_axis=2
    ),
    "fpzip": Encoding(_decode_fpzip, _check_fpzip, _encode_fpzip, gzip=False, field_axis=3),
    "raw": Encoding(_decode_raw, _check_raw, _encode_raw, gzip=True),
    "compressed_segmentation": Encoding(
        _decode_compressed_segmentation,
        _decode_compressed_segmentation,  # nothing but the whole of it tells
        _encode_compressed_segmentation,
        gzip=True,
    ),
    **{
        name: Encoding(decode := foreign_decoder(name), decode, None, gzip=False)
        for name in PACKAGES
    },
}
"""All encodings that can be read, by their names in the ``info`` file."""
