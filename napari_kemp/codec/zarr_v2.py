"""fpzip and kempressed as numcodecs codecs, for arrays of zarr format 2.

The last axis of a chunk in C order is x, the fastest of the stream: arrays have axes (c, z, y, x),
or fewer. Found by numcodecs through entry points; needs the extra ``zarr``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_ndarray, ndarray_copy
from numpy.typing import NDArray

from napari_kemp.codec import fpzip, kempressed
from napari_kemp.codec._streams import in_stream_order

__all__ = ["Fpzip", "Kempressed"]


class Fpzip(Codec):  # type: ignore[misc]
    """fpzip, lossless or to a number of bits.

    Parameters
    ----------
    precision
        Most significant bits to keep of each sample; 0 keeps all.
    seekable
        Append a section table to each chunk.
    """

    codec_id = "fpzip"

    def __init__(self, precision: int = 0, seekable: bool = False) -> None:
        self.precision = precision
        self.seekable = seekable

    def encode(self, buf: Any) -> bytes:
        """Encode a chunk of float32 or float64."""
        samples = in_stream_order(ensure_ndarray(buf))
        return fpzip.encode(samples, self.precision, seekable=self.seekable)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a chunk; its samples are flat, in the order of memory."""
        return _hand_out(fpzip.decode(buf), out)


class Kempressed(Codec):  # type: ignore[misc]
    """kempressed, for affinities: float32 chunks with axes (c, z, y, x), or fewer.

    Parameters
    ----------
    seekable
        Append a section table to each chunk.
    """

    codec_id = "kempressed"

    def __init__(self, seekable: bool = False) -> None:
        self.seekable = seekable

    def encode(self, buf: Any) -> bytes:
        """Encode a chunk of float32."""
        return kempressed.encode(in_stream_order(ensure_ndarray(buf)), seekable=self.seekable)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a chunk; its samples are flat, in the order of memory."""
        return _hand_out(kempressed.decode(buf), out)


def _hand_out(samples: NDArray[Any], out: Any) -> Any:
    flat: NDArray[Any] = np.ravel(samples, order="K")
    return flat if out is None else ndarray_copy(flat, out)
