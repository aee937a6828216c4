"""Decoded chunks, kept for all arrays of the process in a bounded number of bytes."""

from collections.abc import Hashable
from concurrent.futures import Future
from functools import cache
from threading import Lock
from typing import Any

from cachetools import LRUCache
from numpy.typing import NDArray

_LIMIT_BYTES = 1 << 30

Chunk = NDArray[Any] | None
"""A decoded chunk, or None where the volume holds none."""


class Loading(Future[Chunk]):
    """A chunk that is on its way.

    Attributes
    ----------
    arrived : bool
        Whether its bytes are here, and only decoding remains.
    """

    arrived = False


class ChunkCache:
    """The least recently used chunks leave first; what is being loaded is loaded once.

    Parameters
    ----------
    limit_bytes : int
        The most bytes of chunks to keep.
    """

    def __init__(self, limit_bytes: int = _LIMIT_BYTES):
        self._lock = Lock()
        self._chunks: LRUCache[Hashable, NDArray[Any]] = LRUCache(
            limit_bytes, getsizeof=lambda chunk: chunk.nbytes
        )
        self._loading: dict[Hashable, Loading] = {}

    def claim(self, key: Hashable) -> tuple[Loading, bool]:
        """Return the future of a chunk, and whether the caller is the one who must load it.

        Whoever must load it ends with `fulfil` or `fail`, whatever happens.
        """
        with self._lock:
            chunk = self._chunks.get(key)
            if chunk is not None:
                ready = Loading()
                ready.set_result(chunk)
                return ready, False
            if key in self._loading:
                return self._loading[key], False
            loading = self._loading[key] = Loading()
            return loading, True

    def fulfil(self, key: Hashable, loading: Loading, chunk: Chunk) -> None:
        """Hand a loaded chunk to all who wait for it, and keep it.

        A missing chunk is not kept: it may be written at any time, by somebody else.
        """
        with self._lock:
            if self._loading.get(key) is loading:
                del self._loading[key]
                if chunk is not None and chunk.nbytes <= self._chunks.maxsize:
                    self._chunks[key] = chunk
        loading.set_result(chunk)

    def fail(self, key: Hashable, loading: Loading, error: BaseException) -> None:
        """Hand an error to all who wait for a chunk; who asks next loads it anew."""
        with self._lock:
            if self._loading.get(key) is loading:
                del self._loading[key]
        loading.set_exception(error)

    def discard(self, key: Hashable) -> None:
        """Forget a chunk that has been rewritten, and do not keep what is being loaded of it."""
        with self._lock:
            self._chunks.pop(key, None)
            self._loading.pop(key, None)

    @property
    def nbytes(self) -> int:
        """Bytes that are kept now."""
        return int(self._chunks.currsize)


@cache
def shared_cache() -> ChunkCache:
    """Return the cache that all arrays of this process share."""
    return ChunkCache()
