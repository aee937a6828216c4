"""fpzip streams, byte-identical with those of LLNL's library and of the PyPI package ``fpzip``.

fpzip (P. Lindstrom and M. Isenburg, "Fast and Efficient Compression of Floating-Point Data", IEEE
TVCG 12(5), 2006) predicts each sample from its neighbours and range codes the residual. All
functions release the GIL while they work and may be called from any number of threads.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_kemp.codec import _streams
from napari_kemp.codec._streams import FieldStarts, Header
from napari_kemp.codec.section_table import Section, SectionTable
from napari_kemp.errors import CodecError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "FieldStarts",
    "Header",
    "SectionTable",
    "decode",
    "decode_many",
    "decode_sections",
    "encode",
    "encode_many",
    "header",
    "scan",
]


def encode(array: ArrayLike, precision: int = 0, *, seekable: bool = False) -> bytes:
    """Encode an array as one fpzip stream.

    Parameters
    ----------
    array
        float32 or float64, one to four axes (x, y, z, c), any strides. x, the first axis, is the
        one that the stream holds fastest; each c is coded on its own.
    precision
        Most significant bits to keep of each sample: 2 to 32 for float32, an even number from 4 to
        64 for float64. 0 keeps all.
    seekable
        Append a section table, so that each c can be decoded alone. Other decoders ignore it.

    Returns
    -------
    bytes
        Without a table, the bytes that PyPI ``fpzip.compress(array, precision, order="F")`` gives.
        Where an array holds NaNs with several payloads the reference depends on its compiler; here
        the stream is the same on every platform.

    Raises
    ------
    CodecError
        If the array's type, number of axes or extent, or the precision, is not one of the above.
    """
    return encode_many([array], precision, seekable=seekable)[0]


def decode(
    data: Buffer,
    out: NDArray[Any] | None = None,
    *,
    fields: slice | None = None,
    starts: FieldStarts | None = None,
) -> NDArray[Any]:
    """Decode one fpzip stream, or some of its fields.

    Parameters
    ----------
    data
        The stream, whole, and the section table behind it if it has one: any contiguous buffer.
    out
        Array (x, y, z, c) of the stream's type and shape to decode into, whatever its strides.
    fields
        Which c to decode; the others cost nothing where the stream has a section table. Where it
        has none, it is decoded up to the last one asked for.
    starts
        Makes a second look at a stream without a table cheap: remembers where its fields start.

    Returns
    -------
    ndarray
        `out` where it was given, else a new array (x, y, z, c) in Fortran order.

    Raises
    ------
    CodecError
        If the bytes are not an fpzip stream, end early or late, are damaged in a way that can be
        seen, or do not fit `out`, which then holds nothing of use. With a section table all damage
        is seen, by the checksums of the fields that are decoded; without one, little of it is.
    """
    stream = _streams.Stream.open(data)
    wanted = _streams.fields_of(stream.header, fields)
    target = _streams.allocate((*stream.header.shape[:3], len(wanted)), stream.header.dtype, out)
    _streams.decode_stream(stream, wanted, target, False, starts)
    return target


def header(data: Buffer) -> Header:
    """Read the header of a stream.

    Raises
    ------
    CodecError
        If the bytes are not the beginning of an fpzip stream, or could not hold as many samples as
        the header promises.
    """
    return _streams.read_header(data)[0]


def scan(data: Buffer) -> SectionTable:
    """Make the section table of a stream that has none, by decoding it once.

    Appending `SectionTable.to_bytes` to the stream makes it seekable.

    Raises
    ------
    CodecError
        If the bytes are not an fpzip stream, or are damaged in a way that can be seen. The table of
        a stream that has one is read and verified against all of its bytes.
    """
    stream = _streams.Stream.open(data)
    if stream.table is not None:
        for i in range(len(stream.table.entries)):
            stream.table.cut(i, stream.body).check()
        return stream.table
    job = _streams.Job(stream.body, stream.start, None, stream.header, keep_states=True)
    _streams.raise_first(_streams.run([job], False))
    return SectionTable.of_stream(stream.body, job.states[: stream.header.shape[3]])


def encode_many(
    arrays: Iterable[ArrayLike],
    precision: int = 0,
    *,
    seekable: bool = False,
    threads: int = 1,
) -> list[bytes]:
    """Encode independent arrays, each as `encode` does, on `threads` threads.

    Neighbours of one shape and type are encoded in pairs, which is faster than one by one.
    """
    samples = [_streams.as_samples(array) for array in arrays]
    return _streams.encode_all(samples, _check_precision(precision), False, seekable, threads)


def decode_many(
    datas: Iterable[Buffer], outs: Iterable[NDArray[Any]] | None = None, *, threads: int = 1
) -> list[NDArray[Any]]:
    """Decode independent streams, each as `decode` does, on `threads` threads.

    Streams of one shape, type and precision are decoded in step, which is much faster than one by
    one on processors with wide vectors; so are the sections of streams that have a table.
    """
    pairs = _streams.pair_with_outs((_streams.Stream.open(data) for data in datas), outs)
    targets = [
        _streams.allocate(stream.header.shape, stream.header.dtype, out) for stream, out in pairs
    ]
    jobs = [
        job
        for (stream, _), target in zip(pairs, targets, strict=True)
        for job in _streams.whole_jobs(stream, target)
    ]
    _streams.raise_first(_streams.run(jobs, False, threads))
    return targets


def decode_sections(
    sections: Iterable[Section],
    outs: Iterable[NDArray[Any]],
    precision: int = 0,
    *,
    threads: int = 1,
) -> list[CodecError | None]:
    """Decode single fields, of one stream or of many, from nothing but their own bytes.

    For readers that fetch byte ranges: `SectionTable.span` says which, `SectionTable.cut` makes
    sections of what came. Sections of one shape are decoded in step.

    Parameters
    ----------
    sections
        The fields.
    outs
        Array (x, y, z) of the stream's type and extent for each, whatever its strides. A section
        does not say its shape: the caller vouches for it and for `precision`, from the grid or from
        the header of a stream. A wrong one is an error wherever it can be seen.

    Returns
    -------
    list of CodecError or None
        What is wrong with each section. The array of a damaged section holds nothing of use; the
        others are whole.
    """
    pairs = _streams.pair_with_outs(sections, outs)
    jobs = [
        _streams.section_job(section, _checked(out)[..., np.newaxis], precision)
        for section, out in pairs
    ]
    return _streams.run(jobs, False, threads)


def _checked(out: NDArray[Any] | None) -> NDArray[Any]:
    if out is None or out.ndim != 3 or out.dtype not in _streams.FLOATS:
        raise CodecError("a section is decoded into an array of three axes, float32 or float64")
    return _streams.allocate(out.shape, out.dtype, out)


def _check_precision(precision: int) -> int:
    # Only what the core's own check cannot be handed; it knows which are legal.
    try:
        bits = operator.index(precision)
    except TypeError:
        raise CodecError(f"precision {precision!r} is not a whole number") from None
    if not 0 <= bits <= 64:
        raise CodecError(f"precision {bits} is not one of 0 to 64")
    return bits
