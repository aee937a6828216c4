"""A lazy window onto a scale's array: one channel of it, with room around the volume."""

import operator
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.array_facts import ArrayFacts
from napari_kemp.plugin.drawing import drawing_options
from napari_kemp.plugin.prefetch import scrolling_of
from napari_kemp.precomputed.reader import ReadOptions


class Source:
    """Stands for the volume that a layer shows."""


class LevelView(ArrayFacts):
    """One channel of a scale, or all of them, in a box that may be larger than the volume.

    Indexing gives another view and reads nothing; `numpy.asarray` reads, and only what the view
    covers. That matters, because napari first cuts out the field of view through *all* sections
    and then picks one of them: with an array that reads at the first step, each slider move would
    read the whole stack.

    Parameters
    ----------
    array
        Array of a scale, (c, z, y, x): reads when indexed.
    channel
        The channel to show as (z, y, x); None keeps all four axes.
    padding_zyx
        Voxels of background before and after the volume, along z, y and x.
    source
        What the views of one layer have in common, so that it can be found again.
    """

    def __init__(
        self,
        array: Any,
        channel: int | None = None,
        padding_zyx: Sequence[tuple[int, int]] = ((0, 0), (0, 0), (0, 0)),
        source: Source | None = None,
    ) -> None:
        channels = range(array.shape[0])
        self._array = array
        self.source = source or Source()
        # Voxel numbers of the array along each axis: the padding is what lies outside of it.
        self._axes: tuple[int | range, ...] = (
            channels if channel is None else channels[channel],
            *(
                range(-before, n + after)
                for n, (before, after) in zip(array.shape[1:], padding_zyx, strict=True)
            ),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis, padding included."""
        return tuple(len(axis) for axis in self._axes if isinstance(axis, range))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        dtype: np.dtype[Any] = np.dtype(self._array.dtype)
        return dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of the stored chunks, or None where the view does not start on their grid."""
        chunks = []
        for axis, chunk in zip(self._axes, self._array.chunks, strict=True):
            if isinstance(axis, range):
                if axis.step != 1 or axis.start % chunk:
                    return None
                chunks.append(int(chunk))
        return tuple(chunks)

    def __getitem__(self, key: Any) -> "LevelView":
        keys = iter(_expand(key, self.ndim))
        view = object.__new__(LevelView)
        view._array = self._array
        view.source = self.source
        view._axes = tuple(
            axis[next(keys)] if isinstance(axis, range) else axis for axis in self._axes
        )
        return view

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            "an opened volume cannot be changed in place: paint on a layer of its own, such as "
            "Labels(numpy.asarray(layer.data))"
        )

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a lazy view becomes an array only by reading a copy")
        options = drawing_options(sys._getframe(1), self.source)
        values = self._values(options, drawn=options is not None)
        return values if dtype is None else values.astype(dtype, copy=False)

    def read(self, options: ReadOptions) -> NDArray[Any]:
        """Read what the view covers, as `numpy.asarray` does, with options."""
        return self._values(options, drawn=False)

    def draw(self, options: ReadOptions) -> NDArray[Any]:
        """Read what the view covers for the canvas: what is scrolled to next is read ahead."""
        return self._values(options, drawn=True)

    def _values(self, options: ReadOptions | None, *, drawn: bool) -> NDArray[Any]:
        ranges = [range(axis, axis + 1) if isinstance(axis, int) else axis for axis in self._axes]
        flips = tuple(slice(None, None, -1 if axis.step < 0 else 1) for axis in ranges)
        rising = [axis[::-1] if axis.step < 0 else axis for axis in ranges]
        inside = tuple(
            _part_within(axis, n) for axis, n in zip(rising, self._array.shape, strict=True)
        )
        values = np.zeros([len(axis) for axis in rising], self.dtype)
        if all(part.stop > part.start for part in inside):
            stored = [axis[part] for axis, part in zip(rising, inside, strict=True)]
            values[inside] = self._stored(stored, options, drawn)
        return values[flips].reshape(self.shape)

    def _stored(
        self, stored: list[range], options: ReadOptions | None, drawn: bool
    ) -> NDArray[Any]:
        key = tuple(slice(axis.start, axis.stop, axis.step) for axis in stored)
        if options is None:
            values: NDArray[Any] = self._array[key]
            return values
        values = self._array.read(key, options)
        if drawn and len(stored[1]) == 1:
            rest = key[:1], stored[1].start, key[2:]
            scrolling_of(self.source).arrive(self._array, *rest)
        return values

    def __repr__(self) -> str:
        return f"<LevelView shape={self.shape} dtype={self.dtype} of {self._array!r}>"


def _expand(key: Any, ndim: int) -> list[int | slice]:
    """Make one integer or slice for each axis of what stands between square brackets."""
    keys = list(key) if isinstance(key, tuple) else [key]
    ellipses = [i for i, one in enumerate(keys) if one is Ellipsis]
    if len(ellipses) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    at = ellipses[0] if ellipses else len(keys)
    missing = ndim - len(keys) + len(ellipses)
    if missing < 0:
        raise IndexError(f"too many indices: the view has {ndim} axes, {len(keys)} were indexed")
    keys[at : at + len(ellipses)] = [slice(None)] * missing
    return [one if isinstance(one, slice) else _as_int(one) for one in keys]


def _as_int(one: Any) -> int:
    try:
        return operator.index(one)
    except TypeError:
        raise IndexError(
            f"a lazy view takes integers, slices and '...', not {type(one).__name__}: "
            "read it with numpy.asarray first"
        ) from None


def _part_within(axis: range, n: int) -> slice:
    """Positions along a rising ``axis`` whose voxels lie in [0, n)."""
    first = max(0, -(axis.start // axis.step)) if axis.start < 0 else 0
    last = max(first, min(len(axis), -((axis.start - n) // axis.step)))
    return slice(first, last)
