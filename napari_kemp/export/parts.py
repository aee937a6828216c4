"""Arrays that a cluster's workers can open for themselves, and that are read past every cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.errors import ExportError
from napari_kemp.precomputed import Box, Scale, open_volume


@dataclass(frozen=True)
class StoredScale:
    """A scale of a volume as an array to slice: (c, z, y, x), or (z, y, x) of one channel.

    A save reads each chunk once, so that a cache would only take memory. Travels by URL.

    Attributes
    ----------
    url : str
        The volume.
    key : str
        Which of its scales.
    channel : int or None
        The one channel to show.
    """

    url: str
    key: str
    channel: int | None = None

    @cached_property
    def scale(self) -> Scale:
        """The scale, opened when it is first needed."""
        return next(s for s in open_volume(self.url).scales if s.info.key == self.key)

    def __reduce__(self) -> Any:
        return StoredScale, (self.url, self.key, self.channel)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.scale.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """(c, z, y, x) or (z, y, x)."""
        channels = (self.scale.num_channels,) if self.channel is None else ()
        return (*channels, *self.scale.grid.size_xyz[::-1])

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        channels = (self.scale.num_channels,) if self.channel is None else ()
        return (*channels, *self.scale.grid.chunk_xyz[::-1])

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Read a box, given as slices along z, y and x (after an ellipsis)."""
        offset_zyx = self.scale.grid.voxel_offset_xyz[::-1]
        z, y, x = (
            (start + part.start, start + part.stop)
            for start, part in zip(offset_zyx, key[-3:], strict=True)
        )
        box = Box((x[0], y[0], z[0]), (x[1], y[1], z[1]))
        return read_box(self.scale, box, self.channel)


def read_box(scale: Scale, box: Box, channel: int | None = None) -> NDArray[Any]:
    """Read a box of a scale, in absolute coordinates, as (c, z, y, x) or (z, y, x).

    Chunks that the volume does not hold are 0.

    Raises
    ------
    ChunkError
        If a chunk is damaged or unreachable.
    """
    channels = (scale.num_channels,) if channel is None else ()
    result: NDArray[Any] | None = None
    for cell in scale.grid.cells(box):
        data = scale.load_chunk(cell)
        if data is None:
            continue
        chunk_box = scale.grid.box(cell)
        chunk = scale.decode_chunk(cell, data)
        if channel is not None:
            chunk = chunk[channel]
        if chunk_box == box:
            return chunk
        if result is None:
            result = np.zeros((*channels, *box.shape_xyz[::-1]), scale.dtype)
        to: list[slice] = []
        source: list[slice] = []
        for a, b, low, high in zip(*chunk_box, *box, strict=True):
            start, stop = max(a, low), min(b, high)
            to.append(slice(start - low, stop - low))
            source.append(slice(start - a, stop - a))
        result[..., to[2], to[1], to[0]] = chunk[..., source[2], source[1], source[0]]
    if result is None:
        result = np.zeros((*channels, *box.shape_xyz[::-1]), scale.dtype)
    return result


def as_numpy(part: Any) -> NDArray[Any]:
    """Read a part of an array of any library."""
    if hasattr(part, "compute"):
        # Saves are parallel already; and inside a cluster's task, dask would wait for the cluster.
        part = part.compute(scheduler="synchronous")
    return np.asarray(part)


@dataclass(frozen=True, eq=False)
class Transposed:
    """An array of any library with its axes in another order, as lazy as it is.

    Attributes
    ----------
    array : array-like
        The array.
    order : tuple of int
        For each axis of this one, which axis of the array it is.
    """

    array: Any
    order: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        dtype: np.dtype[Any] = np.dtype(self.array.dtype)
        return dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents, in the new order."""
        return tuple(int(self.array.shape[axis]) for axis in self.order)

    @property
    def chunks(self) -> tuple[Any, ...] | None:
        """Shape of a chunk, or all chunks' lengths along each axis, where the array has such."""
        chunks = getattr(self.array, "chunks", None)
        if not isinstance(chunks, tuple) or len(chunks) != len(self.order):
            return None
        return tuple(chunks[axis] for axis in self.order)

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Read a box, given as slices along the last axes (after an ellipsis)."""
        slices = [slice(None)] * len(self.order)
        given = [part for part in key if part is not Ellipsis]
        for axis, part in zip(self.order[::-1], given[::-1], strict=False):
            slices[axis] = part
        return as_numpy(self.array[tuple(slices)]).transpose(self.order)


@dataclass(frozen=True)
class NpyFile:
    """A ``.npy`` file as an array to slice. Travels by its path; numpy would send the values.

    Attributes
    ----------
    path : str
        The file.
    """

    path: str

    @cached_property
    def array(self) -> NDArray[Any]:
        """The file, mapped into memory."""
        try:
            array: NDArray[Any] = np.lib.format.open_memmap(Path(self.path), mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise ExportError(f"{self.path}: not a readable .npy file: {error}") from error
        return array

    def __reduce__(self) -> Any:
        return NpyFile, (self.path,)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """As in the file."""
        return self.array.shape

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Slice as numpy does."""
        part: NDArray[Any] = self.array[key]
        return part


@dataclass(frozen=True)
class ZarrArray:
    """A zarr array on a disk as an array to slice. Travels by its path.

    Attributes
    ----------
    path : str
        The folder with ``zarr.json`` or ``.zarray``.
    """

    path: str

    @cached_property
    def array(self) -> Any:
        """The array, opened by TensorStore, which needs no zarr package."""
        import tensorstore as ts

        folder = Path(self.path)
        drivers = {"zarr.json": "zarr3", ".zarray": "zarr"}
        driver = next((d for name, d in drivers.items() if (folder / name).is_file()), None)
        if driver is None:
            raise ExportError(
                f"{self.path}: neither zarr.json nor .zarray is there; of a group, name the "
                f"array to save, for instance {folder / '0'}"
            )
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{folder.absolute()}/"}}
        try:
            return ts.open(spec, read=True).result()
        except (ValueError, RuntimeError, OSError) as error:
            reason = str(error).partition(" [source locations=")[0]
            raise ExportError(f"{self.path}: not a readable zarr array: {reason}") from error

    def __reduce__(self) -> Any:
        return ZarrArray, (self.path,)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        dtype: np.dtype[Any] = self.array.dtype.numpy_dtype
        return dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """As in the array's metadata."""
        return tuple(self.array.shape)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of what is stored, and decoded, as one."""
        return tuple(self.array.chunk_layout.read_chunk.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a box."""
        part: NDArray[Any] = self.array[key].read().result()
        return part


def load(path: str | os.PathLike[str]) -> Any:
    """Open what a command line names.

    Returns
    -------
    NpyFile, ZarrArray or str
        Of a ``.npy`` file, of a path in or to a ``.zarr`` folder, or the same path or URL, of a
        volume.

    Raises
    ------
    ExportError
        If a file cannot be read.
    """
    text = str(path)
    if text.endswith(".npy"):
        file = NpyFile(text)
        _ = file.array
        return file
    if "://" not in text and any(part.endswith(".zarr") for part in Path(text).parts):
        zarr = ZarrArray(text)
        _ = zarr.array
        return zarr
    return text
