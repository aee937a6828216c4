"""Section tables for volumes that have none: appended to each chunk behind its stream."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from napari_kemp.codec import SectionTable, fpzip
from napari_kemp.errors import ExportError, KempError
from napari_kemp.export.ahead import results_in_order
from napari_kemp.export.shards import shards
from napari_kemp.precomputed import Scale, Volume
from napari_kemp.precomputed.grid import Triple

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

    def __add__(self, other: Indexed) -> Indexed:
        return Indexed(
            self.url,
            self.written,
            self.chunks + other.chunks,
            self.had + other.had,
            self.missing + other.missing,
            self.bytes_before + other.bytes_before,
            self.bytes_added + other.bytes_added,
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

    A shard is written anew once all of its chunks have their tables, and is in memory until then,
    as it is stored.

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
        If no scale is fpzip or kempressed, the chunks of one of them are scattered over shards by
        a hash, or a chunk is damaged or cannot be written; names the chunk.
    """
    levels = [i for i, s in enumerate(volume.scales) if s.info.encoding in _ENCODINGS]
    if not levels:
        raise ExportError(f"{volume.url}: no scale of it is fpzip or kempressed")
    scales = [volume.scales[level] for level in levels]
    for scale in scales:
        if (scale.info.sharding or {}).get("hash", "identity") != "identity":
            raise ExportError(
                f"{scale.name}: a hash scatters its chunks over all shards, so that each shard "
                "would have to be written many times; export the volume anew"
            )
    count = threads or os.cpu_count() or 1
    total = Indexed(volume.url, written=not dry_run)
    done = 0
    together: dict[Triple, bytes] = {}
    results = results_in_order(
        partial(_index, volume.url, dry_run=dry_run), _places(scales), count, "napari-kemp-index"
    )
    with closing(results):
        for place, indexed, data in results:
            total += indexed
            if data is not None:
                together[place.cell_xyz] = data
            if place.last and together:
                _write_shard(place.scale, together)
                together = {}
            done += 1
            yield done
    return total


@dataclass(frozen=True, eq=False)
class _Place:
    """A chunk, and whether it is the last one of its shard."""

    scale: Scale
    cell_xyz: Triple
    last: bool = False


def _places(scales: list[Scale]) -> Iterator[_Place]:
    for scale in scales:
        if scale.info.sharding is None:
            yield from (_Place(scale, cell) for cell in scale.grid.cells())
            continue
        for cells in shards(scale.grid, scale.info.sharding):
            previous = next(cells)
            for cell in cells:
                yield _Place(scale, previous)
                previous = cell
            yield _Place(scale, previous, last=True)


def _index(url: str, place: _Place, *, dry_run: bool) -> tuple[_Place, Indexed, bytes | None]:
    """Index a chunk, and write it unless it is a part of a shard: return what it is then."""
    scale, cell_xyz = place.scale, place.cell_xyz
    try:
        data = scale.load_chunk(cell_xyz)
        if data is None:
            return place, Indexed(url, missing=1), None
        if SectionTable.find(data, whole=True) is not None:
            return place, Indexed(url, had=1), None
        if dry_run:
            added = SectionTable.size(fpzip.header(data).shape[3])
            return place, Indexed(url, chunks=1, bytes_before=len(data), bytes_added=added), None
        table = fpzip.scan(data).to_bytes()
        indexed = data + table
        before, after = (scale.decode_chunk(cell_xyz, each) for each in (data, indexed))
        bits = np.dtype(f"u{scale.dtype.itemsize}")  # so that each NaN equals itself only
        if not np.array_equal(before.T.view(bits), after.T.view(bits)):
            raise ExportError("its section table would change its values: nothing was written")
        if scale.info.sharding is None:
            scale.write_chunk(cell_xyz, indexed)
    except KempError as error:
        raise ExportError(
            f"{scale.name}, chunk {scale.grid.name(cell_xyz)}: no table was appended: {error}. "
            "All other chunks are whole, and the same can be run again"
        ) from error
    done = Indexed(url, chunks=1, bytes_before=len(data), bytes_added=len(table))
    return place, done, None if scale.info.sharding is None else indexed


def _write_shard(scale: Scale, chunks: dict[Triple, bytes]) -> None:
    """Replace chunks of a shard; those that are not named stay as they are."""
    try:
        scale.write_shard(chunks)
    except KempError as error:
        raise ExportError(
            f"{error}. The shard is as it was, all others are whole, and the same can be run again"
        ) from error
