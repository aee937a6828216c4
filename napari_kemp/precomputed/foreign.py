"""Encodings of other packages, to look at what lies beside affinities: read, not written.

jpeg, png and jxl hold a chunk as one picture of as many pixels as it has voxels, x fastest, then y
and z, with the channels as colours (Neuroglancer's ``volume.md``). compresso, crackle and zfpc
streams carry their own shape.

The packages trust what they are given: some follow damaged bytes out of their arrays, or allocate
what a header promises. What can be checked in little time is checked here, before they see it.
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
            chunk = _DECODERS[name](package, data, shape_xyzc, dtype)
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
    decode: Callable[..., NDArray[Any]], data: bytes, shape: ChunkShape, dtype: np.dtype[Any]
) -> NDArray[Any]:
    x, y, z, channels = shape
    colours = (channels,) if channels > 1 else ()
    problem: Exception | None = None
    # The format leaves the sides of the picture open; these are those in use. Given an array, the
    # package looks at the header first, and neither allocates nor decodes what does not fit.
    for sides in ((y * z, x), (z, x * y), (1, x * y * z), (x * y * z, 1)):
        try:
            picture = decode(data, out=np.empty((*sides, *colours), dtype))
        except Exception as error:
            if problem is None or "invalid out" in str(problem):
                problem = error
        else:
            return picture.reshape(z, y, x, channels).transpose(2, 1, 0, 3)
    raise CodecError(
        f"expected a picture of {x * y * z} pixels of {channels} channels of {dtype}: {problem}"
    )


def _stream(
    decode: Callable[[bytes], NDArray[Any]], data: bytes, found: Any, shape: ChunkShape
) -> NDArray[Any]:
    """Decode a stream once its header is known to promise what is expected."""
    if tuple(found) != shape[: len(found)] or math.prod(shape[len(found) :]) != 1:
        raise CodecError(f"expected shape {shape} (x, y, z, c), the stream holds {tuple(found)}")
    return decode(data).reshape(shape, order="F")


def _jpeg(package: Any, data: bytes, shape: ChunkShape, dtype: np.dtype[Any]) -> NDArray[Any]:
    # Where a picture is cut off, the package makes the rest of it up. In a picture without a
    # thumbnail these bytes stand for nothing but its end.
    if b"\xff\xd9" not in data:
        raise CodecError("the jpeg data end early")
    return _picture(package.jpeg_decode, data, shape, dtype)


def _png(package: Any, data: bytes, shape: ChunkShape, dtype: np.dtype[Any]) -> NDArray[Any]:
    return _picture(package.png_decode, data, shape, dtype)


def _jxl(package: Any, data: bytes, shape: ChunkShape, dtype: np.dtype[Any]) -> NDArray[Any]:
    return _picture(package.jpegxl_decode, data, shape, dtype)


def _compresso(package: Any, data: bytes, shape: ChunkShape, dtype: np.dtype[Any]) -> NDArray[Any]:
    header = package.header(data)
    found = [header[n] for n in ("sx", "sy", "sz")]
    if math.prod(found):
        _check_compresso(package, header, data)
    return _stream(package.decompress, data, found, shape)


def _check_compresso(package: Any, header: dict[str, Any], data: bytes) -> None:
    """Raise CodecError unless the windows of a stream fill its blocks, and no more than them.

    The package writes them to wherever they say. They are what remains of the stream beside parts
    of known length, so that a stream that is cut off shows here, too.
    """
    sides = [header[n] for n in ("sx", "sy", "sz")]
    steps = [header[n] for n in ("xstep", "ystep", "zstep")]
    block = math.prod(steps)
    if not 0 < block <= 64:
        raise CodecError(f"compresso blocks of {steps} voxels (x, y, z) are not legal")
    width = 1 if block <= 8 else 2 if block <= 16 else 4 if block <= 32 else 8
    first = (
        len(package.raw_header(data))
        + (header["id_size"] + header["location_size"]) * header["data_width"]
        + header["value_size"] * width
    )
    last = len(data)
    if header["format_version"] > 0:
        last -= 2 * sides[2] * package.zindex_byte_width(sides[0], sides[1])
    if last < first or (last - first) % width:
        raise CodecError("the compresso data end early")
    windows = np.frombuffer(data[first:last], f"<u{width}")
    is_run = windows & windows.dtype.type(1) == 1
    runs, values = windows[is_run] >> 1, windows[~is_run] >> 1
    blocks = math.prod(-(-side // step) for side, step in zip(sides, steps, strict=True))
    # One by one they are small enough for their sum to be.
    if runs.max(initial=0) > blocks or int(runs.sum(dtype=np.uint64)) + len(values) != blocks:
        raise CodecError(
            f"expected {blocks} compresso blocks, the windows stand for other than that"
        )
    if values.max(initial=0) >= max(1, header["value_size"]):
        raise CodecError("a compresso window has no value")


def _crackle(package: Any, data: bytes, shape: ChunkShape, dtype: np.dtype[Any]) -> NDArray[Any]:
    header = package.header(data)
    # The package compares these checksums last, if at all. The oldest streams have none.
    stored = package.codec.labels_crc(data)
    if stored is not None:
        package.codec.grid_index(data)
        if package.lib.crc32c(bytes(package.codec.raw_labels(data))) != stored:
            raise CodecError("the checksum of the crackle labels is wrong")
    return _stream(package.decompress, data, (header.sx, header.sy, header.sz), shape)


def _zfpc(package: Any, data: bytes, shape: ChunkShape, dtype: np.dtype[Any]) -> NDArray[Any]:
    header = package.ZfpcHeader.frombytes(data)
    found = [max(1, int(n)) for n in (header.nx, header.ny, header.nz, header.nw)]
    if found == list(shape):
        _check_zfpc(package, header, data)
    return _stream(package.decompress, data, found, shape)


def _check_zfpc(package: Any, header: Any, data: bytes) -> None:
    """Raise CodecError unless a stream holds the zfp streams that its header promises.

    zfp reads on behind a stream that is cut off, and allocates what its own header says.
    """
    number = header.num_streams()
    index = np.frombuffer(data, "<u8", 1 + number, package.ZfpcHeader.header_size)
    at, *sizes = index.tolist()
    if at != package.ZfpcHeader.header_size + index.nbytes or at + sum(sizes) != len(data):
        raise CodecError("the zfpc data end early, or late")
    extents = (header.nx, header.ny, header.nz, header.nw)
    voxels = math.prod(max(1, int(n)) for n in extents) // number
    for size in sizes:
        # Magic and version, and in the next 52 bits: 2 for the type, 2 for the number of axes less
        # one, and 48 for their extents less one, in equal parts.
        stream = data[at : at + size]
        meta = int.from_bytes(stream[4:11], "little")
        axes = (meta >> 2 & 3) + 1
        bits = 48 // axes
        promised = math.prod((meta >> 4 + bits * i & (1 << bits) - 1) + 1 for i in range(axes))
        if stream[:3] != b"zfp" or size < 16 or promised != voxels:
            raise CodecError(f"expected zfp streams of {voxels} values, found other")
        at += size


_DECODERS: dict[str, Callable[[Any, bytes, ChunkShape, np.dtype[Any]], NDArray[Any]]] = {
    "jpeg": _jpeg,
    "png": _png,
    "jxl": _jxl,
    "compresso": _compresso,
    "crackle": _crackle,
    "zfpc": _zfpc,
}
