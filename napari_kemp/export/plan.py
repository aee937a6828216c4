"""A save before anything is written: what goes where, in which type, encoding, chunks, scales."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from napari_kemp.errors import ExportError
from napari_kemp.export import arguments
from napari_kemp.export.mips import Mips, coarser_scales
from napari_kemp.export.shards import plan_shards
from napari_kemp.export.source import Source, as_source, rescaled
from napari_kemp.precomputed import Box, ChunkGrid, VolumeInfo, scale_key, volume_exists
from napari_kemp.precomputed.grid import Triple
from napari_kemp.precomputed.location import Location

Region = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True, eq=False)
class Plan:
    """What a save will do; nothing has been written yet.

    Attributes
    ----------
    source : Source
        What is saved.
    region : Box
        Which voxels of it, counted from its first.
    destination : str
        The folder or URL of the new volume.
    info : VolumeInfo
        Its ``info`` file.
    factors : tuple of tuple of int
        For each scale, the voxels of the next finer one in one of its own, x, y, z; 1, 1, 1 for the
        finest.
    seekable : bool
        Whether chunks get section tables.
    resume : bool
        Whether a save that was stopped is taken up again.
    overwrite : bool
        Whether a volume that is there is replaced.
    verify : bool
        Whether chunks are read back and compared.
    """

    source: Source
    region: Box
    destination: str
    info: VolumeInfo
    factors: tuple[Triple, ...]
    seekable: bool = True
    resume: bool = False
    overwrite: bool = False
    verify: bool = False

    @cached_property
    def grids(self) -> tuple[ChunkGrid, ...]:
        """The chunks to write, by scale."""
        return tuple(
            ChunkGrid(scale.size, scale.chunk_sizes[0], scale.voxel_offset)
            for scale in self.info.scales
        )

    @property
    def grid(self) -> ChunkGrid:
        """The chunks of the finest scale."""
        return self.grids[0]

    @property
    def num_chunks(self) -> int:
        """Chunks to write, of all scales."""
        return sum(grid.num_cells for grid in self.grids)

    @property
    def bytes_voxel(self) -> int:
        """Bytes of the values of a voxel, in the type that is stored."""
        return self.info.num_channels * np.dtype(self.info.data_type).itemsize

    @property
    def bytes_raw(self) -> int:
        """Bytes of the values to save, of all scales, in the type that is stored."""
        voxels = sum(x * y * z for x, y, z in (grid.size_xyz for grid in self.grids))
        return voxels * self.bytes_voxel

    def source_box(self, box: Box) -> Box:
        """Return where the source has the voxels of a box of the finest scale."""
        shift = [
            start - offset
            for start, offset in zip(self.region.start_xyz, self.grid.voxel_offset_xyz, strict=True)
        ]
        return Box(_moved(box.start_xyz, shift), _moved(box.stop_xyz, shift))

    def to_json(self) -> dict[str, Any]:
        """Return all that decides what is written, as members of a JSON object."""
        source = self.source
        return {
            "source": {
                "url": source.url,
                "size": source.size_xyz,
                "num_channels": source.num_channels,
                "data_type": source.dtype.name,
                "rescale": source.rescale,
            },
            "region": self.region,
            "info": json.loads(self.info.to_json()),
            "factors": self.factors,
            "seekable": self.seekable,
        }


def make_plan(
    source: Any,
    destination: str | os.PathLike[str],
    *,
    encoding: str | Sequence[str] = "kempressed",
    precision: int = 0,
    chunk_size: Sequence[int] = (128, 128, 64),
    resolution: Sequence[float] | None = None,
    voxel_offset: Sequence[int] | None = None,
    mips: Mips = "auto",
    region: Region | None = None,
    sharded: bool = False,
    rescale: bool = False,
    seekable: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    verify: bool = False,
) -> Plan:
    """Plan a save; takes what `export` takes.

    Raises
    ------
    ExportError
        If the destination holds a volume already and it is neither to be resumed nor to be
        overwritten, if it is the volume that is being read, if the values cannot be stored in this
        encoding, if the region is not part of the source, or if an argument is not what it should
        be; names it.
    InfoError
        If a parameter is not legal in an ``info`` file.
    """
    if not isinstance(destination, str | os.PathLike):
        raise ExportError(f"destination is a path or a URL, not {destination!r}")
    encodings = arguments.encodings(encoding)
    precision = arguments.whole("precision", precision)
    chunk_xyz = arguments.whole_triple("chunk_size", chunk_size)
    found = as_source(source)
    origin = found.voxel_offset_xyz
    if voxel_offset is not None:
        origin = arguments.whole_triple("voxel_offset", voxel_offset)
    steps = found.resolution_xyz or (1, 1, 1)
    if resolution is not None:
        steps = arguments.triple("resolution", resolution)
    if rescale:
        found = rescaled(found)
    location = Location.parse(destination)
    if found.url is not None and _overlap(location, Location.parse(found.url)):
        raise ExportError(
            f"{location.url}: cannot be saved there, since the data are read from {found.url}; "
            "choose another folder"
        )
    if resume and overwrite:
        raise ExportError("a volume can be resumed or overwritten, not both")
    if not (resume or overwrite) and volume_exists(location.url):
        raise ExportError(
            f"{location.url}: there is a volume already; choose another folder, or ask for it to "
            "be overwritten or, if a save of it was stopped, to be resumed"
        )
    if precision and "fpzip" not in encodings:
        raise ExportError(f"a precision is for the encoding fpzip, not for {encodings[0]}")
    box = _box_of(region, found.size_xyz)
    base: dict[str, Any] = {
        "key": scale_key(steps),
        "size": list(box.shape_xyz),
        "resolution": list(steps),
        "voxel_offset": list(_moved(box.start_xyz, origin)),
        "chunk_sizes": [list(chunk_xyz)],
    }
    dtype = _stored_type(found.dtype, encodings)
    members = {
        "type": found.layer_type
        or ("segmentation" if encodings[0] == "compressed_segmentation" else "image"),
        "data_type": dtype.name,
        "num_channels": found.num_channels,
    }
    # First the finest alone: what is wrong with it must be said before anything is made of it.
    _encode_scales([base], encodings, precision)
    info_url = location.object_url("info")
    VolumeInfo.from_members({**members, "scales": [base]}, info_url)
    coarser, factors = coarser_scales(base, mips)
    scales = [base, *coarser]
    _encode_scales(scales, encodings, precision)
    if sharded:
        for scale in scales:
            scale["sharding"] = plan_shards(scale, found.num_channels * dtype.itemsize)
    info = VolumeInfo.from_members({**members, "scales": scales}, info_url)
    return Plan(
        found,
        box,
        location.url,
        info,
        ((1, 1, 1), *factors),
        seekable=seekable,
        resume=resume,
        overwrite=overwrite,
        verify=verify,
    )


def _encode_scales(scales: list[dict[str, Any]], encodings: Sequence[str], precision: int) -> None:
    """Name the encodings of scales, finest first; the last one that is named serves the rest."""
    for index, scale in enumerate(scales):
        encoding = encodings[min(index, len(encodings) - 1)]
        for member in ("compressed_segmentation_block_size", "fpzip_precision"):
            scale.pop(member, None)
        scale["encoding"] = encoding
        if encoding == "compressed_segmentation":
            scale["compressed_segmentation_block_size"] = [8, 8, 8]
        if encoding == "fpzip" and precision:
            scale["fpzip_precision"] = precision


def _stored_type(dtype: np.dtype[Any], encodings: Sequence[str]) -> np.dtype[Any]:
    """Choose the type to store: the source's own wherever the encodings and the format allow."""
    for encoding in encodings:
        if encoding in ("kempressed", "fpzip") and dtype.kind != "f":
            raise ExportError(
                f"{encoding} stores floating-point values, and these are {dtype.name}: ask for "
                "affinities of 0 to 255 to be rescaled, convert others, or choose the encoding raw"
            )
    if "kempressed" in encodings:
        return np.dtype(np.float32)
    if "compressed_segmentation" in encodings:
        if dtype.kind not in "biu":
            raise ExportError(
                f"compressed_segmentation stores labels, and these are {dtype.name} values"
            )
        return np.dtype(np.uint64 if dtype.itemsize == 8 else np.uint32)
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype == np.float16:
        return np.dtype(np.float32)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ExportError(f"values of type {dtype.name} cannot be stored in a precomputed volume")
    return dtype.newbyteorder("=")


def _box_of(region: Region | None, size_xyz: Triple) -> Box:
    if region is None:
        return Box((0, 0, 0), size_xyz)
    try:
        start_xyz, stop_xyz = region
        box = Box(
            arguments.whole_triple("region", start_xyz), arguments.whole_triple("region", stop_xyz)
        )
    except (TypeError, ValueError, ExportError):
        raise ExportError(
            f"a region is two corners ((x0, y0, z0), (x1, y1, z1)) of whole numbers, not {region!r}"
        ) from None
    for start, stop, size in zip(box.start_xyz, box.stop_xyz, size_xyz, strict=True):
        if not 0 <= start < stop <= size:
            raise ExportError(
                f"the region {box.start_xyz} to {box.stop_xyz} is not a part of the source, whose "
                f"size in x, y, z is {size_xyz}"
            )
    return box


def _moved(point_xyz: Sequence[int], by_xyz: Sequence[int]) -> Triple:
    x, y, z = (a + b for a, b in zip(point_xyz, by_xyz, strict=True))
    return x, y, z


def _overlap(a: Location, b: Location) -> bool:
    return a.contains(b) or b.contains(a)
