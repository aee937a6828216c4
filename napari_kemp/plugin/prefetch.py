"""Reading ahead: the sections behind the one on screen, in the direction of scrolling."""

from __future__ import annotations

from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from napari_kemp import settings
from napari_kemp.errors import ChunkError
from napari_kemp.precomputed.reader import ReadOptions


class Scrolling:
    """Where the user is in one volume, and which way they go."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._at: int | None = None
        self._step = 0
        self._waiting: list[Future[None]] = []

    def arrive(
        self, array: Any, channels: tuple[slice, ...], z: int, field_of_view: tuple[slice, ...]
    ) -> None:
        """Note which section was drawn, and read on from there once nothing else is to be done.

        Parameters
        ----------
        array
            Array of a scale, (c, z, y, x).
        channels, z, field_of_view
            What was read of it.
        """
        number = settings.current().prefetch
        with self._lock:
            if self._at is not None and z != self._at:
                self._step = 1 if z > self._at else -1
            self._at = z
            step = self._step
            for each in self._waiting:
                each.cancel()
            self._waiting = [
                _one_thread().submit(self._read, array, (*channels, at, *field_of_view), at)
                for at in range(z + step, z + step * (number + 1), step or 1)
                if 0 <= at < array.shape[1]
            ]

    def _read(self, array: Any, key: tuple[int | slice, ...], z: int) -> None:
        options = ReadOptions(on_error=lambda error: None, abandoned=lambda: self._passed(z))
        try:
            array.prefetch(key, options)
        except ChunkError:
            return  # the user went elsewhere

    def _passed(self, z: int) -> bool:
        with self._lock:
            ahead = (z - (self._at or 0)) * self._step
        return not 0 <= ahead <= settings.current().prefetch


_scrolling: WeakKeyDictionary[Hashable, Scrolling] = WeakKeyDictionary()


def scrolling_of(source: Hashable) -> Scrolling:
    """Return the movements in one volume."""
    return _scrolling.setdefault(source, Scrolling())


@cache
def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="napari-kemp-prefetch")
