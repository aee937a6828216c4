"""What a layer remembers of the volume that it was opened from.

Kept under ``"napari_kemp"`` in the layer's metadata, so that saving can start from the same place,
chunks and encoding, and so that scripts can find the volume again::

    viewer.layers["affinities x"].metadata["napari_kemp"]["url"]
"""

from collections.abc import Mapping
from typing import Any, TypedDict, cast

KEY = "napari_kemp"


class Origin(TypedDict):
    """The volume behind a layer. Triples are in x, y, z and belong to the finest scale."""

    url: str
    """The volume, as `napari_kemp.open_volume` takes it."""
    channel: int | None
    """Which channel the layer shows; None if it shows all of them."""
    num_channels: int
    """Channels of the volume."""
    size: tuple[int, int, int]
    """Voxels."""
    voxel_offset: tuple[int, int, int]
    """Place of the first voxel, in voxels."""
    resolution: tuple[float, float, float]
    """Nanometres a voxel."""
    chunk_size: tuple[int, int, int]
    """Voxels a chunk."""
    encoding: str
    """How its chunks are encoded."""
    padding: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    """Voxels of background that the layer shows before and after the volume, along z, y, x."""
    sampled_levels: dict[int, tuple[int, int, int]]
    """Levels that no scale of the volume stands behind: each shows one voxel of the coarsest scale
    for so many of them along x, y and z."""


def origin_of(metadata: Mapping[str, Any]) -> Origin | None:
    """Get the origin of a layer from its metadata; None if it was not opened from a volume."""
    origin = metadata.get(KEY)
    return cast(Origin, origin) if isinstance(origin, dict) else None
