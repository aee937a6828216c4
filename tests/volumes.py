"""Volumes for tests to open, and the layers that show them."""

import numpy as np
from napari.layers import Layer

from napari_kemp import open_volume
from napari_kemp.plugin.layers import volume_layers
from napari_kemp.precomputed import VolumeInfo, create_from_info

LEVELS = 3


def make_volume(
    folder,
    data_type="float32",
    channels=3,
    encoding="raw",
    layer_type="image",
    size=(101, 90, 7),
    offset=(5, -3, 2),
    values=None,
    levels=LEVELS,
):
    """Write a volume whose coarser scales halve x and y, rounded outwards as Igneous does."""
    rng = np.random.default_rng(0)
    scales = []
    for level in range(levels):
        f = (2**level, 2**level, 1)
        start = [o // step for o, step in zip(offset, f, strict=True)]
        stop = [-(-(o + s) // step) for o, s, step in zip(offset, size, f, strict=True)]
        resolution = [4 * f[0], 4 * f[1], 50]
        scales.append(
            {
                "key": "_".join(map(str, resolution)),
                "size": [b - a for a, b in zip(start, stop, strict=True)],
                "voxel_offset": start,
                "resolution": resolution,
                "chunk_sizes": [[32, 32, 4]],
                "encoding": encoding,
            }
        )
    members = {
        "type": layer_type,
        "data_type": data_type,
        "num_channels": channels,
        "scales": scales,
    }
    volume = create_from_info(str(folder), VolumeInfo.from_members(members, "info"))
    for level, scale in enumerate(volume.scales):
        part = rng.integers(0, 200, scale.array.shape) if values is None else values[level]
        scale.write(part.astype(data_type), scale.info.voxel_offset)
    return open_volume(folder)


def create_layers(volume):
    return [Layer.create(*layer) for layer in volume_layers(volume)]
