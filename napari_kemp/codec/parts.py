"""Some fields of many streams at once: the sections of a slice, whatever the chunks they lie in.

Fields of different streams are as independent as sections of one stream with a table, so they are
decoded in step too. Of a stream without a table each look continues where the last one came to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.codec import _streams
from napari_kemp.codec._streams import FieldStarts, Header
from napari_kemp.errors import CodecError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Part", "decode_parts"]


@dataclass(frozen=True, eq=False)
class Part:
    """Some fields of one stream, and where they go.

    Attributes
    ----------
    data
        The stream, whole, and the section table behind it if it has one.
    fields
        Which fields, rising: z sections of a kempressed stream, channels of an fpzip stream.
    outs
        For each of them an array of three axes: (x, y, c) of a kempressed stream, (x, y, z) of an
        fpzip stream; any strides.
    num_fields
        How many fields the stream must have.
    starts
        Remembers where the fields of this stream start.
    """

    data: Buffer
    fields: Sequence[int]
    outs: Sequence[NDArray[Any]]
    num_fields: int
    starts: FieldStarts


def decode_parts(parts: Sequence[Part], *, kempressed: bool) -> list[list[CodecError | None]]:
    """Decode some fields of many streams, in step wherever shapes agree.

    Parameters
    ----------
    parts
        What to decode.
    kempressed
        Whether the streams are kempressed, else plain fpzip.

    Returns
    -------
    list of list of CodecError or None
        What is wrong with each field of each part. The array of a field that failed holds nothing
        of use; the others are whole.
    """
    errors: list[list[CodecError | None]] = [[None] * len(part.fields) for part in parts]
    jobs: list[tuple[int, int, _streams.Job]] = []
    walks: dict[int, _Walk] = {}
    for i, part in enumerate(parts):
        try:
            stream = _streams.Stream.open(part.data)
            _check(stream.header, part)
            if stream.table is None and 0 not in stream.header.shape:
                walks[i] = _Walk(stream, part)
                continue
            for at, (field, out) in enumerate(zip(part.fields, part.outs, strict=True)):
                target = out[..., np.newaxis]
                if stream.table is None:
                    job = _streams.empty_job(stream, target)
                else:
                    section = stream.table.cut(field, stream.body)
                    job = _streams.section_job(section, target, stream.header.precision)
                jobs.append((i, at, job))
        except CodecError as error:
            # Without its traceback, which leads to this list and to all arrays on the way.
            errors[i] = [error.with_traceback(None)] * len(part.fields)
    found = _streams.run([job for _, _, job in jobs], kempressed)
    for (i, at, _), wrong in zip(jobs, found, strict=True):
        errors[i][at] = wrong
    while walks:
        steps = [(i, walk, step) for i, walk in walks.items() if (step := walk.next_job())]
        walks = {}
        found = _streams.run([job for _, _, job in steps], kempressed)
        for (i, walk, _), wrong in zip(steps, found, strict=True):
            if wrong is None:
                walk.step()
                walks[i] = walk
            else:  # nothing behind it can be reached
                errors[i][walk.done :] = [wrong] * (len(errors[i]) - walk.done)
    return errors


class _Walk:
    """The way through a stream without a table, past fields that nobody wants to those wanted."""

    def __init__(self, stream: _streams.Stream, part: Part):
        self._stream = stream
        self._part = part
        self._states = list(part.starts.states) or [stream.start]
        self.done = 0  # fields of the part
        self._job: _streams.Job | None = None
        self._first = 0

    def next_job(self) -> _streams.Job | None:
        if self.done == len(self._part.fields):
            return None
        header = self._stream.header
        wanted = self._part.fields[self.done]
        self._first = min(wanted, len(self._states) - 1)
        arrived = self._first == wanted
        number = 1 if arrived else wanted - self._first
        self._job = _streams.Job(
            self._stream.body,
            self._states[self._first],
            self._part.outs[self.done][..., np.newaxis] if arrived else None,
            Header(header.dtype, (*header.shape[:3], number), header.precision),
            exact=self._first + number == header.shape[3],
            keep_states=True,
        )
        return self._job

    def step(self) -> None:
        assert self._job is not None
        passed = self._job.states
        self._states[self._first :] = [*passed, *self._states[self._first + len(passed) :]]
        self.done += self._job.out is not None
        if len(self._states) > len(self._part.starts.states):
            self._part.starts.states = list(self._states)


def _check(header: Header, part: Part) -> None:
    """Refuse a stream that does not fill the arrays, before anything is decoded."""
    shapes = {out.shape for out in part.outs}
    expected = (*part.outs[0].shape, part.num_fields)
    dtype = part.outs[0].dtype
    if len(shapes) > 1 or (header.shape, header.dtype) != (expected, dtype):
        raise CodecError(
            f"expected {dtype} of shape {expected}, "
            f"the stream holds {header.dtype} of shape {header.shape} (as stored)"
        )
