"""Memory of its own for what is large and kept for long.

Among much that is short-lived, it would keep the heaps of all the threads that read from shrinking:
they would take up to twice as much as is kept.
"""

import math
import mmap
import weakref
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp import settings

_STREAM_BYTES = 1 << 20
_ARRAY_BYTES = 1 << 16

# Of arrays. A process may have 65,530 on Linux, and what else it does needs some.
_MOST_MAPPINGS = 1 << 14

_MOST_SPARE_BYTES = 1 << 25


def apart(data: bytes) -> bytes | mmap.mmap:
    """Return large data copied to memory of their own, and small data as they are."""
    if not _is_worth_it(len(data), _STREAM_BYTES):
        return data
    pages = _new_pages(len(data))
    pages[:] = data
    return pages


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array of anything, first axis fastest; if large, in memory of its own."""
    nbytes = math.prod(shape) * dtype.itemsize
    if not _is_worth_it(nbytes, _ARRAY_BYTES):
        return np.empty(shape, dtype, order="F")
    pages = _spare.take(nbytes) or _new_pages(nbytes)
    # All views of it have this one as their base, or one another.
    whole = np.frombuffer(pages, np.uint8)
    weakref.finalize(whole, _spare.give, pages).atexit = False
    return whole.view(dtype).reshape(shape, order="F")


def array_apart(array: NDArray[Any]) -> NDArray[Any]:
    """Return a large array copied to memory of its own, and a small one as it is."""
    if not _is_worth_it(array.nbytes, _ARRAY_BYTES):
        return array
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy


class _Spare:
    """Mappings that nobody uses, for the next arrays of their size: new pages cost time."""

    def __init__(self) -> None:
        # Whatever is done here, an array may be let go of meanwhile, in the same thread.
        self._lock = RLock()
        self._of_size: dict[int, list[mmap.mmap]] = {}
        self._nbytes = 0

    def take(self, nbytes: int) -> mmap.mmap | None:
        with self._lock:
            pages = self._of_size.get(nbytes)
            if not pages:
                return None
            self._nbytes -= nbytes
            return pages.pop()

    def give(self, pages: mmap.mmap) -> None:
        nbytes = len(pages)
        with self._lock:
            if self._nbytes + nbytes > min(_MOST_SPARE_BYTES, settings.current().cache_bytes // 8):
                # Sizes that nobody asks for any more would stay for good.
                self._of_size.clear()
                self._nbytes = 0
            self._of_size.setdefault(nbytes, []).append(pages)
            self._nbytes += nbytes


_spare = _Spare()


def _is_worth_it(nbytes: int, least: int) -> bool:
    least = max(least, settings.current().cache_bytes // _MOST_MAPPINGS)
    return nbytes >= least and hasattr(mmap, "MAP_PRIVATE")


def _new_pages(nbytes: int) -> mmap.mmap:
    # One call for all pages costs far less than a fault for each.
    populate = getattr(mmap, "MAP_POPULATE", 0)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | populate
    return mmap.mmap(-1, nbytes, flags=flags)
