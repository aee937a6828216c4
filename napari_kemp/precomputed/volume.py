"""Volumes and their scales: opened, created, read and written."""

import operator
import os
import re
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.errors import ChunkError, CodecError, InfoError
from napari_kemp.precomputed.array import LazyArray, flip_axes
from napari_kemp.precomputed.decode import worker_threads
from napari_kemp.precomputed.encodings import find_encoder, find_encoding
from napari_kemp.precomputed.grid import Box, ChunkGrid, Triple
from napari_kemp.precomputed.info import ScaleInfo, VolumeInfo
from napari_kemp.precomputed.location import Location
from napari_kemp.precomputed.ranges import server_takes_ranges
from napari_kemp.precomputed.reader import ChunkReader
from napari_kemp.precomputed.sharding import ShardStore, chunk_key
from napari_kemp.precomputed.storage import ObjectStore, StoredObject

INFO_LIMIT_BYTES = 1 << 24
"""Larger ``info`` files are refused, also where a small file unpacks to them."""

_INFO_TIMEOUT_SECONDS = 30.0

# What a scale's folder holds of a volume: chunks, as `ChunkGrid.name` calls them, and shards.
_CHUNK_OBJECT = re.compile(
    r"-?\d+--?\d+_-?\d+--?\d+_-?\d+--?\d+(\.gz|\.br|\.zstd)?|[0-9a-f]+\.shard"
)


def open_volume(url: str | os.PathLike[str]) -> "Volume":
    """Open a precomputed volume.

    Parameters
    ----------
    url : str or path
        The folder of the ``info`` file: a path, ``file://``, ``http(s)://``, ``gs://`` or
        ``s3://``, with or without ``precomputed://`` in front.

    Returns
    -------
    Volume
        Nothing but the ``info`` file has been read.

    Raises
    ------
    InfoError
        If the ``info`` file is missing, unreachable or malformed; names file and member.
    """
    location = Location.parse(url)
    info_url = location.object_url("info")
    stored = _read_info(location)
    if stored is None:
        raise InfoError(f"{info_url}: there is no such file, so this is not a precomputed volume")
    try:
        data = stored.unwrapped(INFO_LIMIT_BYTES)
    except CodecError as error:
        raise InfoError(f"{info_url}: {error}") from error
    return Volume(location, VolumeInfo.from_json(data, info_url))


def _read_info(location: Location) -> StoredObject | None:
    info_url = location.object_url("info")
    reading = ObjectStore.at(location).read("info", limit=INFO_LIMIT_BYTES)
    try:
        return reading.result(_INFO_TIMEOUT_SECONDS)
    except TimeoutError:
        reading.cancel()
        seconds = f"{_INFO_TIMEOUT_SECONDS:.0f} seconds"
        raise InfoError(f"{info_url}: no answer within {seconds}") from None
    except OSError as error:
        raise InfoError(f"{info_url}: {error}") from error


def create_volume(
    url: str | os.PathLike[str],
    *,
    size: Sequence[int],
    resolution: Sequence[float],
    chunk_size: Sequence[int],
    encoding: str,
    data_type: str = "float32",
    num_channels: int = 3,
    voxel_offset: Sequence[int] = (0, 0, 0),
    layer_type: str = "image",
) -> "Volume":
    """Create a volume of one scale, with no chunks yet.

    Parameters
    ----------
    url : str or path
        The folder to create it in, as for `open_volume`.
    size, voxel_offset : sequence of int
        Extent and lowest corner in voxels, x, y, z.
    resolution : sequence of float
        Nanometres a voxel, x, y, z.
    chunk_size : sequence of int
        Extent of a chunk in voxels, x, y, z.
    encoding : str
        "kempressed", "fpzip", "raw" or "compressed_segmentation".
    data_type : str
        Name of a numpy dtype.
    num_channels : int
        Values a voxel.
    layer_type : {"image", "segmentation"}
        What the values mean.

    Raises
    ------
    InfoError
        If there is an ``info`` file already, a parameter is not legal, or the place cannot be
        written to.
    """
    steps = _plain_numbers(resolution)
    scale: dict[str, Any] = {
        "key": scale_key(steps),
        "size": _plain_numbers(size),
        "resolution": steps,
        "voxel_offset": _plain_numbers(voxel_offset),
        "chunk_sizes": [_plain_numbers(chunk_size)],
        "encoding": encoding,
    }
    if encoding == "compressed_segmentation":
        scale["compressed_segmentation_block_size"] = [8, 8, 8]
    members = {
        "type": layer_type,
        "data_type": data_type if isinstance(data_type, str) else np.dtype(data_type).name,
        "num_channels": num_channels,
        "scales": [scale],
    }
    location = Location.parse(url)
    return create_from_info(url, VolumeInfo.from_members(members, location.object_url("info")))


