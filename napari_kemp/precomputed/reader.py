"""From cells of the grid to decoded pieces: cache, storage and decoder, many chunks at a time.

A piece is what can be decoded alone: a z section of a kempressed chunk, a channel of an fpzip
chunk, the whole of any other. Whoever asks first for a piece loads it; all others wait for that.
"""

import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import nullcontext
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp import settings
from napari_kemp.errors import ChunkError, CodecError
from napari_kemp.precomputed import stopwatch
from napari_kemp.precomputed.cache import Loading, Piece, shared_cache
from napari_kemp.precomputed.decode import (
    Encoded,
    decode_group,
    full_groups,
    in_groups,
    worker_threads,
)
from napari_kemp.precomputed.encodings import ChunkShape, find_encoding
from napari_kemp.precomputed.fetch import ChunkFetcher, Fetched
from napari_kemp.precomputed.grid import ChunkGrid, Triple
from napari_kemp.precomputed.info import ScaleInfo
from napari_kemp.precomputed.memory import physical_bytes
from napari_kemp.precomputed.storage import StoredObject

_TIMEOUT_SECONDS = 120.0

# How much is on its way at a time: enough to hide a server's latency and to fill the codec's lanes,
# without holding a large region twice, and in a small cache less.
_WINDOW_CELLS = 1024
_WINDOW_BYTES = 1 << 28

_MISSING_CELLS = 1 << 16

# How long to hope for more chunks to decode together, while a thread could decode what is there.
_PATIENCE_SECONDS = 0.1

Place = Callable[[Triple, int, Piece], None]
"""Takes a cell, a field of it, and the piece (x, y, z, c)."""


class AbandonedError(ChunkError):
    """A read was given up because nobody wants its result any more."""


@dataclass(frozen=True, eq=False)
class ReadOptions:
    """How to read.

    Attributes
    ----------
    on_error : callable or None
        Is told of each chunk that cannot be read, which then counts as missing; None to raise.
    abandoned : callable or None
        Whether nobody wants the result any more; asked every now and then.
    missing_seconds : float
        How old the knowledge may be that the volume does not hold a chunk: what draws several
        channels need not look for it several times. For all else the answer is of now.
    """

    on_error: Callable[[ChunkError], None] | None = None
    abandoned: Callable[[], bool] | None = None
    missing_seconds: float = 0.0


_Wanted = tuple[Triple, Sequence[int]]
_Arrival = tuple[Triple, Fetched | BaseException]


