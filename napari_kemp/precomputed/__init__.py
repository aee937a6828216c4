"""The volume format: ``info``, chunk grid, storage, encodings and the lazy array."""

from napari_kemp.precomputed.array import LazyArray
from napari_kemp.precomputed.grid import Box, ChunkGrid
from napari_kemp.precomputed.info import ScaleInfo, VolumeInfo
from napari_kemp.precomputed.volume import (
    Scale,
    Volume,
    create_from_info,
    create_volume,
    open_volume,
    remove_volume,
    scale_key,
    volume_exists,
)

__all__ = [
    "Box",
    "ChunkGrid",
    "LazyArray",
    "Scale",
    "ScaleInfo",
    "Volume",
    "VolumeInfo",
    "create_from_info",
    "create_volume",
    "open_volume",
    "remove_volume",
    "scale_key",
    "volume_exists",
]
