"""fpzip and kempressed as codecs of zarr format 3.

Both turn an array into bytes, so they take the place of the ``bytes`` codec. The last axis of a
chunk is x, the fastest of the stream: arrays have axes (c, z, y, x), or fewer. Found by zarr
through entry points; needs the extra ``zarr``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from zarr.abc.codec import ArrayBytesCodec

from napari_kemp.codec import fpzip, kempressed
from napari_kemp.codec._streams import in_stream_order
from napari_kemp.errors import CodecError

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

__all__ = ["FpzipCodec", "KempressedCodec"]


class _StreamCodec(ArrayBytesCodec):  # type: ignore[misc]
    """What both codecs do around their stream."""

    name: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]]
    is_fixed_size = False

    def _settings(self) -> dict[str, Any]:
        raise NotImplementedError

    def _encode(self, samples: NDArray[Any]) -> bytes:
        raise NotImplementedError

    def _decode(self, data: memoryview) -> NDArray[Any]:
        raise NotImplementedError

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        return cls(**data.get("configuration", {}))

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "configuration": self._settings()}

    def validate(self, *, shape: Any, dtype: Any, chunk_grid: Any) -> None:
        name = dtype.to_native_dtype().name
        if name not in self.dtypes:
            raise CodecError(f"{self.name} holds {' or '.join(self.dtypes)}, not {name}")

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        raise NotImplementedError

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        chunk = chunk_array.as_numpy_array()
        data = await asyncio.to_thread(self._encode, in_stream_order(np.ascontiguousarray(chunk)))
        return chunk_spec.prototype.buffer.from_bytes(data)

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        data = memoryview(chunk_bytes.as_numpy_array())
        samples = await asyncio.to_thread(self._decode, data)
        if samples.size != np.prod(chunk_spec.shape):
            raise CodecError(f"the stream holds {samples.shape[::-1]}, not {chunk_spec.shape}")
        chunk = samples.T.reshape(chunk_spec.shape)
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(chunk)


@dataclass(frozen=True)
class FpzipCodec(_StreamCodec):
    """fpzip, lossless or to a number of bits.

    Attributes
    ----------
    precision
        Most significant bits to keep of each sample; 0 keeps all.
    seekable
        Append a section table to each chunk.
    """

    name: ClassVar[str] = "fpzip"
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64")

    precision: int = 0
    seekable: bool = False

    def _settings(self) -> dict[str, Any]:
        return {"precision": self.precision, "seekable": self.seekable}

    def _encode(self, samples: NDArray[Any]) -> bytes:
        return fpzip.encode(samples, self.precision, seekable=self.seekable)

    def _decode(self, data: memoryview) -> NDArray[Any]:
        return fpzip.decode(data)


@dataclass(frozen=True)
class KempressedCodec(_StreamCodec):
    """kempressed, for affinities: float32 chunks with axes (c, z, y, x), or fewer.

    Attributes
    ----------
    seekable
        Append a section table to each chunk.
    """

    name: ClassVar[str] = "kempressed"
    dtypes: ClassVar[tuple[str, ...]] = ("float32",)

    seekable: bool = False

    def _settings(self) -> dict[str, Any]:
        return {"seekable": self.seekable}

    def _encode(self, samples: NDArray[Any]) -> bytes:
        return kempressed.encode(samples, seekable=self.seekable)

    def _decode(self, data: memoryview) -> NDArray[Any]:
        return kempressed.decode(data)
