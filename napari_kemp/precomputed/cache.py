"""What has been read and decoded, kept for the whole process in a bounded number of bytes."""

from collections.abc import Hashable, Iterable
from concurrent.futures import Future
from functools import cache
from threading import Lock
from typing import Any, Protocol

from cachetools import LRUCache
from numpy.typing import NDArray

from napari_kemp import settings

Piece = NDArray[Any] | None
"""A decoded piece of a chunk, or None where the volume holds no such chunk."""


class Kept(Protocol):
    """What the cache can hold: arrays, section tables, streams."""

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""


class Loading(Future[Piece]):
    """A piece that is on its way."""


class SharedCache:
    """The least recently used entries leave first; what is being loaded is loaded once.

    What is on its way from storage counts as well, so that a small cache means little memory.

    Parameters
    ----------
    limit_bytes : int
        The most bytes to keep.
    """

    def __init__(self, limit_bytes: int):
        self._lock = Lock()
        self._kept: LRUCache[Hashable, Any] = LRUCache(
            limit_bytes, getsizeof=lambda entry: int(entry.nbytes)
        )
        self._loading: dict[Hashable, Loading] = {}
        self._on_its_way = 0

    def claim(self, keys: Iterable[Hashable]) -> list[tuple[Loading | NDArray[Any], bool]]:
        """Return each piece or its future, and whether the caller is the one who must load it.

        Whoever must load it ends with `fulfil` or `fail`, whatever happens.
        """
        claims: list[tuple[Loading | NDArray[Any], bool]] = []
        with self._lock:
            for key in keys:
                piece = self._kept.get(key)
                if piece is not None:
                    claims.append((piece, False))
                elif key in self._loading:
                    claims.append((self._loading[key], False))
                else:
                    loading = self._loading[key] = Loading()
                    claims.append((loading, True))
        return claims

    def fulfil(self, key: Hashable, loading: Loading, piece: Piece) -> None:
        """Hand a loaded piece to all who wait for it, and keep it.

        A missing one is not kept: it may be written at any time, by somebody else.
        """
        with self._lock:
            if self._loading.get(key) is loading:
                del self._loading[key]
                if piece is not None:
                    self._keep(key, piece)
            if not loading.done():
                loading.set_result(piece)

    def fail(self, key: Hashable, loading: Loading, error: BaseException) -> None:
        """Hand an error to all who wait for a piece, if it has not come; who asks next loads it."""
        with self._lock:
            if self._loading.get(key) is loading:
                del self._loading[key]
            if not loading.done():
                loading.set_exception(error)

    def get(self, key: Hashable) -> Any:
        """Return what is kept under a key, or None."""
        with self._lock:
            return self._kept.get(key)

    def keep(self, key: Hashable, entry: Kept) -> None:
        """Keep something that helps to load pieces: a section table, an encoded stream."""
        with self._lock:
            self._keep(key, entry)

    def expect(self, nbytes: int) -> None:
        """Make room for what is on its way from storage; less, if negative, once it is here."""
        with self._lock:
            self._on_its_way += nbytes
            self._make_room(0)

    def _keep(self, key: Hashable, entry: Kept) -> None:
        self._kept.pop(key, None)
        if entry.nbytes <= self._kept.maxsize:
            self._make_room(entry.nbytes)
            self._kept[key] = entry

    def _make_room(self, nbytes: int) -> None:
        most = self._kept.maxsize - self._on_its_way - nbytes
        while self._kept.currsize > max(0, most):
            self._kept.popitem()

    def discard(self, keys: Iterable[Hashable]) -> None:
        """Forget what has been rewritten, and do not keep what is being loaded of it."""
        with self._lock:
            for key in keys:
                self._kept.pop(key, None)
                self._loading.pop(key, None)

    def resize(self, limit_bytes: int) -> None:
        """Change the limit; what is too much then leaves."""
        with self._lock:
            kept = list(self._kept.items())
            self._kept = LRUCache(limit_bytes, getsizeof=lambda entry: int(entry.nbytes))
            for key, entry in kept:
                self._keep(key, entry)

    @property
    def nbytes(self) -> int:
        """Bytes that are kept now."""
        return int(self._kept.currsize)


@cache
def shared_cache() -> SharedCache:
    """Return the cache that all arrays of this process share."""
    shared = SharedCache(settings.current().cache_bytes)
    settings.on_change(lambda new: shared.resize(new.cache_bytes))
    return shared
