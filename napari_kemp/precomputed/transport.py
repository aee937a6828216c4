"""Transport compression: what CloudVolume wraps around an object on its way to a disk."""

import gzip
import zlib
from io import BytesIO

from napari_kemp.errors import CodecError

SUFFIXES = ("", ".gz", ".br", ".zstd")
"""What the name of a file may end in."""


def unwrap(data: bytes, suffix: str, limit: int) -> bytes:
    """Undo the compression that a suffix stands for.

    Parameters
    ----------
    data : bytes
        The object as it is stored.
    suffix : str
        One of SUFFIXES.
    limit : int
        The most bytes that may come out.

    Raises
    ------
    CodecError
        If the bytes are damaged, or more than `limit` come out.
    """
    if not suffix:
        return data
    unwrapped = {".gz": _gunzip, ".br": _unbrotli, ".zstd": _unzstd}[suffix](data, limit)
    if len(unwrapped) > limit:
        raise CodecError(f"unpacking the {suffix} object gives more than {limit} bytes")
    return unwrapped


def wrap_gzip(data: bytes) -> bytes:
    """Compress as CloudVolume does by default; the same input gives the same output."""
    return gzip.compress(data, 6, mtime=0)


def _gunzip(data: bytes, limit: int) -> bytes:
    if not data:
        raise CodecError("not valid gzip: the object is empty")
    try:
        # Takes any number of members, each in time that does not depend on what follows it.
        with gzip.GzipFile(fileobj=BytesIO(data)) as members:
            return members.read(limit + 1)
    except EOFError:
        raise CodecError("the gzip data end early") from None
    except (OSError, zlib.error) as error:
        raise CodecError(f"not valid gzip: {error}") from None


def _unbrotli(data: bytes, limit: int) -> bytes:
    import brotli

    decompressor = brotli.Decompressor()
    try:
        unwrapped: bytes = decompressor.process(data, output_buffer_limit=limit + 1)
        while not decompressor.can_accept_more_data() and len(unwrapped) <= limit:
            unwrapped += decompressor.process(b"", output_buffer_limit=limit + 1)
    except brotli.error as error:
        raise CodecError(f"not valid brotli: {error}") from None
    if not decompressor.is_finished() and len(unwrapped) <= limit:
        raise CodecError("the brotli data end early")
    return unwrapped


def _unzstd(data: bytes, limit: int) -> bytes:
    import zstandard

    # In small pieces, since the most that one call may give cannot be set.
    unwrapped = bytearray()
    frame = zstandard.ZstdDecompressor().decompressobj()
    try:
        for start in range(0, len(data), 1024):
            unwrapped += frame.decompress(data[start : start + 1024])
            if frame.eof or len(unwrapped) > limit:
                break
    except zstandard.ZstdError as error:
        raise CodecError(f"not valid zstd: {error}") from None
    if not frame.eof and len(unwrapped) <= limit:
        raise CodecError("the zstd data end early")
    return bytes(unwrapped)
