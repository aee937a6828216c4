"""A save before anything is written: what goes where, in which type, encoding and chunks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_kemp.errors import ExportError
from napari_kemp.export.source import Source, Triple, as_source
from napari_kemp.precomputed import Box, ChunkGrid, VolumeInfo, scale_key, volume_exists
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
    overwrite : bool
        Whether a volume that is there is replaced.
    """

    source: Source
    region: Box
    destination: str
    info: VolumeInfo
    overwrite: bool

    @property
    def grid(self) -> ChunkGrid:
        """The chunks to write."""
        scale = self.info.scales[0]
        return ChunkGrid(scale.size, scale.chunk_sizes[0], scale.voxel_offset)

    @property
    def num_chunks(self) -> int:
        """Chunks to write."""
        return self.grid.num_cells

    @property
    def bytes_raw(self) -> int:
        """Bytes of the values to save, in the type that is stored."""
        x, y, z = self.grid.size_xyz
        return x * y * z * self.info.num_channels * np.dtype(self.info.data_type).itemsize

    def source_box(self, cell_xyz: Triple) -> Box:
        """Return the voxels of the source that a chunk holds."""
        shift = [
            start - offset
            for start, offset in zip(self.region.start_xyz, self.grid.voxel_offset_xyz, strict=True)
        ]
        box = self.grid.box(cell_xyz)
        return Box(_moved(box.start_xyz, shift), _moved(box.stop_xyz, shift))


def make_plan(
    source: Any,
    destination: str | os.PathLike[str],
    *,
    encoding: str = "kempressed",
    precision: int = 0,
    chunk_size: Sequence[int] = (128, 128, 64),
    resolution: Sequence[float] | None = None,
    voxel_offset: Sequence[int] | None = None,
    region: Region | None = None,
    overwrite: bool = False,
) -> Plan:
    """Plan a save; takes what `export` takes.

    Raises
    ------
    ExportError
        If the destination holds a volume already and `overwrite` is false, if it is the volume
        that is being read, if the values cannot be stored in this encoding, or if the region is
        not part of the source.
    InfoError
        If a parameter is not legal in an ``info`` file.
    """
    found = as_source(source)
    location = Location.parse(destination)
    if found.url is not None and _overlap(location, Location.parse(found.url)):
        raise ExportError(
            f"{location.url}: cannot be saved there, since the data are read from {found.url}; "
            "choose another folder"
        )
    if not overwrite and volume_exists(location.url):
        raise ExportError(
            f"{location.url}: there is a volume already; choose another folder, or ask for it to "
            "be overwritten"
        )
    box = _box_of(region, found.size_xyz)
    origin = found.voxel_offset_xyz if voxel_offset is None else voxel_offset
    steps = resolution or found.resolution_xyz or (1, 1, 1)
    scale: dict[str, Any] = {
        "key": scale_key(steps),
        "size": list(box.shape_xyz),
        "resolution": list(steps),
        "voxel_offset": list(_moved(box.start_xyz, origin)),
        "chunk_sizes": [list(chunk_size)],
        "encoding": encoding,
    }
    if encoding == "compressed_segmentation":
        scale["compressed_segmentation_block_size"] = [8, 8, 8]
    if encoding == "fpzip" and precision:
        scale["fpzip_precision"] = precision
    elif precision:
        raise ExportError(f"a precision is for the encoding fpzip, not for {encoding}")
    layer_type = found.layer_type or (
        "segmentation" if encoding == "compressed_segmentation" else "image"
    )
    members = {
        "type": layer_type,
        "data_type": _stored_type(found.dtype, encoding).name,
        "num_channels": found.num_channels,
        "scales": [scale],
    }
    info = VolumeInfo.from_members(members, location.object_url("info"))
    return Plan(found, box, location.url, info, overwrite)


def _stored_type(dtype: np.dtype[Any], encoding: str) -> np.dtype[Any]:
    """Choose the type to store: the source's own wherever the encoding and the format allow."""
    if encoding in ("kempressed", "fpzip") and dtype.kind != "f":
        raise ExportError(
            f"{encoding} stores floating-point values, and these are {dtype.name}: convert them "
            "(affinities of 0 to 255 with array / 255), or choose the encoding raw"
        )
    if encoding == "kempressed":
        return np.dtype(np.float32)
    if encoding == "compressed_segmentation":
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
        (x0, y0, z0), (x1, y1, z1) = region
        box = Box((int(x0), int(y0), int(z0)), (int(x1), int(y1), int(z1)))
    except (TypeError, ValueError):
        raise ExportError(
            f"a region is two corners ((x0, y0, z0), (x1, y1, z1)), not {region!r}"
        ) from None
    for start, stop, size in zip(box.start_xyz, box.stop_xyz, size_xyz, strict=True):
        if not 0 <= start < stop <= size:
            raise ExportError(
                f"the region {box.start_xyz} to {box.stop_xyz} is not a part of the source, whose "
                f"size in x, y, z is {size_xyz}"
            )
    return box


def _moved(point_xyz: Sequence[int], by_xyz: Sequence[int]) -> Triple:
    x, y, z = (int(a) + int(b) for a, b in zip(point_xyz, by_xyz, strict=True))
    return x, y, z


def _overlap(a: Location, b: Location) -> bool:
    return a.contains(b) or b.contains(a)
