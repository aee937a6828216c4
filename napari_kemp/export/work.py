"""The work of one task: read, average, encode, write, verify. Knows no threads and no cluster."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_kemp.errors import CodecError, ExportError, KempError
from napari_kemp.export.downsample import means, modes
from napari_kemp.export.parts import read_box
from napari_kemp.export.plan import Plan
from napari_kemp.export.sweeps import Cell, Task, children, read_together
from napari_kemp.export.values import Census, compare, is_stored_as, take_census
from napari_kemp.export.window import Window
from napari_kemp.precomputed import Box, Scale, Volume
from napari_kemp.precomputed.grid import Triple

# Two chunks of one shape are encoded faster together than one after the other.
_TOGETHER = 2


@dataclass(frozen=True)
class SavedChunk:
    """What became of one chunk.

    Attributes
    ----------
    level : int
        Its scale.
    bytes_raw, bytes_encoded : int
        Its values, and what is stored of them.
    kept : bool
        Whether it was there already.
    verified : bool
        Whether it was read back and compared.
    census : Census
        What its values were, of the finest scale.
    """

    level: int
    bytes_raw: int
    bytes_encoded: int
    kept: bool = False
    verified: bool = False
    census: Census = field(default_factory=Census)


class Writer(Protocol):
    """Carries out writes, now or soon, and tells somebody of the chunks that are stored."""

    def write(self, action: Callable[[], list[SavedChunk]]) -> None:
        """Run an action; waits while too many are under way."""

    def done(self, chunk: SavedChunk) -> None:
        """Tell of a chunk that needs no write."""


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """A task was asked to stop, and did."""


@dataclass(frozen=True)
class _Encoding:
    """A chunk on its way into a stream."""

    cell: Cell
    chunk: NDArray[Any]
    census: Census
    exact: bool  # the census knows the error already


class Worker:
    """Does one task of a plan.

    Parameters
    ----------
    plan : Plan
        What is saved.
    volume : Volume
        The destination.
    task : Task
        Which part of it.
    resumed, finished : bool
        Whether chunks may, or must, be there already.
    writer : Writer
        Who writes.
    stopped : callable
        Tells whether nobody wants any more chunks; is asked for each.
    """

    def __init__(
        self,
        plan: Plan,
        volume: Volume,
        task: Task,
        *,
        resumed: bool,
        finished: bool,
        writer: Writer,
        stopped: Callable[[], bool],
    ):
        self._plan = plan
        self._volume = volume
        self._task = task
        self._resumed = resumed
        self._finished = finished
        self._writer = writer
        self._stopped = stopped
        self._window = Window(plan.source, plan.region, read_together(plan, task.sweep))
        self._average = modes if plan.info.type == "segmentation" else means
        self._kept: set[Cell] = set()
        self._waiting: defaultdict[int, list[_Encoding]] = defaultdict(list)
        self._shard: dict[Triple, bytes] = {}
        self._shard_chunks: list[SavedChunk] = []

    def run(self) -> None:
        """Do the task.

        Raises
        ------
        ExportError
            If a chunk cannot be read, encoded or written; names the destination and the chunk.
        Stopped
            If it was asked to stop.
        """
        roots = [(self._task.sweep.top, root) for root in self._task.roots()]
        if self._resumed:
            for root in roots:
                self._find_kept(root)
        for root in roots:
            self._visit(root, None)
        for level in list(self._waiting):
            self._encode(level)
        self._write_shard()

    def _find_kept(self, cell: Cell) -> None:
        """Note the chunks at and below a cell that are there and whole."""
        self._check_stop()
        level, cell_xyz = cell
        stored = self._stored_bytes(cell)
        if stored is not None:
            self._kept.add(cell)
            self._writer.done(SavedChunk(level, self._bytes_of(cell), stored, kept=True))
        elif self._finished:
            self._fail(cell, f"is missing, although {_NO_LEDGER}")
        if level > self._task.sweep.base:
            for child in children(self._plan, level, cell_xyz):
                self._find_kept((level - 1, child))

    def _stored_bytes(self, cell: Cell) -> int | None:
        """Return the size of a chunk that is there and seems whole; None where it has to be made.

        Writes are atomic, so that this finds what others did to a volume.
        """
        scale = self._scale(cell)
        try:
            data = scale.load_chunk(cell[1])
            if data is None:
                return None
            scale.check_chunk(cell[1], data)
        except CodecError:
            return None
        except KempError as error:
            self._fail(cell, f"could not be read: {error}", error)
        return len(data)

    def _visit(self, cell: Cell, wanted: Box | None) -> NDArray[Any] | None:
        """Make a chunk and those it is made of, as far as they are missing.

        Returns the values of a box around the chunk, if they are wanted.
        """
        self._check_stop()
        level, cell_xyz = cell
        missing = cell not in self._kept
        chunk_box = self._plan.grids[level].box(cell_xyz)
        if missing and wanted is None:
            wanted = chunk_box
        if wanted is None:
            if level > self._task.sweep.base:
                for child in children(self._plan, level, cell_xyz):
                    self._visit((level - 1, child), None)
            return None
        if level > self._task.sweep.base:
            values = original = self._from_children(cell, wanted)
        else:
            original, values = self._read(cell, wanted)
        if missing:
            inner = _within(chunk_box, wanted)
            self._put(cell, values[inner], original[inner] if level == 0 else None)
        return values

    def _from_children(self, cell: Cell, wanted: Box) -> NDArray[Any]:
        """Average a box around a chunk from finer values, and make the finer chunks on the way.

        A coarse voxel that lies in two finer chunks is made with the upper one; so a finer chunk
        is asked for a few voxels more below it, where a voxel offset is odd.
        """
        level, cell_xyz = cell
        factor = self._plan.factors[level]
        fine = self._plan.grids[level - 1]
        cells = list(children(self._plan, level, cell_xyz))
        if not cells:  # its few voxels are parts of finer chunks that belong to its neighbour
            return self._averaged(cell, wanted)
        result = np.empty((self._plan.info.num_channels, *wanted.shape_xyz[::-1]), self._dtype)
        for child in cells:
            box = fine.box(child)
            starts, stops, fine_starts, fine_stops = [], [], [], []
            for axis, f in enumerate(factor):
                first = min(other[axis] for other in cells) == child[axis]
                last = child[axis] + 1 == fine.shape_xyz[axis]
                start = wanted.start_xyz[axis] if first else box.start_xyz[axis] // f
                stop = wanted.stop_xyz[axis] if last else box.stop_xyz[axis] // f
                starts.append(start)
                stops.append(stop)
                fine_starts.append(max(start * f, fine.bounds.start_xyz[axis]))
                fine_stops.append(min(stop * f, fine.bounds.stop_xyz[axis]))
            fine_box = Box(_triple(fine_starts), box.stop_xyz)
            values = self._visit((level - 1, child), fine_box)
            assert values is not None
            used = _within(Box(_triple(fine_starts), _triple(fine_stops)), fine_box)
            piece = _within(Box(_triple(starts), _triple(stops)), wanted)
            result[piece] = self._average(values[used], _triple(fine_starts), factor)
        return result

    def _averaged(self, cell: Cell, box: Box) -> NDArray[Any]:
        """Average a box of any scale from the finest values at hand, and make no chunks."""
        level, _ = cell
        if level == self._task.sweep.base:
            return self._read(cell, box)[1]
        fine_box = self._finer(level, box)
        finer_cell = next(self._plan.grids[level - 1].cells(fine_box))
        values = self._averaged((level - 1, finer_cell), fine_box)
        return self._average(values, fine_box.start_xyz, self._plan.factors[level])

    def _finer(self, level: int, box: Box) -> Box:
        """Return the voxels of the next finer scale that a box is made of."""
        start, stop = [], []
        for low, high, f, first, last in zip(
            *box, self._plan.factors[level], *self._plan.grids[level - 1].bounds, strict=True
        ):
            start.append(max(low * f, first))
            stop.append(min(high * f, last))
        return Box(_triple(start), _triple(stop))

    def _read(self, cell: Cell, box: Box) -> tuple[NDArray[Any], NDArray[Any]]:
        """Read a box of the sweep's finest scale: as it came, and in the type that is stored."""
        level = cell[0]
        try:
            if level == 0:
                values = self._window.read(self._plan.source_box(box))
                return values, converted(values, self._dtype)
            fine_box = self._finer(level, box)
            fine = read_box(self._volume.scales[level - 1], fine_box)
            averaged = self._average(fine, fine_box.start_xyz, self._plan.factors[level])
            return averaged, averaged
        except MemoryError:
            raise
        except Exception as error:
            # Whatever the source's library raises, the message has to say where it happened.
            self._fail(cell, f"could not be saved: {error}", error)

    def _put(self, cell: Cell, chunk: NDArray[Any], original: NDArray[Any] | None) -> None:
        """Take a chunk; it is encoded with the next one of its scale."""
        scale = self._scale(cell)
        exact = not (scale.info.encoding == "fpzip" and scale.info.fpzip_precision)
        census = Census()
        if original is not None:
            census = take_census(original, chunk, scale.info.encoding)
        waiting = self._waiting[cell[0]]
        waiting.append(_Encoding(cell, chunk, census, exact or original is None))
        if len(waiting) == _TOGETHER:
            self._encode(cell[0])

    def _encode(self, level: int) -> None:
        together = self._waiting.pop(level, [])
        if not together:
            return
        self._check_stop()
        scale = self._volume.scales[level]
        try:
            datas = scale.encode_chunks(
                [each.chunk for each in together], seekable=self._plan.seekable
            )
        except CodecError as error:
            self._fail(together[0].cell, f"could not be saved: {error}", error)
        for each, data in zip(together, datas, strict=True):
            self._store(scale, each, data)

    def _store(self, scale: Scale, encoded: _Encoding, data: bytes) -> None:
        level, cell_xyz = encoded.cell
        census = encoded.census
        if not encoded.exact:
            census += compare(encoded.chunk, scale.decode_chunk(cell_xyz, data))
        raw = self._bytes_of(encoded.cell)
        if scale.info.sharding is not None:
            self._shard[cell_xyz] = data
            verified = self._plan.verify
            self._shard_chunks.append(
                SavedChunk(level, raw, len(data), census=census, verified=verified)
            )
            return
        # What is to be verified must stay until it is written, and no more of it.
        compared = encoded if self._plan.verify else None

        def write() -> list[SavedChunk]:
            try:
                stored = scale.write_chunk(cell_xyz, data)
            except KempError as error:
                self._fail((level, cell_xyz), f"could not be saved: {error}", error)
            if compared is not None:
                self._verify(compared, data)
            saved = SavedChunk(level, raw, stored, verified=compared is not None, census=census)
            return [saved]

        self._writer.write(write)

    def _write_shard(self) -> None:
        if not self._shard:
            return
        self._check_stop()
        level = self._task.sweep.top
        scale, chunks, saved = self._volume.scales[level], self._shard, self._shard_chunks

        def write() -> list[SavedChunk]:
            try:
                scale.write_shard(chunks)
            except KempError as error:
                self._fail((level, next(iter(chunks))), f"could not be saved: {error}", error)
            if self._plan.verify:
                for cell_xyz, data in chunks.items():
                    self._verify_bytes((level, cell_xyz), data)
            return saved

        self._writer.write(write)

    def _verify(self, encoded: _Encoding, data: bytes) -> None:
        """Read a chunk back, and compare its values with those it was made of."""
        scale = self._scale(encoded.cell)
        stored = self._verify_bytes(encoded.cell, data)
        try:
            values = scale.decode_chunk(encoded.cell[1], stored)
        except CodecError as error:
            self._fail(encoded.cell, f"was written but cannot be decoded: {error}", error)
        if encoded.exact and not is_stored_as(encoded.chunk, values, scale.info.encoding):
            self._fail(encoded.cell, "was written but holds other values than the source")

    def _verify_bytes(self, cell: Cell, data: bytes) -> bytes:
        try:
            stored = self._scale(cell).load_chunk(cell[1])
        except KempError as error:
            self._fail(cell, f"was written but cannot be read: {error}", error)
        if stored != data:
            self._fail(cell, "was written but reads back as other bytes")
        return stored

    def _check_stop(self) -> None:
        if self._stopped():
            raise Stopped

    def _scale(self, cell: Cell) -> Scale:
        return self._volume.scales[cell[0]]

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(self._plan.info.data_type)

    def _bytes_of(self, cell: Cell) -> int:
        x, y, z = self._plan.grids[cell[0]].box(cell[1]).shape_xyz
        return x * y * z * self._plan.bytes_voxel

    def _fail(self, cell: Cell, reason: str, cause: Exception | None = None) -> NoReturn:
        name = self._plan.grids[cell[0]].name(cell[1])
        key = self._plan.info.scales[cell[0]].key
        raise ExportError(
            f"{self._plan.destination}: the chunk {key}/{name} {reason}. What was written before "
            "it is whole; the same save can be resumed"
        ) from cause


_NO_LEDGER = "no unfinished save is known here; overwrite the volume to write it anew"


def converted(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return values in the type that is stored; ValueError for negative labels."""
    if dtype.kind == "u" and values.dtype.kind == "i" and values.size and values.min() < 0:
        raise ValueError(f"{values.min()} is negative and cannot be stored as {dtype.name}")
    return values.astype(dtype, copy=False)


def _within(inner: Box, outer: Box) -> tuple[slice, ...]:
    """Return where a box is in an array (c, z, y, x) that covers another."""
    zyx = (
        slice(a - low, b - low)
        for a, b, low in zip(
            inner.start_xyz[::-1], inner.stop_xyz[::-1], outer.start_xyz[::-1], strict=True
        )
    )
    return (slice(None), *zyx)


def _triple(values: Iterable[int]) -> Triple:
    x, y, z = values
    return x, y, z