def create_from_info(url: str | os.PathLike[str], info: VolumeInfo) -> "Volume":
    """Create a volume, with no chunks yet, of which the whole ``info`` file is given.

    Raises
    ------
    InfoError
        If there is an ``info`` file already, a scale's encoding is not supported, or the place
        cannot be written to.
    """
    location = Location.parse(url)
    info_url = location.object_url("info")
    for index, scale in enumerate(info.scales):
        try:
            find_encoder(scale.encoding)
        except CodecError as error:
            raise InfoError(f"{info_url}: scales[{index}].encoding: {error}") from None
    volume = Volume(location, info)
    try:
        written = ObjectStore.at(location).write_new("info", info.to_json())
    except OSError as error:
        raise InfoError(f"{info_url}: cannot be written: {error}") from error
    if not written:
        raise InfoError(
            f"{info_url}: there is a volume already; choose another folder or remove it first"
        )
    return volume


def scale_key(resolution_xyz: Sequence[float]) -> str:
    """Return the customary key of a scale, "4_4_40" for 4 x 4 x 40 nm."""
    return "_".join(str(step) for step in _plain_numbers(resolution_xyz))


def volume_exists(url: str | os.PathLike[str]) -> bool:
    """Tell whether there is an ``info`` file, whatever it holds.

    Raises
    ------
    InfoError
        If that cannot be found out.
    """
    return _read_info(Location.parse(url)) is not None


def remove_volume(volume: "Volume") -> None:
    """Remove a volume: its ``info`` file, its chunks and its shards, and nothing else.

    Raises
    ------
    ChunkError
        If that is not possible, or a scale lies outside of the volume's folder.
    """
    for scale in volume.scales:
        scale.require_inside()
    try:
        for scale in volume.scales:
            ObjectStore.at(scale.location).remove_matching(_CHUNK_OBJECT)
        # Last: what is only half removed can still be found, and removed, as the volume it was.
        ObjectStore.at(volume.location).remove("info")
    except OSError as error:
        raise ChunkError(f"{volume.url}: cannot be removed: {error}") from error


class Volume:
    """A precomputed volume: one or more scales of the same data.

    Parameters
    ----------
    location : Location
        The folder of the ``info`` file.
    info : VolumeInfo
        What the file says.

    Attributes
    ----------
    location : Location
        As given.
    info : VolumeInfo
        As given.
    scales : tuple of Scale
        Finest first.
    """

    def __init__(self, location: Location, info: VolumeInfo):
        self.location = location
        self.info = info
        self.scales = tuple(Scale(self, index) for index in range(len(info.scales)))

    @property
    def url(self) -> str:
        """The path or URL of the volume; opens it again."""
        return self.location.url

    def __repr__(self) -> str:
        keys = ", ".join(scale.info.key for scale in self.scales)
        return f"<Volume {self.url} ({self.info.type}, {self.info.data_type}): {keys}>"


