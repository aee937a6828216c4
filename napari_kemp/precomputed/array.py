"""The lazy array: a scale as numpy sees it, and the one place where axes are flipped."""

import math
import operator
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_kemp import settings
from napari_kemp.array_facts import ArrayFacts
from napari_kemp.precomputed.cache import Piece
from napari_kemp.precomputed.grid import Triple
from napari_kemp.precomputed.memory import physical_bytes
from napari_kemp.precomputed.reader import ChunkReader, ReadOptions


def flip_axes(array: NDArray[Any]) -> NDArray[Any]:
    """View (x, y, z, c) as (c, z, y, x), or the other way round."""
    return array.T


class LazyArray(ArrayFacts):
    """A scale of a volume as a read-only array (c, z, y, x) that reads what it is indexed with.

    Costs the same for 10 chunks and for 10 billion. What is indexed is read, decoded and returned
    as a new numpy array; chunks that the volume does not hold are 0.

    Parameters
    ----------
    reader : ChunkReader
        Where chunks come from.
    channel : int, optional
        Show one channel only, as (z, y, x).
    """

    def __init__(self, reader: ChunkReader, channel: int | None = None):
        self._reader = reader
        self._channel = channel

    @property
    def url(self) -> str:
        """The volume that the values come from."""
        return self._reader.url

    @property
    def key(self) -> str:
        """Which scale of the volume, as the ``info`` file calls it."""
        return self._reader.info.key

    @property
    def channel_index(self) -> int | None:
        """The one channel that is shown; None for all."""
        return self._channel

    @property
    def shape(self) -> tuple[int, ...]:
        """(c, z, y, x)."""
        return self._with_channels(self._reader.num_channels, self._reader.grid.size_xyz)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a whole chunk, (c, z, y, x)."""
        return self._with_channels(self._reader.num_channels, self._reader.grid.chunk_xyz)

    def _with_channels(self, channels: int, extent_xyz: tuple[int, int, int]) -> tuple[int, ...]:
        leading = (channels,) if self._channel is None else ()
        return (*leading, *reversed(extent_xyz))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self._reader.dtype

    def channel(self, index: int) -> "LazyArray":
        """Return one channel as a lazy array (z, y, x); it shares all chunks with this one.

        Raises
        ------
        IndexError
            If there is no such channel.
        """
        if self._channel is not None or not 0 <= index < self._reader.num_channels:
            raise IndexError(f"there is no channel {index} in an array of shape {self.shape}")
        return LazyArray(self._reader, index)

    def __repr__(self) -> str:
        axes = "czyx" if self._channel is None else "zyx"
        return f"<LazyArray {axes} {self.shape} {self.dtype} of {self._reader.name}>"

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a lazy array cannot become a numpy array without a copy")
        return np.asarray(self[...], dtype)

    def __getitem__(self, key: Any) -> Any:
        """Read values.

        Parameters
        ----------
        key : int, slice, Ellipsis, or a tuple of them
            As for numpy; steps may be negative.

        Returns
        -------
        ndarray or numpy scalar
            A copy of its own.

        Raises
        ------
        IndexError
            If an index is out of bounds or of another kind.
        ChunkError
            If a chunk is damaged or unreachable.
        MemoryError
            If there is no room for the result.
        """
        return self.read(key)

    def read(self, key: Any, options: ReadOptions | None = None) -> Any:
        """Read values as indexing does, with options: chunks that fail may count as missing."""
        ranges, dropped = self._ranges(key)
        # Before anything is read: what is too large fails here and at once.
        result = _zeros(tuple(len(each) for each in ranges), self.dtype)
        if result.size:
            self._fill(result, ranges, options)
        return result[tuple(0 if axis in dropped else slice(None) for axis in range(4))]

    def prefetch(self, key: Any, options: ReadOptions | None = None) -> None:
        """Read what indexing would need into the cache, unless it is too much for it."""
        ranges, _ = self._ranges(key)
        # All channels of a chunk come together, or are wanted soon.
        nbytes = math.prod(len(each) for each in ranges[1:]) * self.dtype.itemsize
        if nbytes * self._reader.num_channels <= settings.current().cache_bytes // 8:
            wanted = _Regions(self._reader, ranges).wanted()
            self._reader.read(wanted, lambda cell, field, piece: None, options)

    def _ranges(self, key: Any) -> tuple[list[range], list[int]]:
        ranges, dropped = _selection(key, self.shape)
        if self._channel is not None:
            ranges.insert(0, range(self._channel, self._channel + 1))
            dropped = [0, *(axis + 1 for axis in dropped)]
        return ranges, dropped

    def _fill(self, result: NDArray[Any], ranges: list[range], options: ReadOptions | None) -> None:
        downward = tuple(slice(None, None, -1 if each.step < 0 else 1) for each in ranges)
        target = result[downward]
        regions = _Regions(self._reader, ranges)
        self._reader.read(regions.wanted(), partial(regions.place, target), options)


class _Regions:
    """Which pieces of which chunks a region consists of, and where they go in it."""

    def __init__(self, reader: ChunkReader, ranges: list[range]):
        self._reader = reader
        self._channels, *spatial = (each[::-1] if each.step < 0 else each for each in ranges)
        self._z, self._y, self._x = (
            _parts(wanted, extent)
            for wanted, extent in zip(spatial, reader.grid.chunk_xyz[::-1], strict=True)
        )

    def wanted(self) -> Iterator[tuple[Triple, Sequence[int]]]:
        """Iterate over the cells, x fastest, and the fields that are wanted of each."""
        for z, y, x in product(self._z, self._y, self._x):
            _, from_z = self._z[z]
            sections = range(from_z.start, from_z.stop, from_z.step)
            yield (x, y, z), self._reader.fields((x, y, z), sections, self._channels)

    def place(self, target: NDArray[Any], cell: Triple, field: int, piece: Piece) -> None:
        """Copy a piece to where it belongs in `target`, (c, z, y, x)."""
        if piece is None:
            return
        x, y, z = cell
        (to_z, from_z), (to_y, from_y), (to_x, from_x) = self._z[z], self._y[y], self._x[x]
        to_c = slice(None)
        from_c = slice(self._channels.start, self._channels.stop, self._channels.step)
        if self._reader.field_axis == 2:
            at = to_z.start + (field - from_z.start) // (from_z.step or 1)
            to_z, from_z = slice(at, at + 1), slice(0, 1)
        elif self._reader.field_axis == 3:
            at = self._channels.index(field)
            to_c, from_c = slice(at, at + 1), slice(0, 1)
        target[to_c, to_z, to_y, to_x] = flip_axes(piece)[from_c, from_z, from_y, from_x]


def _zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    # Some systems promise any amount of memory, and only stop the process when it uses it.
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > physical_bytes():
        raise MemoryError(
            f"an array of shape {shape} and type {dtype} takes {nbytes / 2**30:.0f} GiB, more than "
            "there is memory; index a part of it"
        )
    return np.zeros(shape, dtype)


def _selection(key: Any, shape: tuple[int, ...]) -> tuple[list[range], list[int]]:
    """Return the indices that are wanted along each axis, and the axes that an int takes away."""
    keys = list(key) if isinstance(key, tuple) else [key]
    ellipses = sum(each is Ellipsis for each in keys)
    if ellipses > 1 or len(keys) - ellipses > len(shape):
        raise IndexError(f"too many indices for an array of shape {shape}: {key!r}")
    at = next((i for i, each in enumerate(keys) if each is Ellipsis), len(keys))
    keys[at : at + 1] = [slice(None)] * (len(shape) - len(keys) + ellipses)

    ranges: list[range] = []
    dropped: list[int] = []
    for axis, (each, length) in enumerate(zip(keys, shape, strict=True)):
        if isinstance(each, slice):
            ranges.append(range(length)[each])
            continue
        try:
            if isinstance(each, bool | np.bool_):
                raise TypeError
            index = operator.index(each)
        except TypeError:
            raise IndexError(
                f"a lazy array is indexed with integers, slices and an ellipsis, not {each!r}"
            ) from None
        if not -length <= index < length:
            raise IndexError(f"index {index} is out of bounds for axis {axis} of length {length}")
        index %= length
        ranges.append(range(index, index + 1))
        dropped.append(axis)
    return ranges, dropped


def _parts(wanted: range, chunk: int) -> dict[int, tuple[slice, slice]]:
    """Cut ascending indices at chunk ends: cell -> where in the result, where in the chunk."""
    parts = {}
    first = 0
    while first < len(wanted):
        cell = wanted[first] // chunk
        end = min(len(wanted), -(-((cell + 1) * chunk - wanted.start) // wanted.step))
        low, high = wanted[first] - cell * chunk, wanted[end - 1] - cell * chunk
        parts[cell] = slice(first, end), slice(low, high + 1, wanted.step)
        first = end
    return parts
