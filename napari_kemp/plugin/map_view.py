"""A lazy map of the channels of a volume that knows when napari draws it."""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.affinity import LazyMap
from napari_kemp.plugin.drawing import drawing_options
from napari_kemp.plugin.level_view import LevelView, Source
from napari_kemp.precomputed.reader import ReadOptions


class MapView(LazyMap):
    """A `LazyMap` that is drawn as its channels are.

    On the canvas, what cannot be read is background, which is reported once, what the user has
    scrolled past is given up, and what comes next is read ahead. Everybody else gets complete
    values or an error.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.source = Source()

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        options = drawing_options(sys._getframe(1), self.source)
        if options is None:
            return super().__array__(dtype, copy)
        values = self._compute([_drawn(array, options) for array in self._arrays])
        return values if dtype is None else values.astype(dtype, copy=False)


def _drawn(array: Any, options: ReadOptions) -> NDArray[Any]:
    return array.draw(options) if isinstance(array, LevelView) else np.asarray(array)