class Scale:
    """One scale of a volume.

    Parameters
    ----------
    volume : Volume
        The volume.
    index : int
        Which of its scales.

    Attributes
    ----------
    info : ScaleInfo
        What the ``info`` file says of this scale.
    location : Location
        The folder of its chunks.
    grid : ChunkGrid
        Its chunks.
    dtype : numpy.dtype
        Type of the values.
    num_channels : int
        Values a voxel.
    array : LazyArray
        Its values, read-only, axes (c, z, y, x).
    """

    def __init__(self, volume: Volume, index: int):
        info: ScaleInfo = volume.info.scales[index]
        self.info = info
        self.grid = ChunkGrid(info.size, info.chunk_sizes[0], info.voxel_offset)
        self.dtype = np.dtype(volume.info.data_type)
        self.num_channels = volume.info.num_channels
        self._volume_location = volume.location
        try:
            self.location = volume.location.child(info.key)
        except ValueError as error:
            info_url = volume.location.object_url("info")
            raise InfoError(f"{info_url}: scales[{index}].key: {error}") from None
        self._store = (
            ObjectStore.at(self.location)
            if info.sharding is None
            else ShardStore(self.location, info.sharding)
        )
        self._reader = ChunkReader(
            volume.url,
            info,
            self.grid,
            self.dtype,
            self.num_channels,
            self._read_object,
            self._takes_ranges,
        )
        self.array = LazyArray(self._reader)

    @property
    def name(self) -> str:
        """Volume and scale, as messages call them."""
        return self._reader.name

    def __repr__(self) -> str:
        return f"<Scale {self.name}: {self.info.encoding} {self.array.shape} {self.dtype}>"

    def read_chunk(self, cell_xyz: Triple) -> NDArray[Any] | None:
        """Read one chunk.

        Returns
        -------
        ndarray or None
            (c, z, y, x), read-only; None where the volume holds no such chunk.

        Raises
        ------
        ChunkError
            If it is damaged or unreachable.
        """
        chunk_xyzc = self._reader.chunk(cell_xyz)
        return None if chunk_xyzc is None else flip_axes(chunk_xyzc)

    def load_chunk(self, cell_xyz: Triple) -> bytes | None:
        """Read what a chunk is stored as, past all caches; `decode_chunk` makes values of it.

        Returns
        -------
        bytes or None
            Undone from transport compression; None where the volume holds no such chunk.

        Raises
        ------
        ChunkError
            If it is unreachable, or its transport compression is damaged.
        """
        return self._reader.load(cell_xyz)

    def encode_chunks(
        self, chunks_czyx: Sequence[NDArray[Any]], *, seekable: bool = False
    ) -> list[bytes]:
        """Encode chunks as this scale does. Many threads may do so at the same time.

        Parameters
        ----------
        chunks_czyx : sequence of ndarray
            Each (c, z, y, x) of the scale's type, any strides. Two of one shape may be faster
            together than one after the other.
        seekable : bool
            Append a section table to each chunk, where the encoding knows such: z sections of
            kempressed chunks, and channels of fpzip chunks, can then be decoded alone.

        Raises
        ------
        CodecError
            If a chunk's type or number of channels is not the scale's, or the encoding is not
            supported.
        """
        for chunk_czyx in chunks_czyx:
            if chunk_czyx.dtype != self.dtype:
                raise CodecError(f"{self.name}: expected {self.dtype}, got {chunk_czyx.dtype}")
            if chunk_czyx.ndim != 4 or len(chunk_czyx) != self.num_channels:
                raise CodecError(
                    f"{self.name}: expected {self.num_channels} channels (c, z, y, x), "
                    f"got shape {chunk_czyx.shape}"
                )
        encode = find_encoder(self.info.encoding)
        return encode([flip_axes(chunk_czyx) for chunk_czyx in chunks_czyx], self.info, seekable)

    def decode_chunk(self, cell_xyz: Triple, data: bytes) -> NDArray[Any]:
        """Decode what `encode_chunks` made of a chunk, to (c, z, y, x), read-only.

        Raises
        ------
        CodecError
            If the bytes are not the whole chunk of that cell.
        """
        return flip_axes(self._reader.decode(cell_xyz, data))

    def check_chunk(self, cell_xyz: Triple, data: bytes) -> None:
        """Make sure, as far as that is possible without decoding, that bytes are a cell's chunk.

        Raises
        ------
        CodecError
            If they are not.
        """
        self._reader.check(cell_xyz, data)

    def write_chunk(self, cell_xyz: Triple, data: bytes) -> int:
        """Store an encoded chunk, whole or not at all. Many threads may do so at the same time.

        Parameters
        ----------
        cell_xyz : tuple of int
            Which chunk.
        data : bytes
            From `encode_chunks`.

        Returns
        -------
        int
            Bytes stored: fewer than `data` has where chunks are gzipped.

        Raises
        ------
        ChunkError
            If it cannot be written.
        """
        self.require_inside()
        if self.info.sharding is not None:
            raise ChunkError(
                f"{self.name}: the chunks of a sharded scale are written a shard at a time, with "
                "write_shard"
            )
        gzip = find_encoding(self.info.encoding).gzip
        try:
            stored = self._store.write(self.grid.name(cell_xyz), data, gzip=gzip)
        except OSError as error:
            raise self._reader.error(cell_xyz, f"cannot be written: {error}") from error
        self._reader.discard(cell_xyz)
        return stored

    def write_shard(self, chunks: Mapping[Triple, bytes]) -> int:
        """Store all chunks of a shard, together or not at all.

        Parameters
        ----------
        chunks : dict
            For each cell of the shard, what `encode_chunks` made of its chunk.

        Returns
        -------
        int
            Bytes of the chunks.

        Raises
        ------
        ChunkError
            If the scale is not sharded, or the shard cannot be written.
        """
        self.require_inside()
        if self.info.sharding is None:
            raise ChunkError(f"{self.name}: has no shards; write_chunk stores its chunks")
        keys = {chunk_key(cell, self.grid.shape_xyz): data for cell, data in chunks.items()}
        try:
            self._store.write_together(keys)
        except OSError as error:
            first = next(iter(chunks))
            raise self._reader.error(first, f"its shard cannot be written: {error}") from error
        for cell in chunks:
            self._reader.discard(cell)
        return sum(map(len, keys.values()))

    def write(self, array_czyx: Any, offset_xyz: Sequence[int]) -> None:
        """Write a region that consists of whole chunks.

        Parameters
        ----------
        array_czyx : array-like
            (c, z, y, x) of the scale's type, or (z, y, x) where there is one channel. Lazy arrays
            are read chunk by chunk.
        offset_xyz : sequence of int
            Absolute voxel coordinates of its lowest corner; must lie on the chunk grid, as must
            the upper end unless it is the upper end of the volume.

        Raises
        ------
        CodecError
            If the array's shape or type does not fit the volume.
        ChunkError
            If its place is not as above, or a chunk cannot be written.
        """
        array = array_czyx if hasattr(array_czyx, "shape") else np.asarray(array_czyx)
        box = self._aligned_box(array, offset_xyz)
        jobs: deque[Future[int]] = deque()
        for cell in self.grid.cells(box):
            chunk_box = self.grid.box(cell)
            x, y, z = (
                slice(low - origin, high - origin)
                for low, high, origin in zip(*chunk_box, box.start_xyz, strict=True)
            )
            # Read here and not in a worker: a lazy array needs the workers itself.
            part = np.asarray(array[..., z, y, x])
            jobs.append(worker_threads().submit(self._store_part, cell, part))
            if len(jobs) > 2 * (os.cpu_count() or 1):
                jobs.popleft().result()
        while jobs:
            jobs.popleft().result()

    def holds_chunks(self) -> bool:
        """Tell whether there are any chunks or shards, which may take a listing of all.

        Raises
        ------
        ChunkError
            If that cannot be found out.
        """
        try:
            return ObjectStore.at(self.location).has_matching(_CHUNK_OBJECT)
        except OSError as error:
            raise ChunkError(f"{self.name}: cannot be listed: {error}") from error

    def require_inside(self) -> None:
        """Raise ChunkError if the scale's key leads out of the volume's folder.

        Such scales may be read, but nothing is written where the user did not point to.
        """
        inside = self._volume_location.contains(self.location)
        if inside and self.location.is_local:
            # A link in the folder leads out of it as well as `..` does.
            root = Path(self._volume_location.path).resolve()
            inside = Path(self.location.path).resolve().is_relative_to(root)
        if not inside:
            raise ChunkError(
                f"{self.name}: refusing to write to {self.location.url}, "
                "which is outside the volume's folder"
            )

    def _read_object(
        self, cell_xyz: Triple, byte_range: slice | None = None
    ) -> Future[StoredObject | None]:
        if self.info.sharding is None:
            limit = self._reader.most_bytes(cell_xyz)
            return self._store.read(self.grid.name(cell_xyz), byte_range, limit)
        return self._store.read(chunk_key(cell_xyz, self.grid.shape_xyz), byte_range)

    def _takes_ranges(self) -> bool:
        # Shards that are gzipped inside must be fetched whole; TensorStore ranges over the others.
        packed = (self.info.sharding or {}).get("data_encoding", "raw") != "raw"
        if packed or not self._store.reads_ranges:
            return False
        if self.location.scheme not in ("http", "https"):
            return True
        return server_takes_ranges(self._volume_location)

    def _store_part(self, cell_xyz: Triple, part: NDArray[Any]) -> int:
        chunk_czyx = part[np.newaxis] if part.ndim == 3 else part
        return self.write_chunk(cell_xyz, self.encode_chunks([chunk_czyx])[0])

    def _aligned_box(self, array: Any, offset_xyz: Sequence[int]) -> Box:
        """Return the box that an array covers, once it is known to consist of whole chunks."""
        shape = tuple(array.shape)
        channels = shape[:-3] or (1,)
        if len(shape) not in (3, 4) or channels != (self.num_channels,):
            raise CodecError(
                f"{self.name}: expected {self.num_channels} channels (c, z, y, x), "
                f"got shape {shape}"
            )
        if array.dtype != self.dtype:
            raise CodecError(
                f"{self.name}: expected {self.dtype}, got {array.dtype}; "
                f"convert with array.astype({self.dtype.name!r})"
            )
        x, y, z = (operator.index(each) for each in offset_xyz)
        dz, dy, dx = shape[-3:]
        box = Box((x, y, z), (x + dx, y + dy, z + dz))
        bounds = self.grid.bounds
        aligned = self.grid.snapped(box.start_xyz)
        if aligned != box.start_xyz:
            raise ChunkError(
                f"{self.name}: offset {box.start_xyz} is not on the chunk grid; "
                f"the nearest offset that is: {aligned}"
            )
        for axis, stop, end, chunk, origin in zip(
            "xyz",
            box.stop_xyz,
            bounds.stop_xyz,
            self.grid.chunk_xyz,
            bounds.start_xyz,
            strict=True,
        ):
            if stop > end or (stop != end and (stop - origin) % chunk):
                below = stop - (stop - origin) % chunk
                ends = [each for each in (below, below + chunk, end) if each <= end]
                nearest = min(ends, key=lambda each: abs(each - stop))
                raise ChunkError(
                    f"{self.name}: the array ends at {axis} = {stop}, which is not on the chunk "
                    f"grid; the nearest end that is: {nearest}"
                )
        return box


def _plain_numbers(numbers: Any) -> list[Any]:
    """Return numbers as JSON has them: numpy's as Python's, and 4 for 4.0, as CloudVolume does.

    What is none is left to the check of the ``info`` file, which names its place.
    """
    return [_plain_number(each) for each in (numbers if np.iterable(numbers) else [numbers])]


def _plain_number(number: Any) -> Any:
    value = number.item() if isinstance(number, np.generic) else number
    return int(value) if isinstance(value, float) and value.is_integer() else value
