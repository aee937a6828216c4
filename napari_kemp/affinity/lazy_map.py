"""A function of arrays as an array: nothing is computed but what is looked at."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_kemp.array_facts import ArrayFacts


class LazyMap(ArrayFacts):
    """The values of a function, voxel by voxel, of arrays that have the same shape.

    Indexing gives another of its kind; `numpy.asarray` reads the arrays, and only there, and calls
    the function. So a viewer may cut out a field of view through all sections first, and pick one
    section of it then.

    Parameters
    ----------
    function
        Takes one numpy array for each of ``arrays``, all of the same shape, and returns one of that
        shape, or with one axis more behind: (z, y, x) and with ``components`` (z, y, x, 3).
    arrays
        Arrays that are indexed for free: of numpy or Dask, or lazy views.
    dtype
        Type of the values.
    components
        Extent of the last axis that the function adds; None if it adds none.
    """

    def __init__(
        self,
        function: Callable[..., NDArray[Any]],
        arrays: Sequence[Any],
        dtype: Any = np.float32,
        components: int | None = None,
    ) -> None:
        shapes = {tuple(array.shape) for array in arrays}
        if len(shapes) != 1:
            raise ValueError(f"expected arrays of one shape, got {sorted(shapes)}")
        self._function = function
        self._arrays = tuple(arrays)
        self._components = components
        self._dtype: np.dtype[Any] = np.dtype(dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis, and components."""
        own = () if self._components is None else (self._components,)
        return (*(int(n) for n in self._arrays[0].shape), *own)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self._dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of the stored chunks, where the first array has some."""
        chunks = getattr(self._arrays[0], "chunks", None)
        if chunks is None or not all(isinstance(chunk, int) for chunk in chunks):
            return None
        return (*chunks, *(() if self._components is None else (self._components,)))

    def __getitem__(self, key: Any) -> Self:
        # All components of a voxel are computed together, so that a key must not reach them.
        keys = key if isinstance(key, tuple) else (key,)
        spatial = self.ndim - (self._components is not None)
        if self._components is not None and len(keys) == self.ndim:
            if keys[-1] not in (slice(None), Ellipsis):
                raise IndexError("components of a voxel are read together: index with ':'")
            keys = keys[:spatial]
        part = copy.copy(self)
        part._arrays = tuple(array[keys] for array in self._arrays)
        return part

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError("computed values cannot be changed: make an array of them first")

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        if copy is False:
            raise ValueError("computed values become an array only by computing them")
        values = self._compute([np.asarray(array) for array in self._arrays])
        return values if dtype is None else values.astype(dtype, copy=False)

    def _compute(self, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.asarray(self._function(*arrays), self.dtype)

    def __repr__(self) -> str:
        name = getattr(self._function, "__name__", repr(self._function))
        return f"<LazyMap {name} shape={self.shape} dtype={self.dtype}>"
