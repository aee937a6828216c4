"""From what was fetched of chunks to their pieces, many at a time.

Streams of one shape are the lanes of the codec, so pieces are decoded in groups, whatever chunks
they belong to; the groups go to the process's threads.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp import settings
from napari_kemp.codec import Part, decode_parts, kempressed
from napari_kemp.errors import CodecError
from napari_kemp.precomputed import pages
from napari_kemp.precomputed.encodings import ChunkShape, Encoding
from napari_kemp.precomputed.fetch import EncodedStream, Fetched
from napari_kemp.precomputed.grid import Triple

# The widest processors take twice sixteen streams in step.
_LANES = 16

Pieces = dict[int, NDArray[Any] | CodecError]
"""Decoded pieces of a chunk, (x, y, z, c) each, by field."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """A chunk that has been fetched, and what is wanted of it.

    Attributes
    ----------
    cell : tuple of int
        Which chunk.
    shape_xyzc : tuple of int
        Its shape.
    fields : sequence of int
        Which of its fields to decode, rising.
    fetched
        What to decode them from.
    """

    cell: Triple
    shape_xyzc: ChunkShape
    fields: Sequence[int]
    fetched: Fetched

    @property
    def lanes(self) -> int:
        """How many streams can be decoded in step."""
        return len(self.fetched) if isinstance(self.fetched, dict) else 1


_pool: tuple[int, ThreadPoolExecutor] | None = None


def worker_threads() -> ThreadPoolExecutor:
    """Return the threads that decode and encode for the whole process, as many as are set."""
    global _pool
    wanted = settings.current().threads
    if _pool is None or _pool[0] != wanted:
        # Whoever holds the old one still gets its work done.
        _pool = wanted, ThreadPoolExecutor(wanted, thread_name_prefix="napari-kemp")
    return _pool[1]


def in_groups(chunks: Sequence[Encoded], *, whole: bool) -> list[list[Encoded]]:
    """Divide chunks among threads, so that each has enough lanes.

    Parameters
    ----------
    chunks : sequence of Encoded
        What is to be decoded now.
    whole : bool
        Whether chunks are decoded one by one, so that lanes do not matter.
    """
    if not chunks:
        return []
    lanes = sum(chunk.lanes for chunk in chunks)
    most = len(chunks) if whole else settings.current().threads
    number = max(1, min(most, lanes if whole else lanes // _LANES))
    groups: list[list[Encoded]] = [[]]
    filled = 0
    for chunk in chunks:
        if filled * number >= lanes * len(groups):
            groups.append([])
        groups[-1].append(chunk)
        filled += chunk.lanes
    return groups


def full_groups(chunks: Sequence[Encoded]) -> tuple[list[list[Encoded]], list[Encoded]]:
    """Return groups that fill all lanes of a thread, and the chunks that are too few for one."""
    groups: list[list[Encoded]] = []
    rest: list[Encoded] = []
    for chunk in chunks:
        rest.append(chunk)
        if sum(each.lanes for each in rest) >= 2 * _LANES:
            groups.append(rest)
            rest = []
    return groups, rest


def decode_group(
    chunks: Sequence[Encoded],
    encoding: Encoding,
    dtype: np.dtype[Any],
    decode_whole: Callable[[Triple, bytes], NDArray[Any]],
) -> list[Pieces]:
    """Decode chunks together, and return the pieces of each."""
    if encoding.field_axis is None:
        return [_decode_alone(chunk, decode_whole) for chunk in chunks]
    axis = encoding.field_axis
    results: list[Pieces] = []
    sections, section_outs = [], []
    parts = []
    for chunk in chunks:
        shape = tuple(n for i, n in enumerate(chunk.shape_xyzc) if i != axis)
        outs = [pages.empty(shape, dtype) for _ in chunk.fields]
        results.append(
            {f: np.expand_dims(out, axis) for f, out in zip(chunk.fields, outs, strict=True)}
        )
        if isinstance(chunk.fetched, EncodedStream):
            starts = chunk.fetched.starts
            parts.append(
                Part(chunk.fetched.data, chunk.fields, outs, chunk.shape_xyzc[axis], starts)
            )
        elif chunk.fetched is not None:
            sections += [chunk.fetched[field] for field in chunk.fields]
            section_outs += outs
    part_errors = iter(decode_parts(parts, kempressed=axis == 2))
    section_errors = iter(kempressed.decode_sections(sections, section_outs))
    for chunk, decoded in zip(chunks, results, strict=True):
        if isinstance(chunk.fetched, EncodedStream):
            errors = next(part_errors)
        else:
            errors = [next(section_errors) for _ in chunk.fields]
        for field, error in zip(chunk.fields, errors, strict=True):
            if error is not None:
                decoded[field] = error
    return results


def _decode_alone(chunk: Encoded, decode_whole: Callable[[Triple, bytes], NDArray[Any]]) -> Pieces:
    assert isinstance(chunk.fetched, EncodedStream)
    assert isinstance(chunk.fetched.data, bytes)  # nothing is kept of what is decoded whole
    try:
        return {0: pages.array_apart(decode_whole(chunk.cell, chunk.fetched.data))}
    except CodecError as error:
        return {0: error}
