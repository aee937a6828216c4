"""Volumes of this package and of CloudVolume, in every encoding, read by each other."""

import logging
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from napari_kemp import open_volume
from napari_kemp.precomputed import VolumeInfo, create_from_info
from napari_kemp.precomputed.encodings import ENCODINGS


class Case(NamedTuple):
    """A row of the table: how chunks are stored.

    `error` is the largest one that the encoding may make; `ours` whether we write it; `seekable`
    whether we do so with section tables; `compress` how CloudVolume wraps the objects.
    """

    encoding: str
    dtype: str
    channels: int
    error: float = 0
    ours: bool = True
    seekable: bool = False
    compress: str | bool = False


TABLE = [
    Case("raw", "uint8", 1),
    Case("raw", "int16", 3, compress="gzip"),
    Case("raw", "float32", 3, compress="gzip"),
    Case("raw", "float64", 1, compress="br"),
    Case("fpzip", "float32", 3),
    Case("fpzip", "float32", 3, seekable=True),
    Case("fpzip", "float64", 2),
    Case("kempressed", "float32", 3, error=2**-23),
    Case("kempressed", "float32", 3, error=2**-23, seekable=True),
    Case("compressed_segmentation", "uint32", 1, compress="gzip"),
    Case("compressed_segmentation", "uint64", 1, compress="gzip"),
    Case("jpeg", "uint8", 1, error=12, ours=False),
    Case("jpeg", "uint8", 3, error=30, ours=False),
    Case("png", "uint8", 1, ours=False),
    Case("png", "uint8", 3, ours=False),
    Case("jxl", "uint8", 1, error=12, ours=False),
    Case("compresso", "uint32", 1, ours=False),
    Case("compresso", "uint64", 1, ours=False),
    Case("crackle", "uint16", 1, ours=False),
    Case("crackle", "uint64", 1, ours=False),
    Case("zfpc", "float32", 1, error=1e-3, ours=False),
    Case("zfpc", "float32", 3, error=1e-3, ours=False),
]

SIZE_XYZ = (37, 29, 11)
CHUNK_XYZ = (16, 8, 4)
OFFSET_XYZ = (3, -5, 7)

SHARDING = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "preshift_bits": 2,
    "hash": "murmurhash3_x86_128",
    "minishard_bits": 1,
    "shard_bits": 0,
    "minishard_index_encoding": "gzip",
    "data_encoding": "gzip",
}


def sharding_of(case):
    packed = case.encoding not in ("raw", "compressed_segmentation")
    return {**SHARDING, "data_encoding": "raw" if packed else "gzip"}


def values_of(case):
    """Blobs, (c, z, y, x), that lossy encodings hardly change, and different along each axis."""
    shape = (case.channels, *SIZE_XYZ[::-1])
    axes = np.meshgrid(*(np.linspace(0, 3 + i, n) for i, n in enumerate(shape)), indexing="ij")
    wave = sum(np.sin(axis) for axis in axes)
    wave = (wave - wave.min()) / np.ptp(wave)
    if np.dtype(case.dtype).kind == "f":
        return wave.astype(case.dtype)
    if case.encoding in ("compressed_segmentation", "compresso", "crackle"):
        return (wave * 6).astype(case.dtype) * np.array(7, case.dtype)
    return (wave * 200).astype(case.dtype)


def members_of(case, sharded):
    scale = {
        "key": "4_4_40",
        "size": SIZE_XYZ,
        "resolution": [4, 4, 40],
        "voxel_offset": OFFSET_XYZ,
        "chunk_sizes": [CHUNK_XYZ],
        "encoding": case.encoding,
    }
    if case.encoding == "compressed_segmentation":
        scale["compressed_segmentation_block_size"] = [8, 8, 8]
    if sharded:
        scale["sharding"] = sharding_of(case)
    labels = case.encoding in ("compressed_segmentation", "compresso", "crackle")
    return {
        "type": "segmentation" if labels else "image",
        "data_type": case.dtype,
        "num_channels": case.channels,
        "scales": [scale],
    }


