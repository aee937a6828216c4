"""From a cell of the grid to its decoded chunk: cache, storage, decoder, in parallel."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.errors import ChunkError, CodecError
from napari_kemp.precomputed.cache import Chunk, Loading, shared_cache
from napari_kemp.precomputed.encodings import find_encoding
from napari_kemp.precomputed.grid import ChunkGrid, Triple
from napari_kemp.precomputed.info import ScaleInfo
from napari_kemp.precomputed.storage import StoredObject

_TIMEOUT_SECONDS = 120.0

# How much is on its way at a time, counted in decoded bytes: enough to hide a server's latency,
# without holding a large region twice.
_WINDOW_CHUNKS = 32
_WINDOW_BYTES = 1 << 28


@cache
def worker_threads() -> ThreadPoolExecutor:
    """Return the threads that decode and encode for the whole process, one a core."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="napari-kemp")


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
        Begins to read the object of a cell.
    """

    def __init__(
        self,
        url: str,
        info: ScaleInfo,
        grid: ChunkGrid,
        dtype: np.dtype[Any],
        num_channels: int,
        read: Callable[[Triple], Future[StoredObject | None]],
    ):
        self.url = url
        self.name = f"{url}, scale {info.key}"
        self.info = info
        self.grid = grid
        self.dtype = dtype
        self.num_channels = num_channels
        self._read = read
        # Not the URL: a volume that is opened anew is read anew.
        self._token = object()
        chunk_bytes = math.prod(grid.chunk_xyz) * num_channels * dtype.itemsize
        self._window = max(2, min(_WINDOW_CHUNKS, _WINDOW_BYTES // chunk_bytes))

    def chunks(self, cells_xyz: Iterable[Triple]) -> Iterator[tuple[Triple, Chunk]]:
        """Iterate over decoded chunks in the order of their cells, reading ahead in parallel.

        Yields
        ------
        cell : tuple of int
            As asked for.
        chunk : ndarray or None
            (x, y, z, c), Fortran order, read-only; None where the volume holds none.

        Raises
        ------
        ChunkError
            If a chunk is damaged or unreachable; names volume, scale and chunk.
        """
        ahead: deque[tuple[Triple, Loading]] = deque()
        for cell in cells_xyz:
            ahead.append((cell, self._begin(cell)))
            if len(ahead) == self._window:
                yield self._finish(*ahead.popleft())
        while ahead:
            yield self._finish(*ahead.popleft())

    def discard(self, cell_xyz: Triple) -> None:
        """Forget a chunk that has been rewritten."""
        shared_cache().discard((self._token, cell_xyz))

    def error(self, cell_xyz: Triple, reason: object) -> ChunkError:
        """Return an error that names the volume, the scale and the chunk."""
        return ChunkError(f"{self.name}, chunk {self.grid.name(cell_xyz)}: {reason}")

    def _finish(self, cell: Triple, loading: Loading) -> tuple[Triple, Chunk]:
        try:
            return cell, loading.result(_TIMEOUT_SECONDS)
        except TimeoutError:
            if loading.arrived:  # decoding waits for its turn, not for a server
                return cell, loading.result()
            raise self.error(cell, f"no answer within {_TIMEOUT_SECONDS:.0f} seconds") from None

    def _begin(self, cell: Triple) -> Loading:
        key = (self._token, cell)
        loading, mine = shared_cache().claim(key)
        if mine:

            def settle(stored: Future[StoredObject | None]) -> None:
                loading.arrived = True
                try:
                    worker_threads().submit(load, stored)
                except RuntimeError as error:  # the interpreter is shutting down
                    shared_cache().fail(key, loading, self.error(cell, error))

            def load(stored: Future[StoredObject | None]) -> None:
                try:
                    chunk = self._unwrap_and_decode(cell, stored.result())
                except (OSError, CodecError) as error:
                    shared_cache().fail(key, loading, self.error(cell, error))
                except BaseException as error:
                    shared_cache().fail(key, loading, error)
                else:
                    shared_cache().fulfil(key, loading, chunk)

            try:
                find_encoding(self.info.encoding)
                self._read(cell).add_done_callback(settle)
            except CodecError as error:
                shared_cache().fail(key, loading, self.error(cell, error))
            except BaseException as error:
                shared_cache().fail(key, loading, error)
                raise
        return loading

    def load(self, cell_xyz: Triple) -> bytes | None:
        """Read the content of a cell's object, past the cache; None where there is no object.

        Raises
        ------
        ChunkError
            If it is unreachable, or its transport compression is damaged.
        """
        try:
            stored = self._read(cell_xyz).result(_TIMEOUT_SECONDS)
            return None if stored is None else stored.unwrapped(self._limit(cell_xyz))
        except TimeoutError:
            reason = f"no answer within {_TIMEOUT_SECONDS:.0f} seconds"
            raise self.error(cell_xyz, reason) from None
        except (OSError, CodecError) as error:
            raise self.error(cell_xyz, error) from error

    def decode(self, cell_xyz: Triple, data: bytes) -> NDArray[Any]:
        """Decode the content of a cell's object, to (x, y, z, c), read-only.

        Raises
        ------
        CodecError
            If the bytes are not the whole chunk of that cell.
        """
        chunk = find_encoding(self.info.encoding).decode(
            data, self._shape_xyzc(cell_xyz), self.dtype, self.info
        )
        chunk.flags.writeable = False
        return chunk

    def check(self, cell_xyz: Triple, data: bytes) -> None:
        """Raise CodecError if it can be told without decoding that `decode` would."""
        check = find_encoding(self.info.encoding).check
        check(data, self._shape_xyzc(cell_xyz), self.dtype, self.info)

    def _shape_xyzc(self, cell_xyz: Triple) -> tuple[int, int, int, int]:
        return (*self.grid.box(cell_xyz).shape_xyz, self.num_channels)

    def _unwrap_and_decode(self, cell: Triple, stored: StoredObject | None) -> Chunk:
        if stored is None:
            return None
        return self.decode(cell, stored.unwrapped(self._limit(cell)))

    def _limit(self, cell: Triple) -> int:
        # No encoding needs more: four times is a segmentation of which every voxel is a block.
        return 65536 + 4 * math.prod(self._shape_xyzc(cell)) * self.dtype.itemsize
