"""kempressed streams: affinities as CloudVolume and Igneous store them.

The encoding adds 2.0 to each value and reorders X, Y, Z, C to X, Y, C, Z before fpzip. Affinities
in [0, 1] then share one exponent and every z section is a field of its own. The additions round
once each in float32: for values in [0, 1] the absolute error is at most 2**-23, and kempressing
again changes nothing more. Both steps are part of the pass over the samples and cost no copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_kemp.codec import _core, _streams
from napari_kemp.codec._streams import FieldStarts, Header
from napari_kemp.codec.section_table import Section
from napari_kemp.errors import CodecError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "Survey",
    "decode",
    "decode_many",
    "decode_sections",
    "encode",
    "encode_many",
    "header",
    "survey",
]


class Survey(NamedTuple):
    """What there is in an array beside affinities, and what kempressing it rounds away.

    Attributes
    ----------
    outside, nan, infinite
        How many values are finite but below 0 or above 1, are NaN, or are infinite.
    max_abs_error
        Largest difference between a finite value and what it is decoded to. NaN and infinity stay.
    """

    outside: int
    nan: int
    infinite: int
    max_abs_error: float


def encode(array: ArrayLike, *, seekable: bool = False) -> bytes:
    """Encode an affinity chunk.

    Parameters
    ----------
    array
        float32, axes (x, y, z, c) (or fewer), any strides; values in [0, 1] compress best, others
        keep an absolute error of half a step at the magnitude of value + 2. NaN and infinity stay.
    seekable
        Append a section table, so that each z section can be decoded alone. Other decoders ignore
        it.

    Returns
    -------
    bytes
        Without a table, the bytes that CloudVolume stores.

    Raises
    ------
    CodecError
        If the array is not float32 or has more than four axes.
    """
    return encode_many([array], seekable=seekable)[0]


def decode(
    data: Buffer,
    out: NDArray[Any] | None = None,
    *,
    sections: slice | None = None,
    starts: FieldStarts | None = None,
) -> NDArray[np.float32]:
    """Decode an affinity chunk, or some of its z sections.

    Parameters
    ----------
    data
        The stream, whole, and the section table behind it if it has one: any contiguous buffer.
    out
        float32 array (x, y, z, c) of the stream's shape to decode into, whatever its strides.
    sections
        Which z to decode; the others cost nothing where the stream has a section table. Where it
        has none, it is decoded up to the last one asked for.
    starts
        Makes a second look at a stream without a table cheap: remembers where its sections start.

    Returns
    -------
    ndarray
        `out` where it was given, else a new float32 array (x, y, z, c) in Fortran order.

    Raises
    ------
    CodecError
        If the bytes are not a kempressed stream, end early or late, are damaged in a way that can
        be seen, or do not fit `out`, which then holds nothing of use. With a section table all
        damage is seen, by the checksums of the sections that are decoded; without one, little is.
    """
    stream = _open(data)
    wanted = _streams.fields_of(stream.header, sections)
    x, y, c, _ = stream.header.shape
    target = _streams.allocate((x, y, len(wanted), c), stream.header.dtype, out)
    _streams.decode_stream(stream, wanted, _swap_z_and_c(target), True, starts)
    return target


def header(data: Buffer) -> Header:
    """Read the header of a kempressed stream; its shape is given as (x, y, z, c).

    Raises
    ------
    CodecError
        If the bytes are not the beginning of an fpzip stream of float32, or could not hold as many
        samples as the header promises.
    """
    found = _check_type(_streams.read_header(data)[0])
    x, y, c, z = found.shape
    return Header(found.dtype, (x, y, z, c), found.precision)


def encode_many(
    arrays: Iterable[ArrayLike], *, seekable: bool = False, threads: int = 1
) -> list[bytes]:
    """Encode independent chunks, each as `encode` does, on `threads` threads.

    Neighbours of one shape are encoded in pairs, which is faster than one by one.
    """
    float32 = (np.dtype(np.float32),)
    samples = [_swap_z_and_c(_streams.as_samples(array, allowed=float32)) for array in arrays]
    return _streams.encode_all(samples, 0, True, seekable, threads)


def survey(array: ArrayLike) -> Survey:
    """Look at a chunk in one pass, at the speed of memory and without encoding anything.

    Parameters
    ----------
    array
        float32, one to four axes in any order, any strides; fastest where the first is adjacent.

    Raises
    ------
    CodecError
        If the array is not float32.
    """
    return Survey(*_core.census(_streams.as_samples(array, allowed=(np.dtype(np.float32),))))


def decode_many(
    datas: Iterable[Buffer], outs: Iterable[NDArray[Any]] | None = None, *, threads: int = 1
) -> list[NDArray[np.float32]]:
    """Decode independent chunks, each as `decode` does, on `threads` threads.

    Chunks of one shape are decoded in step, which is much faster than one by one on processors with
    wide vectors; so are the sections of chunks that have a section table.
    """
    pairs = _streams.pair_with_outs((_open(data) for data in datas), outs)
    targets = []
    jobs: list[_streams.Job] = []
    for stream, out in pairs:
        x, y, c, z = stream.header.shape
        target = _streams.allocate((x, y, z, c), stream.header.dtype, out)
        targets.append(target)
        jobs += _streams.whole_jobs(stream, _swap_z_and_c(target))
    _streams.raise_first(_streams.run(jobs, True, threads))
    return targets


def decode_sections(
    sections: Iterable[Section], outs: Iterable[NDArray[np.float32]], *, threads: int = 1
) -> list[CodecError | None]:
    """Decode single z sections, of one chunk or of many, from nothing but their own bytes.

    For readers that fetch byte ranges: `SectionTable.span` says which, `SectionTable.cut` makes
    sections of what came. Sections of one shape are decoded in step.

    Parameters
    ----------
    sections
        The sections.
    outs
        float32 array (x, y, c) for each, whatever its strides. A section does not say its shape:
        the caller vouches for it, from the grid. A wrong one is an error wherever it can be seen.

    Returns
    -------
    list of CodecError or None
        What is wrong with each section. The array of a damaged section holds nothing of use; the
        others are whole.
    """
    pairs = _streams.pair_with_outs(sections, outs)
    jobs = [_streams.section_job(section, _checked(out), 0) for section, out in pairs]
    return _streams.run(jobs, True, threads)


def _checked(out: NDArray[Any] | None) -> NDArray[Any]:
    if out is None or out.ndim != 3:
        raise CodecError("a section is decoded into an array of three axes: x, y, c")
    return _streams.allocate(out.shape, np.dtype(np.float32), out)[..., np.newaxis]


def _open(data: Buffer) -> _streams.Stream:
    stream = _streams.Stream.open(data)
    _check_type(stream.header)
    return stream


def _check_type(found: Header) -> Header:
    if found.dtype != np.float32:
        raise CodecError(f"a kempressed stream holds float32, this one {found.dtype.name}")
    return found


def _swap_z_and_c(array: NDArray[Any]) -> NDArray[Any]:
    return array.transpose(0, 1, 3, 2)
