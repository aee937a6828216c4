"""Section tables for volumes that have none: appended to each chunk behind its stream."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from napari_kemp.codec import SectionTable, fpzip
from napari_kemp.errors import ExportError, KempError
from napari_kemp.export.sweeps import Cell
from napari_kemp.precomputed import Volume

_ENCODINGS = ("fpzip", "kempressed")


@dataclass(frozen=True)
class Indexed:
    """What became of a volume's chunks, or would become of them.

    Attributes
    ----------
    url : str
        The volume.
    written : bool
        Whether anything was, or the chunks were only looked at.
    chunks : int
        Chunks that got a section table.
    had : int
        Chunks that had one.
    missing : int
        Chunks that the volume does not hold.
    bytes_before, bytes_added : int
        Stored of the chunks that got one, and appended to them.
    """

    url: str
    written: bool = True
    chunks: int = 0
    had: int = 0
    missing: int = 0
    bytes_before: int = 0
    bytes_added: int = 0

    def plus(self, *, chunks: int = 0, had: int = 0, missing: int = 0, before: int = 0,
             added: int = 0) -> Indexed:  # fmt: skip
        """Return the sum of this and one more chunk."""
        return Indexed(
            self.url,
            self.written,
            self.chunks + chunks,
            self.had + had,
            self.missing + missing,
            self.bytes_before + before,
            self.bytes_added + added,
        )

    def to_json(self) -> dict[str, Any]:
        """Return this as members of a JSON object."""
        return asdict(self)

    def __str__(self) -> str:
        share = 100 * self.bytes_added / self.bytes_before if self.bytes_before else 0.0
        rows = [
            ("tables appended" if self.written else "tables to append", str(self.chunks)),
            ("have one already", str(self.had)),
            ("chunks missing", str(self.missing)),
            ("bytes", f"{self.bytes_before} + {self.bytes_added} ({share:.2g} %)"),
        ]
        return "\n".join([self.url, *(f"  {name:<24}{value}" for name, value in rows)])


def index_volume(
    volume: Volume, *, dry_run: bool = False, threads: int | None = None
) -> Generator[int, None, Indexed]:
    """Append a section table to each fpzip or kempressed chunk that has none.

    Each object is replaced as a whole or not at all, by its old bytes and the table behind them,
    and only once the new bytes have been decoded to the same values. So this can be stopped, or
    killed, and begun again at any time.

    Parameters
    ----------
    volume : Volume
        Anybody's.
    dry_run : bool
        Only look.
    threads : int, optional
        Chunks to work on at the same time; default is one a processor.

    Yields
    ------
    int
        How many chunks have been looked at.

    Returns
    -------
    Indexed
        As the value of the generator (``StopIteration.value``).

    Raises
    ------
    ExportError
        If no scale is fpzip or kempressed, one of them is sharded, or a chunk is damaged or cannot
        be written; names the chunk.
    """
    levels = [i for i, s in enumerate(volume.scales) if s.info.encoding in _ENCODINGS]
    if not levels:
        raise ExportError(f"{volume.url}: no scale of it is fpzip or kempressed")
    for level in levels:
        if volume.scales[level].info.sharding is not None:
            raise ExportError(
                f"{volume.scales[level].name}: nothing can be appended to the chunks of a shard; "
                "export the volume anew"
            )
    cells: Iterator[Cell] = (
        (level, cell) for level in levels for cell in volume.scales[level].grid.cells()
    )
    count = threads or os.cpu_count() or 1
    total = Indexed(volume.url, written=not dry_run)
    done = 0
    with ThreadPoolExecutor(count, thread_name_prefix="napari-kemp-index") as pool:
        ahead: deque[Future[dict[str, int]]] = deque()
        try:
            while True:
                for cell in islice(cells, 2 * count - len(ahead)):
                    ahead.append(pool.submit(_index, volume, cell, dry_run))
                if not ahead:
                    break
                total = total.plus(**ahead.popleft().result())
                done += 1
                yield done
        finally:
            for future in ahead:
                future.cancel()
    return total


def _index(volume: Volume, cell: Cell, dry_run: bool) -> dict[str, int]:
    level, cell_xyz = cell
    scale = volume.scales[level]
    try:
        data = scale.load_chunk(cell_xyz)
        if data is None:
            return {"missing": 1}
        if SectionTable.find(data, whole=True) is not None:
            return {"had": 1}
        if dry_run:
            added = SectionTable.size(fpzip.header(data).shape[3])
        else:
            table = fpzip.scan(data).to_bytes()
            added = len(table)
            indexed = data + table
            before, after = (scale.decode_chunk(cell_xyz, each) for each in (data, indexed))
            bits = np.dtype(f"u{scale.dtype.itemsize}")  # so that each NaN equals itself only
            if not np.array_equal(before.T.view(bits), after.T.view(bits)):
                raise ExportError("its section table would change its values: nothing was written")
            scale.write_chunk(cell_xyz, indexed)
    except KempError as error:
        raise ExportError(
            f"{scale.name}, chunk {scale.grid.name(cell_xyz)}: no table was appended: {error}. "
            "All other chunks are whole, and the same can be run again"
        ) from error
    return {"chunks": 1, "before": len(data), "added": added}
