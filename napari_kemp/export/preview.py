"""What a save would write, estimated from a few chunks before anything is written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.errors import CodecError, ExportError
from napari_kemp.export.plan import Plan
from napari_kemp.export.rereads import chunks_read_again
from napari_kemp.export.values import Census, compare, take_census
from napari_kemp.export.work import converted
from napari_kemp.precomputed import Volume, transport
from napari_kemp.precomputed.encodings import find_encoding
from napari_kemp.precomputed.grid import Triple
from napari_kemp.precomputed.location import Location

_SAMPLES = 4


@dataclass(frozen=True)
class Preview:
    """What a save would write.

    Attributes
    ----------
    destination : str
        The volume.
    encoding : str
        How chunks of the finest scale are encoded.
    scales, chunks, bytes_raw : int
        Of the volume.
    bytes_encoded : int
        Estimate of what would be stored, from the sampled chunks.
    sampled : int
        Chunks that were read and encoded.
    values : int
        Values in them.
    outside, nan, infinite : int
        How many of those are finite but outside [0, 1], are NaN, are infinite.
    max_abs_error : float
        Largest absolute error that storing values as large as the sampled ones can cause.
    source_chunks, source_chunks_again : int
        Chunks of the source that would be read, and those of them that would be read more than
        once; 0 where it has none.
    """

    destination: str
    encoding: str
    scales: int
    chunks: int
    bytes_raw: int
    bytes_encoded: int
    sampled: int
    values: int
    outside: int
    nan: int
    infinite: int
    max_abs_error: float
    source_chunks: int
    source_chunks_again: int

    def to_json(self) -> dict[str, Any]:
        """Return the preview as members of a JSON object."""
        return asdict(self)

    def notes(self) -> list[str]:
        """Name what costs more than it has to: values unlike affinities, chunks read again."""
        notes = []
        kempressed = self.encoding == "kempressed"
        if self.outside and kempressed:
            notes.append(
                f"{self._share(self.outside)} lie outside [0, 1]: they compress worse, and are "
                f"off by up to {self.max_abs_error:.2g} instead of {2.0**-23:.2g}; fpzip would "
                "keep them as they are"
            )
        if self.nan:
            notes.append(
                f"{self._share(self.nan)} are NaN: they stay NaN, compress worse, and count as no "
                "value in coarser scales"
            )
        if self.infinite:
            notes.append(
                f"{self._share(self.infinite)} are infinite: they stay so, compress worse, and "
                "make coarser voxels infinite or NaN"
            )
        if self.source_chunks_again:
            notes.append(
                f"{self.source_chunks_again} of the {self.source_chunks} chunks that are read of "
                "the source are read more than once, since they do not end where new chunks, or "
                "groups of them, do: if reading them is slow, choose a region that begins where a "
                "chunk of the source does, or copy them first, as raw, with the source's own chunks"
            )
        return notes

    def _share(self, count: int) -> str:
        return f"{100 * count / self.values:.2g} % of the sampled values"

    def __str__(self) -> str:
        ratio = self.bytes_encoded / self.bytes_raw if self.bytes_raw else 1.0
        rows = [
            ("encoding", self.encoding),
            ("scales", str(self.scales)),
            ("chunks", str(self.chunks)),
            ("raw", f"{self.bytes_raw / 1e6:.1f} MB"),
            ("stored, about", f"{self.bytes_encoded / 1e6:.1f} MB ({100 * ratio:.1f} %)"),
            ("largest absolute error", f"{self.max_abs_error:.3g} at most"),
            ("estimated from", f"{self.sampled} chunks"),
        ]
        lines = [self.destination, *(f"  {name:<24}{value}" for name, value in rows)]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes())])


def preview(plan: Plan) -> Preview:
    """Read and encode a few chunks of the source, and say what all of them would come to.

    Raises
    ------
    ExportError
        If one of them cannot be read or encoded.
    """
    # Nothing is written through this: only its encoder serves.
    location = Location.parse(plan.destination)
    scale = Volume(location, plan.info).scales[0]
    gzip = location.is_local and find_encoding(scale.info.encoding).gzip
    raw = encoded = sampled = 0
    census, bound = Census(), 0.0
    for cell in _spread(plan.grid.shape_xyz):
        try:
            values = plan.source.read(plan.source_box(plan.grid.box(cell)))
            chunk = converted(values, scale.dtype)
            (data,) = scale.encode_chunks([chunk], seekable=plan.seekable)
            census += take_census(values, chunk, scale.info.encoding)
            if scale.info.encoding == "fpzip" and scale.info.fpzip_precision:
                census += compare(chunk, scale.decode_chunk(cell, data))
        except MemoryError:
            raise
        except (CodecError, OSError, ValueError, RuntimeError) as error:
            name = plan.grid.name(cell)
            raise ExportError(f"the chunk {name} could not be sampled: {error}") from error
        if scale.info.encoding == "kempressed":
            bound = max(bound, _kempressed_bound(chunk))
        sampled += 1
        raw += chunk.nbytes
        encoded += len(transport.wrap_gzip(data) if gzip else data)
    source_chunks, again = chunks_read_again(plan)
    return Preview(
        destination=plan.destination,
        encoding=scale.info.encoding,
        scales=len(plan.info.scales),
        chunks=plan.num_chunks,
        bytes_raw=plan.bytes_raw,
        bytes_encoded=round(plan.bytes_raw * encoded / raw) if raw else 0,
        sampled=sampled,
        values=census.count,
        outside=census.outside,
        nan=census.nan,
        infinite=census.infinite,
        max_abs_error=max(bound, census.max_abs_error),
        source_chunks=source_chunks,
        source_chunks_again=again,
    )


def _kempressed_bound(chunk: NDArray[Any]) -> float:
    """Half a step of the sum, and of the difference where that is the longer number."""
    finite = chunk[np.isfinite(chunk)]
    if not finite.size:
        return 0.0
    bound = 0.0
    for value in (finite.min(), finite.max()):
        total = np.float32(value) + np.float32(2)
        bound = max(bound, float(np.spacing(np.abs(total))) / 2)
        if abs(total - 2) > abs(total):
            bound += float(np.spacing(np.abs(total - np.float32(2)))) / 2
    return bound


def _spread(cells_xyz: Triple) -> Iterator[Triple]:
    """Yield a few cells, all over the grid: the edges of a volume are seldom like its middle."""
    number = min(_SAMPLES, math.prod(cells_xyz))
    seen: set[Triple] = set()
    # The plastic number's powers: no two of the points share a coordinate, and none is at an edge.
    steps = (0.8191725134, 0.6710436067, 0.5497004779)
    index = 0
    while len(seen) < number:
        x, y, z = (
            int((0.5 + index * step) % 1 * cells)
            for step, cells in zip(steps, cells_xyz, strict=True)
        )
        if (x, y, z) not in seen:
            seen.add((x, y, z))
            yield x, y, z
        index += 1
