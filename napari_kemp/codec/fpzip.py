"""fpzip streams, byte-identical with those of LLNL's library and of the PyPI package ``fpzip``.

fpzip (P. Lindstrom and M. Isenburg, "Fast and Efficient Compression of Floating-Point Data", IEEE
TVCG 12(5), 2006) predicts each sample from its neighbours and range codes the residual. All
functions release the GIL while they work and may be called from any number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_kemp.codec import _core, _streams
from napari_kemp.errors import CodecError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Header", "decode", "decode_many", "encode", "encode_many", "header"]


@dataclass(frozen=True)
class Header:
    """What a stream says of itself.

    Attributes
    ----------
    dtype
        float32 or float64.
    shape
        Number of samples along (x, y, z, c).
    precision
        Most significant bits kept of each sample; 0 means all.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, int, int, int]
    precision: int


def encode(array: ArrayLike, precision: int = 0) -> bytes:
    """Encode an array as one fpzip stream.

    Parameters
    ----------
    array
        float32 or float64, one to four axes (x, y, z, c), any strides. x, the first axis, is the
        one that the stream holds fastest; each c is coded on its own.
    precision
        Most significant bits to keep of each sample: 2 to 32 for float32, an even number from 4 to
        64 for float64. 0 keeps all.

    Returns
    -------
    bytes
        The bytes that PyPI ``fpzip.compress(array, precision, order="F")`` gives. Where an array
        holds NaNs with several payloads the reference depends on its compiler; here the stream is
        the same on every platform.

    Raises
    ------
    CodecError
        If the array's type, number of axes or extent, or the precision, is not one of the above.
    """
    return _core.encode_array(_streams.as_samples(array), _check_precision(precision), False)


def decode(data: Buffer, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Decode one fpzip stream.

    Parameters
    ----------
    data
        The stream, whole: any contiguous buffer.
    out
        Array (x, y, z, c) of the stream's type and shape to decode into, whatever its strides.

    Returns
    -------
    ndarray
        `out` where it was given, else a new array (x, y, z, c) in Fortran order.

    Raises
    ------
    CodecError
        If the bytes are not an fpzip stream, end early or late, are damaged in a way that can be
        seen, or do not fit `out`, which then holds nothing of use.
    """
    stream = _streams.as_bytes(data)
    found = header(stream)
    target = _streams.allocate(found.shape, found.dtype, out)
    _core.decode_into(stream, target, False)
    return target


def header(data: Buffer) -> Header:
    """Read the header of a stream.

    Raises
    ------
    CodecError
        If the bytes are not the beginning of an fpzip stream, or could not hold as many samples as
        the header promises.
    """
    is_double, precision, shape = _core.stream_header(_streams.as_bytes(data))
    return Header(np.dtype(np.float64 if is_double else np.float32), shape, precision)


def encode_many(
    arrays: Iterable[ArrayLike], precision: int = 0, *, threads: int = 1
) -> list[bytes]:
    """Encode independent arrays, each as `encode` does, on `threads` threads."""
    return _streams.map_many(lambda array: encode(array, precision), arrays, threads)


def decode_many(
    datas: Iterable[Buffer], outs: Iterable[NDArray[Any]] | None = None, *, threads: int = 1
) -> list[NDArray[Any]]:
    """Decode independent streams, each as `decode` does, on `threads` threads."""
    pairs = _streams.pair_with_outs(datas, outs)
    return _streams.map_many(lambda pair: decode(*pair), pairs, threads)


def _check_precision(precision: int) -> int:
    # Only what the core's own check cannot be handed; it knows which are legal.
    if not 0 <= precision <= 64:
        raise CodecError(f"precision {precision} is not one of 0 to 64")
    return precision
