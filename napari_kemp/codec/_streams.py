"""What fpzip and kempressed share: the checks in front of the core, and many chunks at once.

The core decodes streams of one shape together, so a decode is first written down as jobs, of some
fields of some stream each, whether the streams are chunks or the sections of one chunk.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_kemp.codec import _core
from napari_kemp.codec.section_table import Section, SectionTable
from napari_kemp.errors import CodecError

if TYPE_CHECKING:
    from typing_extensions import Buffer

Item = TypeVar("Item")
Result = TypeVar("Result")
State = tuple[int, int, int]  # offset, low, range

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

# Two groups of lanes on the widest processors: what one thread takes at a time.
_JOBS_TOGETHER = 32
_STATE = struct.Struct("=QII")


@dataclass(frozen=True)
class Header:
    """What a stream says of itself.

    Attributes
    ----------
    dtype
        float32 or float64.
    shape
        Number of samples along (x, y, z, c).
    precision
        Most significant bits kept of each sample; 0 means all.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, int, int, int]
    precision: int


class FieldStarts:
    """Where the fields of one plain stream start, as far as decodes of it have come.

    Hand the same object to every decode of one stream: what was passed once is never decoded again
    to get to a field behind it.
    """

    def __init__(self) -> None:
        self.states: list[State] = []


@dataclass(frozen=True)
class Stream:
    """A stream, its header and, where it has one, its section table."""

    body: memoryview
    header: Header  # shape in the stream's order: x, y, z, field
    start: State
    table: SectionTable | None

    @classmethod
    def open(cls, data: Buffer) -> Stream:
        view = as_bytes(data)
        table = SectionTable.find(view, whole=True)
        body = view if table is None else view[: table.length]
        header, start = read_header(body)
        if table is not None:
            states = [(e.offset, e.low, e.range) for e in table.entries]
            fields = 0 if 0 in header.shape else header.shape[3]
            if len(states) != fields or (states and states[0] != start):
                raise CodecError("damaged section table or trailing bytes")
            if not states:  # nothing to seek
                table = None
        return cls(body, header, start, table)


@dataclass
class Job:
    """Some consecutive fields of a stream, and the array that they are decoded into."""

    data: memoryview
    start: State  # its offset counts from the first of `data`
    out: NDArray[Any] | None  # x, y, z, field
    header: Header  # its shape is that of `out`
    exact: bool = True  # `data` end where the fields do
    keep_states: bool = False
    section: Section | None = None  # whose checksum is to be checked
    states: list[State] = field(default_factory=list)

    def kind(self) -> tuple[Any, ...]:
        """Jobs of one kind can be decoded together."""
        return self.header, self.exact, self.keep_states, self.out is None


def read_header(data: Buffer) -> tuple[Header, State]:
    """Read the header of a stream, in the stream's order, and the state of the coder behind it."""
    is_double, precision, extent, start = _core.stream_header(as_bytes(data))
    return Header(FLOATS[is_double], extent, precision), start


def as_bytes(data: Buffer) -> memoryview:
    """View any contiguous buffer as unsigned bytes."""
    try:
        return memoryview(data).cast("B")
    except TypeError as error:
        raise CodecError(f"a stream must be a contiguous buffer of bytes: {error}") from None


def as_samples(array: ArrayLike, allowed: tuple[np.dtype[Any], ...] = FLOATS) -> NDArray[Any]:
    """View an array as four axes of an allowed type; only foreign byte order costs a copy."""
    samples = np.asarray(array)
    samples = np.asarray(samples, dtype=samples.dtype.newbyteorder("="))
    if samples.dtype not in allowed:
        names = " or ".join(dtype.name for dtype in allowed)
        raise CodecError(
            f"samples must be {names}, not {samples.dtype.name}: convert with "
            f"array.astype(numpy.{allowed[0].name})"
        )
    if not 1 <= samples.ndim <= 4:
        raise CodecError(f"an array must have one to four axes, not {samples.ndim}")
    return samples[(...,) + (np.newaxis,) * (4 - samples.ndim)]


