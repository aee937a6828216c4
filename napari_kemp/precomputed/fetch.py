"""Which bytes of a chunk to ask storage for, when only some of its fields are wanted.

Where the streams of a scale end in a section table, two small requests replace a large one: the
table, and the bytes of the sections. Whether they do is learned from the objects themselves.
"""

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from functools import partial
from mmap import mmap

from napari_kemp.codec import FieldStarts, Section, SectionTable
from napari_kemp.errors import CodecError
from napari_kemp.precomputed.cache import shared_cache
from napari_kemp.precomputed.grid import Triple
from napari_kemp.precomputed.pages import apart
from napari_kemp.precomputed.storage import StoredObject

# A whole object is one request instead of two, and decoding its checksums costs nothing extra.
_RANGES_UP_TO = 0.25

# Requests for sections that lie closer to each other than this become one.
_GAP_BYTES = 4096


@dataclass(frozen=True, eq=False)
class EncodedStream:
    """The whole content of an object, and where its fields start as far as is known."""

    data: bytes | mmap
    starts: FieldStarts = field(default_factory=FieldStarts)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes, about."""
        return len(self.data) + 100 * len(self.starts.states)


@dataclass(frozen=True)
class _KeptTable:
    table: SectionTable

    @property
    def nbytes(self) -> int:
        return 250 * len(self.table.entries)


Fetched = EncodedStream | dict[int, Section] | None
"""A whole stream; or the sections that were asked for; or None where there is no such object."""

Done = Callable[[Fetched | BaseException], None]


@dataclass
class TableHabit:
    """What the objects of a scale have shown so far.

    Attributes
    ----------
    tables
        Whether the last stream that was seen ended in a section table; None before the first.
    ranges
        Whether storage gives the bytes that are asked for.
    """

    tables: bool | None = None
    ranges: bool = True


class ChunkFetcher:
    """Gets the bytes that some fields of a chunk are decoded from.

    Parameters
    ----------
    token : hashable
        Of the scale, for the cache.
    read : callable
        ``read(cell_xyz, byte_range)`` begins to read (some bytes of) the object of a cell.
    ranged : callable
        Whether some bytes of an object are of use, as far as storage knows.
    unwrap : callable
        ``unwrap(cell_xyz, stored)`` undoes transport compression.
    """

    def __init__(
        self,
        token: Hashable,
        read: Callable[[Triple, slice | None], Future[StoredObject | None]],
        ranged: Callable[[], bool],
        unwrap: Callable[[Triple, StoredObject], bytes],
    ):
        self._token = token
        self._read = read
        self._ranged = ranged
        self._unwrap = unwrap
        self.habit = TableHabit()

    def keys(self, cell: Triple) -> list[Hashable]:
        """Return what the cache may hold of a cell for this fetcher."""
        return [(self._token, cell, "table"), (self._token, cell, "stream")]

    def has_stream(self, cell: Triple) -> bool:
        """Whether the whole stream of a cell is kept."""
        return shared_cache().get((self._token, cell, "stream")) is not None

    def fetch(
        self, cell: Triple, fields: Sequence[int], num_fields: int, done: Done
    ) -> Callable[[], None]:
        """Get what some fields are decoded from, and hand it over, maybe on another thread.

        Returns
        -------
        callable
            Gives up, where it is not here yet; `done` then gets a CancelledError.
        """
        request = _Request(self, cell, fields, num_fields, done)
        self._begin(request)
        return request.cancel

    def _begin(self, request: "_Request") -> None:
        fields, num_fields = request.fields, request.num_fields
        kept = shared_cache().get(request.stream_key)
        if kept is not None:
            request.done(kept)
            return
        few = len(fields) <= num_fields * _RANGES_UP_TO
        if not (few and self.habit.ranges and self._ranged()):
            request.read_whole()
            return
        table = shared_cache().get(request.table_key)
        if table is not None:
            request.read_sections(table.table)
        elif self.habit.tables is not False:
            request.read_table()
        else:
            request.read_whole()


@dataclass(eq=False)
class _Request:
    fetcher: ChunkFetcher
    cell: Triple
    fields: Sequence[int]
    num_fields: int
    done: Done
    _reading: Future[StoredObject | None] | None = None
    _cancelled: bool = False

    @property
    def stream_key(self) -> Hashable:
        return (self.fetcher._token, self.cell, "stream")

    @property
    def table_key(self) -> Hashable:
        return (self.fetcher._token, self.cell, "table")

    def cancel(self) -> None:
        self._cancelled = True
        if (reading := self._reading) is not None:
            reading.cancel()

    def read_whole(self) -> None:
        self._then(None, self._whole_is_here)

    def read_table(self) -> None:
        size = SectionTable.size(self.num_fields)
        self._then(slice(-size, None), self._table_is_here)

    def read_sections(self, table: SectionTable) -> None:
        """Ask for neighbouring sections in one request each."""
        runs: list[list[int]] = []
        for each in self.fields:
            last = runs[-1] if runs else []
            near = last and table.span(each).start - table.span(last[-1]).stop <= _GAP_BYTES
            if near:
                last.append(each)
            else:
                runs.append([each])
        sections: dict[int, Section] = {}
        self._next_run(table, runs, sections)

    def _next_run(
        self, table: SectionTable, runs: list[list[int]], sections: dict[int, Section]
    ) -> None:
        if not runs:
            self.done(sections)
            return
        span = table.span(runs[0][0], runs[0][-1])
        self._then(span, partial(self._run_is_here, table, runs, sections))

    def _run_is_here(
        self,
        table: SectionTable,
        runs: list[list[int]],
        sections: dict[int, Section],
        stored: StoredObject | None,
    ) -> None:
        if stored is None:  # it was removed, or is about to be replaced
            self.read_whole()
            return
        at = table.span(runs[0][0]).start
        try:
            for each in runs[0]:
                section = table.cut(each, stored.data, at)
                section.check()
                sections[each] = section
        except CodecError:
            # Rewritten since its table was read, damaged, or not the bytes that were asked for.
            # Only a look at the whole object tells.
            shared_cache().discard([self.table_key])
            self.read_whole()
            return
        self._next_run(table, runs[1:], sections)

    def _table_is_here(self, stored: StoredObject | None) -> None:
        if stored is None:
            self.read_whole()  # it may be there with a suffix
            return
        try:
            table = SectionTable.find(stored.data)
        except CodecError:
            table = None
        if table is None or len(table.entries) != self.num_fields:
            self.fetcher.habit.tables = False
            self.read_whole()
            return
        self.fetcher.habit.tables = True
        shared_cache().keep(self.table_key, _KeptTable(table))
        self.read_sections(table)

    def _whole_is_here(self, stored: StoredObject | None) -> None:
        if stored is None:
            self.done(None)
            return
        data = self.fetcher._unwrap(self.cell, stored)
        self.fetcher.habit.tables = _ends_in_a_table(data)
        if len(self.fields) == self.num_fields:
            self.done(EncodedStream(data))
            return
        stream = EncodedStream(apart(data))
        shared_cache().keep(self.stream_key, stream)
        self.done(stream)

    def _then(self, byte_range: slice | None, go_on: Callable[[StoredObject | None], None]) -> None:
        def settle(read: Future[StoredObject | None]) -> None:
            self._reading = None
            try:
                go_on(read.result())
            except OSError as error:
                if byte_range is None:
                    self.done(error)
                else:
                    # Shorter than a table, or a server that cannot do ranges.
                    self._whole_after_a_failed_range(byte_range)
            except BaseException as error:
                self.done(error)

        try:
            if self._cancelled:
                raise CancelledError
            reading = self._reading = self.fetcher._read(self.cell, byte_range)
            if self._cancelled:  # meanwhile
                reading.cancel()
            reading.add_done_callback(settle)
        except BaseException as error:
            self.done(error)

    def _whole_after_a_failed_range(self, byte_range: slice) -> None:
        if byte_range.start is not None and byte_range.start < 0:
            self.fetcher.habit.tables = False
        else:
            shared_cache().discard([self.table_key])
        self.read_whole()


def _ends_in_a_table(data: bytes) -> bool:
    try:
        return SectionTable.find(data, whole=True) is not None
    except CodecError:  # decoding tells what is wrong
        return False
