"""kempressed streams: affinities as CloudVolume and Igneous store them.

The encoding adds 2.0 to each value and reorders X, Y, Z, C to X, Y, C, Z before fpzip. Affinities
in [0, 1] then share one exponent and every z section is a field of its own. The additions round
once each in float32: for values in [0, 1] the absolute error is at most 2**-23, and kempressing
again changes nothing more. Both steps are part of the pass over the samples and cost no copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_kemp.codec import _core, _streams, fpzip
from napari_kemp.errors import CodecError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["decode", "decode_many", "encode", "encode_many", "header"]


def encode(array: ArrayLike) -> bytes:
    """Encode an affinity chunk.

    Parameters
    ----------
    array
        float32, axes (x, y, z, c) (or fewer), any strides; values in [0, 1] compress best, others
        keep an absolute error of half a step at the magnitude of value + 2. NaN and infinity stay.

    Returns
    -------
    bytes
        The bytes that CloudVolume stores.

    Raises
    ------
    CodecError
        If the array is not float32 or has more than four axes.
    """
    samples = _streams.as_samples(array, allowed=(np.dtype(np.float32),))
    return _core.encode_array(_swap_z_and_c(samples), 0, True)


def decode(data: Buffer, out: NDArray[Any] | None = None) -> NDArray[np.float32]:
    """Decode an affinity chunk.

    Parameters
    ----------
    data
        The stream, whole: any contiguous buffer.
    out
        float32 array (x, y, z, c) of the stream's shape to decode into, whatever its strides.

    Returns
    -------
    ndarray
        `out` where it was given, else a new float32 array (x, y, z, c) in Fortran order.

    Raises
    ------
    CodecError
        If the bytes are not a kempressed stream, end early or late, are damaged in a way that can
        be seen, or do not fit `out`, which then holds nothing of use.
    """
    stream = _streams.as_bytes(data)
    found = header(stream)
    target = _streams.allocate(found.shape, found.dtype, out)
    _core.decode_into(stream, _swap_z_and_c(target), True)
    return target


def header(data: Buffer) -> fpzip.Header:
    """Read the header of a kempressed stream; its shape is given as (x, y, z, c).

    Raises
    ------
    CodecError
        If the bytes are not the beginning of an fpzip stream of float32, or could not hold as many
        samples as the header promises.
    """
    found = fpzip.header(data)
    if found.dtype != np.float32:
        raise CodecError(f"a kempressed stream holds float32, this one {found.dtype.name}")
    x, y, c, z = found.shape
    return fpzip.Header(found.dtype, (x, y, z, c), found.precision)


def encode_many(arrays: Iterable[ArrayLike], *, threads: int = 1) -> list[bytes]:
    """Encode independent chunks, each as `encode` does, on `threads` threads."""
    return _streams.map_many(encode, arrays, threads)


def decode_many(
    datas: Iterable[Buffer], outs: Iterable[NDArray[Any]] | None = None, *, threads: int = 1
) -> list[NDArray[np.float32]]:
    """Decode independent chunks, each as `decode` does, on `threads` threads."""
    pairs = _streams.pair_with_outs(datas, outs)
    return _streams.map_many(lambda pair: decode(*pair), pairs, threads)


def _swap_z_and_c(array: NDArray[Any]) -> NDArray[Any]:
    return array.transpose(0, 1, 3, 2)