def cloudvolume(folder, **options):
    from cloudvolume import CloudVolume

    logging.getLogger("cloudvolume").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CloudVolume(f"file://{folder}", progress=False, fill_missing=False, **options)


def write_ours(folder, case, sharded, values_czyx):
    info = VolumeInfo.from_members(members_of(case, sharded), f"{folder}/info")
    (scale,) = create_from_info(folder, info).scales
    x0, y0, z0 = OFFSET_XYZ
    encoded = {}
    for cell in scale.grid.cells():
        (x, y, z), (to_x, to_y, to_z) = scale.grid.box(cell)
        chunk = values_czyx[:, z - z0 : to_z - z0, y - y0 : to_y - y0, x - x0 : to_x - x0]
        (encoded[cell],) = scale.encode_chunks([chunk], seekable=case.seekable)
    if sharded:
        scale.write_shard(encoded)
    else:
        for cell, data in encoded.items():
            scale.write_chunk(cell, data)


def write_theirs(folder, case, sharded, values_czyx):
    volume = cloudvolume(folder, info=members_of(case, sharded), compress=case.compress)
    volume.commit_info()
    if not sharded:
        volume[:] = values_czyx.T
        return
    # What Igneous does: CloudVolume itself makes shards, and leaves it to others to store them.
    name, content = volume.image.make_shard(
        np.asfortranarray(values_czyx.T), volume.bounds, volume.mip, progress=False
    )
    (Path(folder) / "4_4_40").mkdir()
    (Path(folder) / "4_4_40" / name).write_bytes(content)


def read_both(folder, sharded):
    stored = [path.suffix for path in (Path(folder) / "4_4_40").iterdir()]
    assert (set(stored) == {".shard"}) == sharded
    ours = open_volume(folder).scales[0].array
    whole = ours[...]
    np.testing.assert_array_equal(ours[:, 6, ::2, 5:], whole[:, 6, ::2, 5:])
    return whole, np.asarray(cloudvolume(folder)[:]).T


def test_the_table_has_every_encoding():
    assert {case.encoding for case in TABLE} == set(ENCODINGS)
    assert {case.encoding for case in TABLE if case.ours} == {
        name for name, encoding in ENCODINGS.items() if encoding.encode_many
    }


def name_of(case):
    seekable = "-seekable" if case.seekable else ""
    return f"{case.encoding}-{case.dtype}-{case.channels}{seekable}"


@pytest.mark.parametrize("sharded", [False, True], ids=["chunks", "shards"])
@pytest.mark.parametrize("case", [case for case in TABLE if case.ours], ids=name_of)
def test_cloudvolume_reads_what_we_write(tmp_path, case, sharded):
    values = values_of(case)
    write_ours(tmp_path, case, sharded, values)
    ours, theirs = read_both(tmp_path, sharded)
    np.testing.assert_array_equal(theirs, ours)
    assert theirs.dtype == ours.dtype == case.dtype
    np.testing.assert_allclose(theirs, values, rtol=0, atol=case.error)


@pytest.mark.parametrize("sharded", [False, True], ids=["chunks", "shards"])
@pytest.mark.parametrize("case", [case for case in TABLE if not case.seekable], ids=name_of)
def test_we_read_what_cloudvolume_writes(tmp_path, case, sharded):
    values = values_of(case)
    write_theirs(tmp_path, case, sharded, values)
    ours, theirs = read_both(tmp_path, sharded)
    assert ours.dtype == case.dtype
    np.testing.assert_allclose(ours.astype(float), values, rtol=0, atol=case.error)
    if case.encoding in ("jpeg", "png") and case.channels > 1:
        return  # CloudVolume mixes the colours of what it reads up
    np.testing.assert_array_equal(ours, theirs)
