"""What is saved: arrays, lists of channels and volumes, all read as boxes of (c, z, y, x)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.errors import ExportError
from napari_kemp.export import parts
from napari_kemp.precomputed import Box, LazyArray, Volume, open_volume
from napari_kemp.precomputed.grid import Triple


@dataclass(frozen=True, eq=False)
class Source:
    """An array to save, of which only the boxes that are asked for are read.

    Attributes
    ----------
    parts : sequence of array-like
        One array (c, z, y, x), or one array (z, y, x) for each channel.
    size_xyz : tuple of int
        Extent in voxels.
    num_channels : int
        Values a voxel.
    dtype : numpy.dtype
        Type of the values.
    resolution_xyz : tuple of float or None
        Nanometres a voxel, where the source knows.
    voxel_offset_xyz : tuple of int
        Absolute coordinates of its first voxel.
    layer_type : {"image", "segmentation"} or None
        What the values mean, where the source knows.
    url : str or None
        The volume that the values come from, where there is one.
    rescale : bool
        Whether integers from 0 to the largest of their type are read as 0.0 to 1.0, float32.
    """

    parts: Sequence[Any]
    size_xyz: Triple
    num_channels: int
    dtype: np.dtype[Any]
    resolution_xyz: tuple[float, float, float] | None = None
    voxel_offset_xyz: Triple = (0, 0, 0)
    layer_type: str | None = None
    url: str | None = None
    rescale: bool = False

    def middle(self, most_xyz: Triple) -> Box:
        """Return the box in the middle of the source that is at most so large."""
        (x0, x1), (y0, y1), (z0, z1) = (
            ((size - min(size, most)) // 2, (size + min(size, most)) // 2)
            for size, most in zip(self.size_xyz, most_xyz, strict=True)
        )
        return Box((x0, y0, z0), (x1, y1, z1))

    @property
    def chunk_xyz(self) -> Triple:
        """Voxels that the source stores, and decodes, as one; 1 x 1 x 1 where it has no such."""
        sizes = [_chunk_of(part) for part in self.parts]
        x, y, z = (max(size[axis] for size in sizes) for axis in range(3))
        return x, y, z

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box, counted from the source's first voxel, as an array (c, z, y, x)."""
        x, y, z = (slice(a, b) for a, b in zip(box.start_xyz, box.stop_xyz, strict=True))
        arrays = [parts.as_numpy(part[..., z, y, x]) for part in self.parts]
        if len(arrays) == 1:
            values = arrays[0].reshape(self.num_channels, *arrays[0].shape[-3:])
        else:
            values = np.stack(arrays)
        if self.rescale:
            return values / np.float32(np.iinfo(values.dtype).max)
        return values


def _chunk_of(part: Any) -> Triple:
    chunks = getattr(part, "chunks", None)
    if not isinstance(chunks, tuple) or len(chunks) != len(part.shape):
        return (1, 1, 1)
    # dask lists the lengths of all chunks along an axis, everybody else has one length.
    z, y, x = (int(n[0] if isinstance(n, tuple) else n) for n in chunks[-3:])
    return x, y, z


def as_source(source: Any) -> Source:
    """Make a source of anything that can be saved.

    Parameters
    ----------
    source : array-like, sequence of array-like, Volume, str or path
        An array (c, z, y, x) or (z, y, x) of any library whose arrays can be sliced; a list of
        arrays (z, y, x), one for each channel; a volume or where it lies (its finest scale).

    Raises
    ------
    ExportError
        If it is none of these, or the channels of a list differ in shape or type.
    InfoError
        If it is a URL at which there is no volume.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, str | os.PathLike):
        source = open_volume(source)
    if isinstance(source, Volume):
        finest = source.scales[0]
        return Source(
            parts=[_stored(finest.array)],
            size_xyz=finest.info.size,
            num_channels=finest.num_channels,
            dtype=finest.dtype,
            resolution_xyz=finest.info.resolution,
            voxel_offset_xyz=finest.info.voxel_offset,
            layer_type=source.info.type,
            url=source.url,
        )
    if isinstance(source, list | tuple) and all(hasattr(part, "shape") for part in source):
        return _of_channels(source)
    array = source if hasattr(source, "shape") else _as_array(source)
    if len(array.shape) not in (3, 4):
        raise ExportError(
            f"an array of shape {tuple(array.shape)} cannot be saved: it needs the axes "
            "(c, z, y, x), or (z, y, x) for one channel"
        )
    z, y, x = (int(n) for n in array.shape[-3:])
    num_channels = int(array.shape[0]) if len(array.shape) == 4 else 1
    url = _url_of(array)
    return Source([_stored(array)], (x, y, z), num_channels, np.dtype(array.dtype), url=url)


def _as_array(source: Any) -> NDArray[Any]:
    try:
        array = np.asarray(source)
    except ValueError:
        array = np.array(None)
    if array.dtype.kind == "O":
        raise ExportError(
            "a source is an array, a list of arrays, a Volume, or its path or URL, not "
            f"{type(source).__name__}"
        )
    return array


def rescaled(source: Source) -> Source:
    """Return a source of integers as one of 0.0 to 1.0, float32.

    Raises
    ------
    ExportError
        If its values are not unsigned integers of 8 or 16 bits.
    """
    if source.dtype not in (np.uint8, np.uint16):
        raise ExportError(
            f"only uint8 and uint16 values can be rescaled to 0..1, and these are {source.dtype}"
        )
    return replace(source, dtype=np.dtype(np.float32), rescale=True)


def _of_channels(channels: Sequence[Any]) -> Source:
    if not channels:
        raise ExportError("there are no channels to save")
    first = channels[0]
    for index, channel in enumerate(channels):
        if len(channel.shape) != 3:
            raise ExportError(
                f"channel {index} has the shape {tuple(channel.shape)}, but each channel of a "
                "list needs the axes (z, y, x)"
            )
        if tuple(channel.shape) != tuple(first.shape) or channel.dtype != first.dtype:
            raise ExportError(
                f"channel {index} is {channel.dtype} {tuple(channel.shape)}, but channel 0 is "
                f"{first.dtype} {tuple(first.shape)}: all channels need the same shape and type"
            )
    z, y, x = (int(n) for n in first.shape)
    url = next((url for url in map(_url_of, channels) if url is not None), None)
    return Source(
        [_stored(channel) for channel in channels],
        (x, y, z),
        len(channels),
        np.dtype(first.dtype),
        url=url,
    )


def _url_of(array: Any) -> str | None:
    if isinstance(array, parts.Transposed):
        return _url_of(array.array)
    return array.url if isinstance(array, LazyArray) else None


def _stored(array: Any) -> Any:
    if isinstance(array, parts.Transposed):
        return replace(array, array=_stored(array.array))
    if not isinstance(array, LazyArray):
        return array
    return parts.StoredScale(array.url, array.key, array.channel_index)
