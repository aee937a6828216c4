"""From a volume to the layers that show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import numpy as np

from napari_kemp.errors import InfoError, KempError
from napari_kemp.plugin.level_view import LevelView, Source
from napari_kemp.plugin.origin import KEY, Origin
from napari_kemp.plugin.overview import SampledArray, sampled_scales
from napari_kemp.plugin.pyramid import Pyramid, build_pyramid
from napari_kemp.precomputed import Volume

LayerData = tuple[Any, dict[str, Any], str]

# Two or three channels mix on screen; more of them would not, and are gone through with a slider.
_CHANNEL_COLORS = {2: ("green", "magenta"), 3: ("red", "green", "blue")}


Show = Literal["auto", "channels", "slider", "labels"]
"""As suits the volume, one grey layer a channel, all channels in one layer, or as Labels."""


def volume_layers(volume: Volume, show: Show = "auto") -> list[LayerData]:
    """Describe the layers that show a volume, as napari's readers do.

    Parameters
    ----------
    volume
        An open volume. Nothing of it is read, except one chunk where the range of its values
        cannot be told from its type.
    show
        How to show it.

    Returns
    -------
    list of (data, keyword arguments, layer type)
        What suits a segmentation is one Labels layer; an image with one channel, one Image layer;
        with two or three, as many additive ones, for affinities in x, y and z red, green and blue;
        with more, one layer with a slider for the channel.

    Raises
    ------
    InfoError
        If the volume has no voxels, or cannot be shown that way.
    """
    name = volume_name(volume.url)
    if not all(volume.scales[0].info.size):
        raise InfoError(f"{volume.url}: the volume is empty, there is nothing to show")
    coarsest = volume.scales[-1]
    sampled = sampled_scales(coarsest.info, coarsest.info.chunk_sizes[0])
    arrays: list[Any] = [scale.array for scale in volume.scales]
    arrays += [SampledArray(arrays[-1], scale, coarsest.info.voxel_offset) for scale in sampled]
    pyramid = build_pyramid([*(scale.info for scale in volume.scales), *sampled])
    levels = _Levels(
        pyramid,
        arrays,
        {
            number: sampled[level.scale - len(volume.scales)].lattice
            for number, level in enumerate(pyramid.levels)
            if level.scale >= len(volume.scales)
        },
    )
    channels = volume.info.num_channels
    # napari's Labels take integers only; what else calls itself a segmentation is drawn as it is.
    integers = np.dtype(volume.info.data_type).kind in "iu"
    if show == "labels" and not integers:
        raise InfoError(
            f"{volume.url}: Labels are whole numbers, but data_type is {volume.info.data_type}: "
            "open it as an image"
        )
    if show == "labels" or (show == "auto" and volume.info.type == "segmentation" and integers):
        channel = 0 if channels == 1 else None
        return [_layer(volume, levels, channel, name, {}, "labels")]
    limits = {"contrast_limits": _contrast_limits(volume)}
    if channels == 1:
        return [_layer(volume, levels, 0, name, {"colormap": "gray", **limits}, "image")]
    if show == "slider" or (show == "auto" and channels not in _CHANNEL_COLORS):
        return [_layer(volume, levels, None, name, {"colormap": "gray", **limits}, "image")]
    suffixes = "xyz" if channels == 3 else [str(channel) for channel in range(channels)]
    if show == "channels":
        return [
            _layer(
                volume,
                levels,
                channel,
                f"{name} {suffixes[channel]}",
                {"colormap": "gray", "visible": channel == 0, **limits},
                "image",
            )
            for channel in range(channels)
        ]
    return [
        _layer(
            volume,
            levels,
            channel,
            f"{name} {suffixes[channel]}",
            {"colormap": color, "blending": "additive", **limits},
            "image",
        )
        for channel, color in enumerate(_CHANNEL_COLORS[channels])
    ]


def volume_name(url: str) -> str:
    """Name a volume after its folder."""
    bare = url.removeprefix("precomputed://").rstrip("/")
    path = unquote(urlsplit(bare).path) if "://" in bare else bare.replace("\\", "/")
    return PurePosixPath(path).name or urlsplit(bare).netloc or bare


@dataclass(frozen=True)
class _Levels:
    """What the layers of a volume show: the levels, and an array (c, z, y, x) for each scale.

    `sampled` tells which levels are samples, and of how many voxels of the coarsest scale.
    """

    pyramid: Pyramid
    arrays: Sequence[Any]
    sampled: dict[int, tuple[int, int, int]]


def _layer(
    volume: Volume,
    levels: _Levels,
    channel: int | None,
    name: str,
    look: dict[str, Any],
    layer_type: str,
) -> LayerData:
    source = Source()
    pyramid = levels.pyramid
    views = [
        LevelView(levels.arrays[level.scale], channel, level.padding_zyx, source)
        for level in pyramid.levels
    ]
    finest = volume.scales[0].info
    scale = [float(r) for r in finest.resolution[::-1]]
    translate = [
        offset * step for offset, step in zip(pyramid.voxel_offset_xyz[::-1], scale, strict=True)
    ]
    extra = [] if channel is not None else ["c"]
    origin = Origin(
        url=volume.url,
        channel=channel,
        num_channels=volume.info.num_channels,
        size=finest.size,
        voxel_offset=finest.voxel_offset,
        resolution=finest.resolution,
        chunk_size=finest.chunk_sizes[0],
        encoding=finest.encoding,
        padding=pyramid.levels[0].padding_zyx,
        sampled_levels=levels.sampled,
    )
    arguments = {
        "name": name,
        "scale": [1.0] * len(extra) + scale,
        "translate": [0.0] * len(extra) + translate,
        "units": ["pixel"] * len(extra) + ["nm"] * 3,
        "axis_labels": (*extra, "z", "y", "x"),
        "multiscale": len(views) > 1,
        "metadata": {KEY: origin},
        **look,
    }
    return (views if len(views) > 1 else views[0]), arguments, layer_type


def _contrast_limits(volume: Volume) -> tuple[float, float]:
    info = volume.info
    if info.data_type == "uint8":
        return 0, 255
    finest = volume.scales[0].info
    if info.data_type == "float32" and (info.num_channels == 3 or finest.encoding == "kempressed"):
        return 0, 1
    return _range_of_central_chunk(volume)


def _range_of_central_chunk(volume: Volume) -> tuple[float, float]:
    """Guess the range of all values from the chunk in the middle of the coarsest scale.

    napari would guess from a whole section, which can be far larger than memory.
    """
    array = volume.scales[-1].array
    centre = tuple(
        slice(n // 2 // chunk * chunk, n // 2 // chunk * chunk + chunk)
        for n, chunk in zip(array.shape, array.chunks, strict=True)
    )
    try:
        values = np.asarray(array[centre])
    except (KempError, MemoryError):
        # The layer itself tells of the damage, once it is looked at.
        return 0, 1
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if np.issubdtype(values.dtype, np.floating) and low >= 0 and high <= 1:
        return 0, 1
    low = min(low, 0.0)
    return low, high if high > low else low + 1
