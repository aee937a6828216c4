"""Encodings of other packages, to look at what lies beside affinities: read, not written.

jpeg, png and jxl hold a chunk as one picture of as many pixels as it has voxels, x fastest, then y
and z, with the channels as colours (Neuroglancer's ``volume.md``). compresso, crackle and zfpc
streams carry their own shape.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.errors import CodecError

if TYPE_CHECKING:
    from napari_kemp.precomputed.info import ScaleInfo

ChunkShape = tuple[int, int, int, int]
Decode = Callable[[bytes, ChunkShape, np.dtype[Any], "ScaleInfo"], NDArray[Any]]

PACKAGES = {
    "jpeg": "imagecodecs",
    "png": "imagecodecs",
    "jxl": "imagecodecs",
    "compresso": "compresso",
    "crackle": "crackle-codec",
    "zfpc": "zfpc",
}
"""For each encoding, the package on PyPI that decodes it."""

_MODULES = {"crackle-codec": "crackle"}


def foreign_decoder(name: str) -> Decode:
    """Return the decoder of an encoding in `PACKAGES`; raises CodecError as decoders do."""

    def decode(
        data: bytes, shape_xyzc: ChunkShape, dtype: np.dtype[Any], scale: ScaleInfo
    ) -> NDArray[Any]:
        package = _import(name)
        try:
            chunk = _DECODERS[name](package, data, shape_xyzc)
        except CodecError:
            raise
        except Exception as error:  # each package has its own kinds
            raise CodecError(f"not a valid {name} chunk: {error or type(error).__name__}") from None
        if chunk.dtype != dtype:
            raise CodecError(f"expected {dtype}, the {name} chunk holds {chunk.dtype}")
        return chunk

    return decode


def _import(name: str) -> Any:
    package = PACKAGES[name]
    try:
        return importlib.import_module(_MODULES.get(package, package))
    except ImportError:
        raise CodecError(
            f"the encoding {name!r} needs the package {package}: pip install {package}, or "
            "pip install 'napari-kemp[encodings]' for all encodings"
        ) from None


def _picture(
    decode: Callable[[bytes], NDArray[Any]], data: bytes, shape: ChunkShape
) -> NDArray[Any]:
    picture = decode(data)
    x, y, z, channels = shape
    if picture.size != math.prod(shape) or (channels > 1 and picture.shape[-1] != channels):
        raise CodecError(
            f"expected a picture of {x * y * z} pixels of {channels} channels, "
            f"got shape {picture.shape}"
        )
    return picture.reshape(z, y, x, channels).transpose(2, 1, 0, 3)


def _stream(
    decode: Callable[[bytes], NDArray[Any]], data: bytes, found: Any, shape: ChunkShape
) -> NDArray[Any]:
    """Decode a stream once its header is known to promise what is expected."""
    if tuple(found) != shape[: len(found)] or math.prod(shape[len(found) :]) != 1:
        raise CodecError(f"expected shape {shape} (x, y, z, c), the stream holds {tuple(found)}")
    return decode(data).reshape(shape, order="F")


def _jpeg(package: Any, data: bytes, shape: ChunkShape) -> NDArray[Any]:
    return _picture(package.jpeg_decode, data, shape)


def _png(package: Any, data: bytes, shape: ChunkShape) -> NDArray[Any]:
    return _picture(package.png_decode, data, shape)


def _jxl(package: Any, data: bytes, shape: ChunkShape) -> NDArray[Any]:
    return _picture(package.jpegxl_decode, data, shape)


def _compresso(package: Any, data: bytes, shape: ChunkShape) -> NDArray[Any]:
    header = package.header(data)
    return _stream(package.decompress, data, [header[n] for n in ("sx", "sy", "sz")], shape)


def _crackle(package: Any, data: bytes, shape: ChunkShape) -> NDArray[Any]:
    header = package.header(data)
    return _stream(package.decompress, data, (header.sx, header.sy, header.sz), shape)


def _zfpc(package: Any, data: bytes, shape: ChunkShape) -> NDArray[Any]:
    header = package.ZfpcHeader.frombytes(data)
    found = (header.nx, header.ny, header.nz, header.nw)
    return _stream(package.decompress, data, [max(1, n) for n in found], shape)


_DECODERS: dict[str, Callable[[Any, bytes, ChunkShape], NDArray[Any]]] = {
    "jpeg": _jpeg,
    "png": _png,
    "jxl": _jxl,
    "compresso": _compresso,
    "crackle": _crackle,
    "zfpc": _zfpc,
}