class ChunkReader:
    """Reads the chunks of one scale.

    Parameters
    ----------
    url : str
        The volume.
    info : ScaleInfo
        The scale.
    grid : ChunkGrid
        Its chunks.
    dtype : numpy.dtype
        Type of the values.
    num_channels : int
        Values a voxel.
    read : callable
        ``read(cell_xyz, byte_range)`` begins to read the object of a cell, or some bytes of it.
    ranged : callable
        Whether storage can be asked for some bytes of an object.
    """

    def __init__(
        self,
        url: str,
        info: ScaleInfo,
        grid: ChunkGrid,
        dtype: np.dtype[Any],
        num_channels: int,
        read: Callable[[Triple, slice | None], Future[StoredObject | None]],
        ranged: Callable[[], bool],
    ):
        self.url = url
        self.name = f"{url}, scale {info.key}"
        self.info = info
        self.grid = grid
        self.dtype = dtype
        self.num_channels = num_channels
        self._read = read
        self._ranged = ranged
        # Not the URL: a volume that is opened anew is read anew.
        self._token = object()
        self._missing: dict[Triple, float] = {}
        self._fetcher = ChunkFetcher(
            self._token,
            self._read_bytes,
            self._takes_ranges,
            self._unwrap,
        )

    @property
    def field_axis(self) -> int | None:
        """Along which axis of (x, y, z, c) chunks consist of pieces; None if of one."""
        try:
            return find_encoding(self.info.encoding).field_axis
        except CodecError:
            return None

    def fields(self, cell: Triple, z: range, channels: range) -> Sequence[int]:
        """Return which fields of a chunk hold some sections (from its first) and channels."""
        if self.field_axis == 2:
            return sorted(z)
        return sorted(channels) if self.field_axis == 3 else (0,)

    def num_fields(self, cell: Triple) -> int:
        """Return how many fields a chunk has."""
        axis = self.field_axis
        return 1 if axis is None else self._shape_xyzc(cell)[axis]

    def read(
        self, wanted: Iterable[_Wanted], place: Place, options: ReadOptions | None = None
    ) -> None:
        """Read pieces and hand each to `place`, in any order, on any thread.

        Parameters
        ----------
        wanted : iterable of (cell, fields)
            Each cell once, its fields rising.
        place : callable
            Is called for each piece that the volume holds.
        options : ReadOptions
            See there.

        Raises
        ------
        ChunkError
            If a chunk is damaged or unreachable; names volume, scale and chunk.
        """
        options = options or ReadOptions()
        if options.missing_seconds:
            # At once: of the largest volumes, thousands of chunks are missing in each view.
            seconds = options.missing_seconds
            wanted = (each for each in wanted if not self.is_missing(each[0], seconds))
        for window in self._windows(wanted):
            _Window(self, place, options).read(window)

    def chunk(self, cell: Triple) -> Piece:
        """Read one chunk whole: (x, y, z, c), read-only; None where the volume holds none.

        Raises
        ------
        ChunkError
            If it is damaged or unreachable.
        """
        axis = self.field_axis
        pieces: dict[int, NDArray[Any]] = {}

        def place(_: Triple, field: int, piece: Piece) -> None:
            if piece is not None:
                pieces[field] = piece

        number = self.num_fields(cell)
        self.read([(cell, range(number))], place)
        if not pieces:
            return None
        if axis is None:
            return pieces[0]
        whole = np.empty(self._shape_xyzc(cell), self.dtype, order="F")
        np.concatenate([pieces[i] for i in range(number)], axis=axis, out=whole)
        whole.flags.writeable = False
        return whole

    def is_missing(self, cell: Triple, seconds: float) -> bool:
        """Whether the volume did not hold a chunk so many seconds ago."""
        return time.monotonic() - self._missing.get(cell, -math.inf) < seconds

    def note_missing(self, cell: Triple) -> None:
        """Note that the volume does not hold a chunk now."""
        if len(self._missing) >= _MISSING_CELLS:
            self._missing.clear()
        self._missing[cell] = time.monotonic()

    def key(self, cell: Triple, field: int) -> Hashable:
        """Return the name of a piece in the cache."""
        return (self._token, cell, field)

    def discard(self, cell: Triple) -> None:
        """Forget a chunk that has been rewritten."""
        self._missing.pop(cell, None)
        fields = range(self.num_fields(cell))
        shared_cache().discard(
            [*(self.key(cell, field) for field in fields), *self._fetcher.keys(cell)]
        )

    def error(self, cell: Triple, reason: object) -> ChunkError:
        """Return an error that names the volume, the scale and the chunk."""
        return ChunkError(f"{self.name}, chunk {self.grid.name(cell)}: {reason}")

    def load(self, cell_xyz: Triple) -> bytes | None:
        """Read the content of a cell's object, past the cache; None where there is no object.

        Raises
        ------
        ChunkError
            If it is unreachable, or its transport compression is damaged.
        """
        reading: Future[StoredObject | None] = Future()
        try:
            self.require_room(cell_xyz)
            reading = self._read(cell_xyz, None)
            stored = reading.result(_TIMEOUT_SECONDS)
            return None if stored is None else self._unwrap(cell_xyz, stored)
        except TimeoutError:
            reading.cancel()
            reason = f"no answer within {_TIMEOUT_SECONDS:.0f} seconds"
            raise self.error(cell_xyz, reason) from None
        except (OSError, CodecError) as error:
            raise self.error(cell_xyz, error) from error

    def decode(self, cell: Triple, data: bytes) -> NDArray[Any]:
        """Decode the content of a cell's object, to (x, y, z, c), read-only.

        Raises
        ------
        CodecError
            If the bytes are not the whole chunk of that cell.
        """
        chunk = find_encoding(self.info.encoding).decode(
            data, self._shape_xyzc(cell), self.dtype, self.info
        )
        chunk.flags.writeable = False
        return chunk

    def check(self, cell_xyz: Triple, data: bytes) -> None:
        """Raise CodecError if it can be told without decoding that `decode` would."""
        check = find_encoding(self.info.encoding).check
        check(data, self._shape_xyzc(cell_xyz), self.dtype, self.info)

    def require_room(self, cell_xyz: Triple) -> None:
        """Raise CodecError if a chunk, as the ``info`` file has it, is too large to be decoded.

        What is stored, unpacked, decoded and copied of it are there at the same time.
        """
        nbytes = self._nbytes(cell_xyz)
        if nbytes > physical_bytes() // 4:
            raise CodecError(
                f"takes {nbytes / 2**30:.1f} GiB, more than a quarter of this machine's memory; "
                "see chunk_sizes and num_channels in the info file"
            )

    def most_bytes(self, cell_xyz: Triple) -> int:
        """Return how many bytes the content of a cell's object can be, whatever its encoding."""
        # Four times the values: a segmentation of which every voxel is a block.
        return 65536 + 4 * self._nbytes(cell_xyz)

    def _nbytes(self, cell: Triple) -> int:
        return math.prod(self._shape_xyzc(cell)) * self.dtype.itemsize

    def _shape_xyzc(self, cell: Triple) -> ChunkShape:
        return (*self.grid.box(cell).shape_xyz, self.num_channels)

    def _read_bytes(self, cell: Triple, byte_range: slice | None) -> Future[StoredObject | None]:
        return self._read(cell, byte_range)

    def _takes_ranges(self) -> bool:
        # Channels of an fpzip chunk are few, and looked at together: one request for all of them.
        return self.field_axis == 2 and self._ranged()

    def _unwrap(self, cell: Triple, stored: StoredObject) -> bytes:
        return stored.unwrapped(self.most_bytes(cell))

    def cost(self, cell: Triple, fields: Sequence[int]) -> int:
        """Return how many bytes of memory it takes, about, to have some fields on their way."""
        chunk_bytes = self._nbytes(cell)
        if self._fetches_streams(cell, fields):
            return chunk_bytes // 2
        return chunk_bytes * len(fields) // self.num_fields(cell)

    def _fetches_streams(self, cell: Triple, fields: Sequence[int]) -> bool:
        """Whether a stream has to be fetched whole for a part of it; it goes into the cache."""
        return not self._fetcher.habit.tables and len(fields) < self.num_fields(cell)

    def _windows(self, wanted: Iterable[_Wanted]) -> Iterator[list[_Wanted]]:
        window: list[_Wanted] = []
        nbytes = 0
        most = max(_WINDOW_BYTES // 4, settings.current().cache_bytes * 2 // 5)
        for cell, fields in wanted:
            cost = self.cost(cell, fields)
            if not self._fetches_streams(cell, fields):
                most = min(most, _WINDOW_BYTES)
            if window and (nbytes + cost > most or len(window) == _WINDOW_CELLS):
                yield window
                window, nbytes = [], 0
            window.append((cell, fields))
            nbytes += cost
        if window:
            yield window


class _Window:
    """One batch of cells: claimed, fetched, decoded in groups as they arrive, and placed."""

    def __init__(self, reader: ChunkReader, place: Place, options: ReadOptions):
        self._reader = reader
        self._place = place
        self._options = options
        self._arrivals: SimpleQueue[_Arrival] = SimpleQueue()
        self._mine: dict[Triple, dict[int, Loading]] = {}
        self._cancels: dict[Triple, Callable[[], None]] = {}
        self._expected: dict[Triple, int] = {}
        self._errors: dict[Triple, BaseException] = {}

    def read(self, wanted: list[_Wanted]) -> None:
        pieces = [(cell, field) for cell, fields in wanted for field in fields]
        claims = shared_cache().claim(self._reader.key(*each) for each in pieces)
        others: list[tuple[Triple, int, Loading]] = []
        ready: list[tuple[Triple, int, Piece]] = []
        for (cell, field), (claimed, mine) in zip(pieces, claims, strict=True):
            if not isinstance(claimed, Loading):
                ready.append((cell, field, claimed))
            elif mine:
                self._mine.setdefault(cell, {})[field] = claimed
            else:
                others.append((cell, field, claimed))
        try:
            for cell, loadings in self._mine.items():
                self._begin(cell, sorted(loadings))
            with stopwatch.spending("assembling"):
                for each in ready:
                    self._place(*each)
            self._load()
        except BaseException as error:
            self._give_up(error)
            raise
        finally:
            for cell in self._mine:
                self._no_longer_expected(cell)
        self._wait_for(others)
        for cell, _ in wanted:
            if cell in self._errors:
                self._report(self._errors[cell])

    def _begin(self, cell: Triple, fields: list[int]) -> None:
        arrivals = self._arrivals
        try:
            find_encoding(self._reader.info.encoding)
            self._reader.require_room(cell)
        except CodecError as error:
            arrivals.put((cell, error))
            return
        if not self._reader._fetcher.has_stream(cell):
            self._expected[cell] = self._reader.cost(cell, fields)
            shared_cache().expect(self._expected[cell])
        self._cancels[cell] = self._reader._fetcher.fetch(
            cell,
            fields,
            self._reader.num_fields(cell),
            lambda fetched: arrivals.put((cell, fetched)),
        )

    def _load(self) -> None:
        outstanding = set(self._mine)
        waiting: list[Encoded] = []
        decoding: list[Future[None]] = []
        last_arrival = time.monotonic()
        whole = self._reader.field_axis is None
        while outstanding:
            idle = all(each.done() for each in decoding)
            with stopwatch.spending("waiting") if idle else nullcontext():
                arrived = self._next_arrivals()
            for cell, fetched in arrived:
                if cell in outstanding:
                    outstanding.remove(cell)
                    waiting += self._accept(cell, fetched)
            if arrived:
                last_arrival = time.monotonic()
            elif time.monotonic() - last_arrival > _TIMEOUT_SECONDS:
                reason = f"no answer within {_TIMEOUT_SECONDS:.0f} seconds"
                for cell in outstanding:
                    self._cancels[cell]()
                    self._fail(cell, self._reader.error(cell, reason))
                outstanding.clear()
            self._check_abandoned()
            if outstanding:
                hurry = whole or (idle and not arrived)
                groups, waiting = (
                    full_groups(waiting) if not hurry else (in_groups(waiting, whole=whole), [])
                )
                decoding += [worker_threads().submit(self._decode, group) for group in groups]
        if waiting:
            first, *rest = in_groups(waiting, whole=whole)
            decoding += [worker_threads().submit(self._decode, group) for group in rest]
            self._decode(first)
        for each in decoding:
            each.result()

    def _next_arrivals(self) -> list[_Arrival]:
        arrived = []
        try:
            arrived.append(self._arrivals.get(timeout=_PATIENCE_SECONDS))
            while True:
                arrived.append(self._arrivals.get_nowait())
        except Empty:
            return arrived

    def _accept(self, cell: Triple, fetched: Fetched | BaseException) -> list[Encoded]:
        """Settle what cannot be decoded, and return what can."""
        if isinstance(fetched, OSError | CodecError):
            self._fail(cell, self._reader.error(cell, fetched))
        elif isinstance(fetched, BaseException):
            self._fail(cell, fetched)
        elif fetched is None:
            self._reader.note_missing(cell)
            for field, loading in self._mine[cell].items():
                shared_cache().fulfil(self._reader.key(cell, field), loading, None)
        else:
            fields = sorted(self._mine[cell])
            if self._reader._fetcher.has_stream(cell):
                self._no_longer_expected(cell)  # the cache counts it
            return [Encoded(cell, self._reader._shape_xyzc(cell), fields, fetched)]
        return []

    def _decode(self, group: Sequence[Encoded]) -> None:
        reader = self._reader
        try:
            with stopwatch.spending("decoding"):
                results = decode_group(
                    group, find_encoding(reader.info.encoding), reader.dtype, reader.decode
                )
        except CodecError as error:
            for chunk in group:
                self._fail(chunk.cell, reader.error(chunk.cell, error))
            return
        except BaseException as error:
            for chunk in group:
                self._fail(chunk.cell, error)
            return
        with stopwatch.spending("assembling"):
            for chunk, pieces in zip(group, results, strict=True):
                for field, piece in pieces.items():
                    self._settle(chunk.cell, field, piece)
                self._no_longer_expected(chunk.cell)
                if chunk.cell in self._errors:
                    # Whoever asks next sees the object anew, and nothing of what it was.
                    reader.discard(chunk.cell)

    def _settle(self, cell: Triple, field: int, piece: NDArray[Any] | CodecError) -> None:
        loading = self._mine[cell][field]
        key = self._reader.key(cell, field)
        if isinstance(piece, CodecError):
            error = self._reader.error(cell, piece)
            self._errors.setdefault(cell, error)
            shared_cache().fail(key, loading, error)
            return
        piece.flags.writeable = False
        self._place(cell, field, piece)
        shared_cache().fulfil(key, loading, piece)

    def _no_longer_expected(self, cell: Triple) -> None:
        shared_cache().expect(-self._expected.pop(cell, 0))

    def _fail(self, cell: Triple, error: BaseException) -> None:
        self._errors.setdefault(cell, error)
        for field, loading in self._mine[cell].items():
            shared_cache().fail(self._reader.key(cell, field), loading, error)

    def _give_up(self, error: BaseException) -> None:
        """Let nobody wait for what will not come, nor servers send what nobody waits for."""
        for cancel in self._cancels.values():
            cancel()
        for cell, loadings in self._mine.items():
            for field, loading in loadings.items():
                shared_cache().fail(self._reader.key(cell, field), loading, error)

    def _wait_for(self, others: Iterable[tuple[Triple, int, Loading]]) -> None:
        for cell, field, loading in others:
            while not wait([loading], _PATIENCE_SECONDS).done:
                self._check_abandoned()
            try:
                piece = loading.result()
            except AbandonedError:
                # Whoever loaded it gave up: we did not.
                self._reader.read([(cell, (field,))], self._place, self._options)
            except BaseException as error:
                self._errors.setdefault(cell, error)
            else:
                if piece is not None:
                    with stopwatch.spending("assembling"):
                        self._place(cell, field, piece)

    def _check_abandoned(self) -> None:
        if self._options.abandoned is not None and self._options.abandoned():
            raise AbandonedError(f"{self._reader.name}: nobody wants this view any more")

    def _report(self, error: BaseException) -> None:
        if not isinstance(error, ChunkError) or self._options.on_error is None:
            raise error
        self._options.on_error(error)