def in_stream_order(chunk: NDArray[Any]) -> NDArray[Any]:
    """View a chunk of any number of axes as (x, y, z, c), x being fastest in memory."""
    if not chunk.flags.f_contiguous or chunk.flags.c_contiguous:
        chunk = np.ascontiguousarray(chunk).T
    if any(n != 1 for n in chunk.shape[4:]):
        raise CodecError(f"a chunk of {chunk.shape[::-1]} has more than four axes, not of length 1")
    return chunk.reshape(chunk.shape[:4], order="F")


def allocate(
    shape: tuple[int, ...], dtype: np.dtype[Any], out: NDArray[Any] | None
) -> NDArray[Any]:
    """Return `out` once it is known to fit, or a new array in Fortran order."""
    if out is None:
        try:
            return np.empty(shape, dtype=dtype, order="F")
        except MemoryError as error:
            raise CodecError(f"there is no memory for what the header promises: {error}") from None
    if not isinstance(out, np.ndarray):
        raise CodecError(f"`out` must be a numpy array, not {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype:
        raise CodecError(
            f"the stream holds {dtype.name} {shape}, but `out` is {out.dtype.name} {out.shape}"
        )
    if not out.flags.writeable:
        raise CodecError("`out` is read-only")
    return out


def pair_with_outs(
    datas: Iterable[Item], outs: Iterable[NDArray[Any]] | None
) -> list[tuple[Item, NDArray[Any] | None]]:
    """Pair each stream with the array to decode it into, or with None."""
    streams = list(datas)
    targets = [None] * len(streams) if outs is None else list(outs)
    if len(targets) != len(streams):
        raise CodecError(f"{len(streams)} streams, but {len(targets)} arrays to decode them into")
    return list(zip(streams, targets, strict=True))


def encode_all(
    arrays: Sequence[NDArray[Any]], precision: int, plus_two: bool, seekable: bool, threads: int
) -> list[bytes]:
    """Encode arrays x, y, z, field, neighbours of one shape and type in pairs."""
    pairs: list[list[NDArray[Any]]] = []
    for array in arrays:
        last = pairs[-1] if pairs else []
        if len(last) == 1 and (last[0].shape, last[0].dtype) == (array.shape, array.dtype):
            last.append(array)
        else:
            pairs.append([array])

    def encode_pair(pair: list[NDArray[Any]]) -> list[bytes]:
        is_double = pair[0].dtype == np.float64
        streams = _core.encode_arrays(pair, is_double, precision, plus_two)
        if not seekable:
            return [bytes(stream) for stream in streams]
        tables = (
            SectionTable.of_stream(stream, list(_STATE.iter_unpack(stream.states)))
            for stream in streams
        )
        return [
            b"".join((stream, table.to_bytes()))
            for stream, table in zip(streams, tables, strict=True)
        ]

    return [stream for pair in map_threads(encode_pair, pairs, threads) for stream in pair]


def fields_of(header: Header, fields: slice | None) -> range:
    """Return the indices of the fields that a slice of the last axis selects."""
    if fields is None:
        return range(header.shape[3])
    return range(*fields.indices(header.shape[3]))


def whole_jobs(stream: Stream, out: NDArray[Any], keep_states: bool = False) -> list[Job]:
    """Write down the decode of a whole stream into `out`: x, y, z, field."""
    if stream.table is not None:
        return section_jobs(stream, range(stream.header.shape[3]), out)
    return [Job(stream.body, stream.start, out, stream.header, keep_states=keep_states)]


def section_jobs(stream: Stream, fields: range, out: NDArray[Any]) -> list[Job]:
    """Write down the decode of some fields of a stream with a table, one index of `out` each."""
    assert stream.table is not None
    return [
        section_job(stream.table.cut(f, stream.body), out[..., i : i + 1], stream.header.precision)
        for i, f in enumerate(fields)
    ]


def section_job(section: Section, out: NDArray[Any], precision: int) -> Job:
    """Write down the decode of one section into `out`: x, y, z and one field."""
    x, y, z, fields = out.shape
    entry = section.entry
    return Job(
        section.data,
        (section.start, entry.low, entry.range),
        out,
        Header(out.dtype, (x, y, z, fields), precision),
        section=section,
    )


def empty_job(stream: Stream, out: NDArray[Any]) -> Job:
    """Write down the decode of some fields of a stream without samples: a look at its end."""
    header = Header(stream.header.dtype, out.shape, stream.header.precision)
    return Job(stream.body, stream.start, out, header)


def decode_stream(
    stream: Stream, fields: range, out: NDArray[Any], plus_two: bool, starts: FieldStarts | None
) -> None:
    """Decode some fields of a stream in the cheapest way there is, one index of `out` each."""
    if fields.step < 0:
        fields, out = fields[::-1], out[..., ::-1]
    if stream.table is not None:
        raise_first(run(section_jobs(stream, fields, out), plus_two))
    elif 0 in stream.header.shape:
        raise_first(run([empty_job(stream, out)], plus_two))
    elif fields == range(stream.header.shape[3]):
        jobs = whole_jobs(stream, out, keep_states=starts is not None)
        raise_first(run(jobs, plus_two))
        if starts is not None:
            starts.states = jobs[0].states
    else:
        decode_some(stream, fields, out, plus_two, starts or FieldStarts())


def decode_some(
    stream: Stream, fields: range, out: NDArray[Any], plus_two: bool, starts: FieldStarts
) -> None:
    """Decode some fields of a stream without a table, in rising order, one index of `out` each.

    Starts from the nearest field in front that is known, and goes no further than the last one
    wanted.
    """
    states = starts.states or [stream.start]
    nx, ny, nz, nf = stream.header.shape

    def go_on(first: int, number: int, target: NDArray[Any] | None) -> None:
        part = Header(stream.header.dtype, (nx, ny, nz, number), stream.header.precision)
        exact = first + number == nf
        job = Job(stream.body, states[first], target, part, exact=exact, keep_states=True)
        raise_first(run([job], plus_two))
        states[first:] = [*job.states, *states[first + len(job.states) :]]

    for i, wanted in enumerate(fields):
        first = min(wanted, len(states) - 1)
        if first < wanted:
            go_on(first, wanted - first, None)
        go_on(wanted, 1, out[..., i : i + 1])
    starts.states = states


def run(jobs: Sequence[Job], plus_two: bool, threads: int = 1) -> list[CodecError | None]:
    """Decode all jobs, those of one kind together, and return what went wrong with each."""
    errors: list[CodecError | None] = [None] * len(jobs)
    kinds: defaultdict[Any, list[int]] = defaultdict(list)
    for i, job in enumerate(jobs):
        kinds[job.kind()].append(i)
    batches = [
        members[i : i + _JOBS_TOGETHER]
        for members in kinds.values()
        for i in range(0, len(members), _JOBS_TOGETHER)
    ]

    def run_batch(batch: list[int]) -> None:
        whole = []
        for i in batch:
            section = jobs[i].section
            try:
                if section is not None:
                    section.check()
                whole.append(i)
            except CodecError as error:
                # Its traceback leads to this list, and so to itself and to all arrays on the way,
                # which would then stay until the garbage collector comes by.
                errors[i] = error.with_traceback(None)
        if not whole:
            return
        first = jobs[whole[0]]
        results = _core.decode_fields(
            [jobs[i].data for i in whole],
            [jobs[i].start for i in whole],
            [jobs[i].out for i in whole],
            first.header.shape,
            first.header.dtype == np.float64,
            first.header.precision,
            plus_two,
            first.exact,
            first.keep_states,
        )
        for i, (message, states) in zip(whole, results, strict=True):
            if message is not None:
                errors[i] = CodecError(message)
            jobs[i].states = list(_STATE.iter_unpack(states))

    map_threads(run_batch, batches, threads)
    return errors


def raise_first(errors: Iterable[CodecError | None]) -> None:
    """Raise the first error there is."""
    first = next((error for error in errors if error is not None), None)
    del errors  # which the error would lead to, and so to itself
    if first is None:
        return
    try:
        raise first
    finally:
        del first


def map_threads(
    function: Callable[[Item], Result], items: Sequence[Item], threads: int
) -> list[Result]:
    """Apply `function` to each item, on several threads where asked; the core releases the GIL."""
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    if threads == 1 or len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
