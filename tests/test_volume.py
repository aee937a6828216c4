import json
import logging
import pickle
import threading
import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_kemp import KempError, create_volume, open_volume
from napari_kemp.errors import ChunkError, CodecError, InfoError
from napari_kemp.precomputed import (
    LazyArray,
    VolumeInfo,
    create_from_info,
    remove_volume,
)
from napari_kemp.precomputed import reader as reader_module
from napari_kemp.precomputed.cache import SharedCache, shared_cache


def cloudvolume(url, mip=0, **options):
    from cloudvolume import CloudVolume

    logging.getLogger("cloudvolume").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CloudVolume(f"file://{url}", mip=mip, progress=False, fill_missing=True, **options)


def values_of(shape_czyx, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape_czyx).astype(dtype)
    values = rng.integers(0, np.iinfo(dtype).max, 7, dtype=dtype, endpoint=True)
    return rng.choice(values, shape_czyx)


SMALL = {
    "size": (20, 17, 9),
    "resolution": (4, 4, 40),
    "chunk_size": (8, 8, 4),
    "encoding": "fpzip",
    "voxel_offset": (-5, 7, 3),
}


@pytest.fixture
def small(tmp_path):
    """A volume of 3 x 3 x 3 chunks, and what is in it."""
    volume = create_volume(tmp_path / "small", **SMALL)
    values = values_of((3, 9, 17, 20), np.float32)
    volume.scales[0].write(values, (-5, 7, 3))
    return volume, values


# --- against CloudVolume --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["affinities-kempressed", "affinities-fpzip", "affinities-sharded", "em", "segmentation"],
)
def test_real_volumes_are_read_as_cloudvolume_reads_them(isbi, name):
    volume = open_volume(isbi / name)
    for mip, scale in enumerate(volume.scales):
        theirs = np.asarray(cloudvolume(isbi / name, mip)[:]).T
        ours = scale.array[...]
        assert ours.shape == scale.array.shape == theirs.shape
        assert ours.dtype == scale.array.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


CASES = [
    ("kempressed", "float32", 3),
    ("fpzip", "float32", 3),
    ("fpzip", "float64", 2),
    ("raw", "uint8", 1),
    ("raw", "int16", 3),
    ("raw", "float32", 1),
    ("compressed_segmentation", "uint32", 1),
    ("compressed_segmentation", "uint64", 1),
]


@pytest.mark.parametrize(("encoding", "dtype", "channels"), CASES)
def test_what_we_write_cloudvolume_reads(tmp_path, encoding, dtype, channels):
    changes = {"encoding": encoding, "data_type": dtype, "num_channels": channels}
    if encoding == "compressed_segmentation":
        changes["layer_type"] = "segmentation"
    volume = create_volume(tmp_path / "v", **{**SMALL, **changes})
    values = values_of((channels, 9, 17, 20), dtype)
    volume.scales[0].write(values, (-5, 7, 3))
    theirs = np.asarray(cloudvolume(tmp_path / "v")[:]).T
    ours = open_volume(tmp_path / "v").scales[0].array[...]
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == theirs.dtype == dtype
    if encoding == "kempressed":
        np.testing.assert_array_equal(ours, (values + np.float32(2)) - np.float32(2))
    else:
        np.testing.assert_array_equal(ours, values)


@pytest.mark.parametrize("compress", [False, "gzip", "br", "zstd"])
@pytest.mark.parametrize(("encoding", "dtype", "channels"), CASES)
def test_what_cloudvolume_writes_we_read(tmp_path, encoding, dtype, channels, compress):
    from cloudvolume import CloudVolume

    info = CloudVolume.create_new_info(
        num_channels=channels,
        layer_type="segmentation" if encoding == "compressed_segmentation" else "image",
        data_type=dtype,
        encoding=encoding,
        resolution=(4, 4, 40),
        voxel_offset=(-5, 7, 3),
        volume_size=(20, 17, 9),
        chunk_size=(8, 8, 4),
    )
    theirs = cloudvolume(tmp_path / "v", info=info, compress=compress, bounded=True)
    theirs.commit_info()
    values = values_of((channels, 9, 17, 20), dtype)
    theirs[:] = values.T
    suffix = {False: "", "gzip": ".gz", "br": ".br", "zstd": ".zstd"}[compress]
    assert (tmp_path / "v" / "4_4_40" / f"3-11_15-23_3-7{suffix}").is_file()
    ours = open_volume(tmp_path / "v").scales[0].array[...]
    np.testing.assert_array_equal(ours, np.asarray(theirs[:]).T)


def test_channels_of_a_segmentation_are_read_by_tensorstore(tmp_path):
    import tensorstore as ts

    changes = {
        "encoding": "compressed_segmentation",
        "data_type": "uint64",
        "num_channels": 2,
        "layer_type": "segmentation",
    }
    volume = create_volume("memory://segmentation/", **{**SMALL, **changes})
    values = values_of((2, 9, 17, 20), "uint64")
    volume.scales[0].write(values, (-5, 7, 3))
    np.testing.assert_array_equal(volume.scales[0].array[...], values)

    disk = create_volume(tmp_path / "v", **{**SMALL, **changes})
    for cell in disk.scales[0].grid.cells():
        name = disk.scales[0].grid.name(cell)
        data = volume.scales[0].encode_chunks([volume.scales[0].read_chunk(cell)])[0]
        (tmp_path / "v" / "4_4_40").mkdir(exist_ok=True)
        (tmp_path / "v" / "4_4_40" / name).write_bytes(data)
    spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{tmp_path}/v/"}
    theirs = ts.open(spec).result().read().result()
    np.testing.assert_array_equal(theirs.T, values)
    np.testing.assert_array_equal(disk.scales[0].array[...], values)


@pytest.mark.parametrize("suffix", [".gz", ".br", ".zstd"])
def test_the_info_file_may_be_compressed(tmp_path, small, suffix):
    from cloudfiles import CloudFile

    volume, values = small
    info = tmp_path / "small" / "info"
    content = info.read_bytes()
    info.unlink()
    CloudFile(f"file://{info}").put(content, compress={".gz": "gzip"}.get(suffix, suffix[1:]))
    assert [path.name for path in info.parent.glob("info*")] == [f"info{suffix}"]
    np.testing.assert_array_equal(open_volume(volume.url).scales[0].array[...], values)
    with pytest.raises(InfoError, match="there is a volume already"):
        create_volume(volume.url, **SMALL)

    write_info(tmp_path / "flat", {"key": ".", "encoding": "raw"})
    flat = open_volume(tmp_path / "flat")
    flat.scales[0].write(np.ones((1, 4, 8, 8), np.float32), (0, 0, 0))
    (tmp_path / "flat" / "notes").write_text("mine")
    remove_volume(flat)
    assert [path.name for path in (tmp_path / "flat").iterdir()] == ["notes"]


# --- the volumes of users -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "resolution", "chunk", "encoding", "key"),
    [
        ((80000, 60000, 1890), (4, 4, 40), (256, 256, 16), "fpzip", "4_4_40"),
        ((250000, 250000, 25000), (4, 4, 40), (128, 128, 64), "kempressed", "4_4_40"),
    ],
)
def test_very_large_volumes_cost_nothing(tmp_path, size, resolution, chunk, encoding, key):
    began = time.perf_counter()
    created = create_volume(
        tmp_path, size=size, resolution=resolution, chunk_size=chunk, encoding=encoding
    )
    assert created.scales[0].info.key == key
    scale = open_volume(tmp_path).scales[0]
    array = scale.array
    assert array.shape == (3, *reversed(size))
    assert array.chunks == (3, *reversed(chunk))
    assert array.nbytes == 3 * 4 * size[0] * size[1] * size[2]
    assert len(array) == 3
    assert array[2, -1, -1, -1] == 0
    assert (array[:, size[2] - 3, 12345:12347, :: size[0] // 3] == 0).all()
    for too_large in (array, array.channel(0)):
        with pytest.raises(MemoryError, match="index a part of it"):
            np.asarray(too_large)
    assert time.perf_counter() - began < 10

    corner = (chunk[0] * 300, chunk[1] * 200, chunk[2] * 100)
    values = values_of((3, chunk[2], chunk[1], chunk[0]), np.float32)
    scale.write(values, corner)
    x, y, z = corner
    theirs = cloudvolume(tmp_path)
    found = theirs[x : x + chunk[0], y : y + chunk[1], z : z + chunk[2]]
    ours = array[:, z : z + chunk[2], y : y + chunk[1], x : x + chunk[0]]
    np.testing.assert_array_equal(ours, np.asarray(found).T)


def test_the_info_file_is_what_cloudvolume_makes(tmp_path):
    from cloudvolume import CloudVolume

    for i, (resolution, encoding, data_type) in enumerate(
        [
            ((4, 4, 40), "kempressed", "float32"),
            ((4.5, 4.0, 40.25), "fpzip", "float32"),
            ((4.0, 4.0, 40.0), "raw", "uint8"),
            (np.array([8, 8, 40]), "compressed_segmentation", "uint64"),
        ]
    ):
        ours = create_volume(
            tmp_path / str(i),
            size=np.array([20, 17, 9]),
            resolution=resolution,
            chunk_size=(8, 8, 4),
            encoding=encoding,
            data_type=data_type,
            num_channels=1,
            voxel_offset=(-5, 7, 3),
        )
        theirs = CloudVolume.create_new_info(
            num_channels=1,
            layer_type="image",
            data_type=data_type,
            encoding=encoding,
            resolution=list(resolution),
            voxel_offset=(-5, 7, 3),
            volume_size=(20, 17, 9),
            chunk_size=(8, 8, 4),
        )
        written = json.loads((tmp_path / str(i) / "info").read_bytes())
        # From 4.0, CloudVolume makes the key "4.0"; a layer's scale always is such a float.
        theirs["scales"][0]["key"] = theirs["scales"][0]["key"].replace(".0", "")
        assert written == theirs
        assert cloudvolume(tmp_path / str(i)).shape == (20, 17, 9, 1)
        assert open_volume(ours.url).info == ours.info


# --- creating -------------------------------------------------------------------------------------


def test_an_existing_volume_is_not_replaced(small, tmp_path):
    volume, _ = small
    before = (tmp_path / "small" / "info").read_bytes()
    with pytest.raises(InfoError, match=f"{volume.url}/info: there is a volume already"):
        create_volume(volume.url, **{**SMALL, "size": (1, 1, 1)})
    assert (tmp_path / "small" / "info").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoding": "bossdb"}, r"scales\[0\].encoding: the encoding 'bossdb' is not supported"),
        ({"data_type": "uint8"}, r"scales\[0\].encoding: fpzip chunks hold float32 or float64"),
        ({"chunk_size": (8, 8, 0)}, r"scales\[0\].chunk_sizes\[0\]\[2\]: expected a positive"),
        ({"size": (8, 8)}, r"scales\[0\].size\[2\]: missing"),
        ({"resolution": (4, 4, float("nan"))}, r"scales\[0\].resolution\[2\]: expected a finite"),
        ({"layer_type": "mesh"}, "type: expected 'image' or 'segmentation'"),
    ],
)
def test_nothing_is_created_that_could_not_be_opened(tmp_path, change, message):
    with pytest.raises(InfoError, match=message):
        create_volume(tmp_path / "v", **{**SMALL, **change})
    assert not (tmp_path / "v").exists()


def test_a_folder_without_info_is_not_a_volume(tmp_path):
    with pytest.raises(InfoError, match=f"{tmp_path}/info: there is no such file"):
        open_volume(tmp_path)


def test_removing_takes_the_volume_and_nothing_else(small, tmp_path):
    volume, _ = small
    names = ("notes.txt", "4_4_40/notes.txt", "4_4_40/nested/0-4_0-8_0-8")
    (tmp_path / "small" / "4_4_40" / "nested").mkdir()
    for name in names:
        (tmp_path / "small" / name).write_text("mine")
    remove_volume(volume)
    assert {p for p in (tmp_path / "small").rglob("*") if p.is_file()} == {
        tmp_path / "small" / name for name in names
    }
    create_volume(volume.url, **SMALL)


# --- several scales -------------------------------------------------------------------------------


def info_of(*scales, **members):
    base = {"resolution": [4, 4, 40], "size": [8, 8, 4], "chunk_sizes": [[8, 8, 4]]}
    volume = {"type": "image", "data_type": "float32", "num_channels": 1, **members}
    return {**volume, "scales": [{**base, **scale} for scale in scales]}


def write_info(folder, *scales, **members):
    folder.mkdir(exist_ok=True)
    (folder / "info").write_text(json.dumps(info_of(*scales, **members)))


def test_each_scale_has_its_own_encoding_and_grid(tmp_path):
    members = info_of(
        {"key": "fine", "encoding": "kempressed"},
        {"key": "coarse", "encoding": "raw", "size": [4, 4, 4], "voxel_offset": [1, 2, 3]},
    )
    info = VolumeInfo.from_members(members, "info")
    volume = create_from_info(tmp_path / "v", info)
    fine, coarse = values_of((1, 4, 8, 8), "float32"), values_of((1, 4, 4, 4), "float32", 1)
    volume.scales[0].write(fine, (0, 0, 0))
    volume.scales[1].write(coarse, (1, 2, 3))
    found = open_volume(tmp_path / "v")
    np.testing.assert_allclose(found.scales[0].array, fine, atol=2**-23)
    np.testing.assert_array_equal(found.scales[1].array, coarse)
    np.testing.assert_array_equal(np.asarray(cloudvolume(tmp_path / "v", 1)[:]).T, coarse)


def test_a_scale_that_cannot_be_read_leaves_the_others_alone(tmp_path):
    sharding = {"@type": "neuroglancer_uint64_sharded_v7"}
    write_info(
        tmp_path,
        {"key": "a", "encoding": "bossdb"},
        {"key": "b", "encoding": "raw", "sharding": sharding},
        {"key": "c", "encoding": "raw"},
    )
    volume = open_volume(tmp_path)
    volume.scales[2].write(np.ones((4, 8, 8), np.float32), (0, 0, 0))
    assert (volume.scales[2].array[...] == 1).all()
    with pytest.raises(ChunkError, match=f"{tmp_path}, scale a, chunk 0-8_0-8_0-4: .*'bossdb'"):
        volume.scales[0].array[...]
    with pytest.raises(ChunkError, match=f"{tmp_path}, scale b, chunk 0-8_0-8_0-4: .*@type"):
        volume.scales[1].array[...]
    with pytest.raises(ChunkError, match="written a shard at a time"):
        volume.scales[1].write_chunk((0, 0, 0), b"")


def test_keys_may_lead_out_for_reading_but_not_for_writing(tmp_path):
    values = values_of((1, 4, 8, 8), "float32")
    other = create_volume(tmp_path / "b", **{**SMALL, "size": (8, 8, 4), "num_channels": 1})
    other.scales[0].write(values, (-5, 7, 3))
    key = "../b/4_4_40"
    write_info(tmp_path / "a", {"key": key, "encoding": "fpzip", "voxel_offset": [-5, 7, 3]})
    volume = open_volume(tmp_path / "a")
    np.testing.assert_array_equal(volume.scales[0].array, values)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ChunkError, match=r"refusing to write to .*/b/4_4_40, which is outside"):
        volume.scales[0].write(values * 2, (-5, 7, 3))
    with pytest.raises(ChunkError, match="refusing"):
        remove_volume(volume)
    assert sorted(tmp_path.rglob("*")) == before
    np.testing.assert_array_equal(other.scales[0].array, values)


def test_a_link_that_leads_out_is_not_written_through(small, tmp_path):
    volume, values = small
    folder = tmp_path / "small" / "4_4_40"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    volume = open_volume(volume.url)
    with pytest.raises(ChunkError, match="outside the volume's folder"):
        volume.scales[0].write(values * 2, (-5, 7, 3))
    with pytest.raises(ChunkError, match="outside the volume's folder"):
        remove_volume(volume)
    np.testing.assert_array_equal(open_volume(volume.url).scales[0].array[...], values)


def test_a_key_that_leaves_the_disk_is_an_error_of_the_info_file(tmp_path):
    write_info(tmp_path, {"key": "../" * 50 + "etc", "encoding": "raw"})
    with pytest.raises(InfoError, match=r"info: scales\[0\].key: .* leads out of"):
        open_volume(tmp_path)


def test_an_empty_scale(tmp_path):
    volume = create_volume(tmp_path, **{**SMALL, "size": (20, 0, 9)})
    assert volume.scales[0].array[...].shape == (3, 9, 0, 20)


def test_shards(tmp_path):
    import tensorstore as ts

    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1",
        "preshift_bits": 1,
        "hash": "murmurhash3_x86_128",
        "minishard_bits": 1,
        "shard_bits": 2,
        "minishard_index_encoding": "gzip",
        "data_encoding": "gzip",
    }
    place = {"size": [20, 17, 9], "voxel_offset": [-5, 7, 3], "chunk_sizes": [[8, 4, 2]]}
    write_info(tmp_path, {"key": "k", "encoding": "raw", "sharding": sharding, **place})
    spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{tmp_path}/"}
    values = values_of((1, 9, 17, 20), "float32")
    ts.open(spec).result().write(values.T).result()
    assert all(path.suffix == ".shard" for path in (tmp_path / "k").iterdir())
    array = open_volume(tmp_path).scales[0].array
    np.testing.assert_array_equal(array[0, 8, 5:], values[0, 8, 5:])
    np.testing.assert_array_equal(array[...], values)


# --- the lazy array -------------------------------------------------------------------------------


def keys_for(shape):
    """Indices that numpy and a lazy array both take, most of them not empty."""

    def axis(length):
        bound = st.none() | st.integers(-length - 3, length + 3)
        step = st.none() | st.integers(-9, 9).filter(bool)
        slices = st.builds(slice, bound, bound, step)
        whole = st.builds(slice, st.none(), st.none(), step)
        integers = st.integers(-length, length - 1) if length else st.nothing()
        return slices | whole | integers

    def with_ellipsis(key):
        positions = st.integers(0, len(key))
        return positions.flatmap(
            lambda at: st.integers(at, len(key)).map(lambda to: (*key[:at], ..., *key[to:]))
        )

    whole = st.tuples(*map(axis, shape))
    first = st.integers(0, len(shape)).flatmap(lambda n: st.tuples(*map(axis, shape[:n])))
    return whole | first | whole.flatmap(with_ellipsis) | axis(shape[0])


@settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_indexing_is_numpys(data):
    size = data.draw(st.tuples(*[st.integers(1, 13)] * 3))
    channels = data.draw(st.integers(1, 3))
    offset = data.draw(st.tuples(*[st.integers(-50, 50)] * 3))
    volume = create_volume(
        f"memory://indexing/{time.monotonic_ns()}",
        size=size,
        resolution=(1, 1, 1),
        chunk_size=data.draw(st.tuples(*[st.integers(1, 7)] * 3)),
        encoding="raw",
        data_type="int32",
        num_channels=channels,
        voxel_offset=offset,
    )
    scale = volume.scales[0]
    shape = (channels, *reversed(size))
    values = np.arange(np.prod(shape), dtype=np.int32).reshape(shape) + 1
    scale.write(values, offset)
    for _ in range(5):
        key = data.draw(keys_for(shape))
        expected, found = values[key], scale.array[key]
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(found, expected)
    channel = data.draw(st.integers(0, channels - 1))
    key = data.draw(keys_for(shape[1:]))
    np.testing.assert_array_equal(scale.array.channel(channel)[key], values[channel][key])


@pytest.mark.parametrize(
    "key",
    [3, -4, (0, 9), (..., 20), (0, 0, 0, 0, 0), (..., ...), [0], None, True, 1.5, "x", (0, [1])],
)
def test_what_is_no_index_is_an_index_error(small, key):
    with pytest.raises(IndexError):
        small[0].scales[0].array[key]


def test_the_array_protocol(small):
    volume, values = small
    array = volume.scales[0].array
    assert isinstance(array, LazyArray)
    assert (array.shape, array.ndim, array.size) == (values.shape, 4, values.size)
    assert (array.dtype, array.nbytes, len(array)) == (values.dtype, values.nbytes, 3)
    np.testing.assert_array_equal(np.asarray(array), values)
    assert np.asarray(array, np.float64).dtype == np.float64
    np.testing.assert_array_equal(np.stack(list(array)), values)
    assert np.mean(array) == values.mean()
    with pytest.raises(ValueError, match="without a copy"):
        np.array(array, copy=False)
    assert repr(array) == (f"<LazyArray czyx (3, 9, 17, 20) float32 of {volume.url}, scale 4_4_40>")


def test_it_travels_to_another_process(small):
    volume, values = small
    volume.scales[0].array[0, 0, 0, 0]
    for array in (volume.scales[0].array, volume.scales[0].array.channel(1)):
        travelled = pickle.loads(pickle.dumps(array))
        np.testing.assert_array_equal(travelled, array)
    assert (travelled.shape, travelled.dtype) == (values.shape[1:], values.dtype)


def test_dask_takes_it_as_it_is(small):
    dask_array = pytest.importorskip("dask.array")
    volume, values = small
    lazy = dask_array.from_array(volume.scales[0].array)
    np.testing.assert_array_equal(lazy.compute(), values)
    chunked = dask_array.from_array(volume.scales[0].array, chunks=volume.scales[0].array.chunks)
    np.testing.assert_array_equal(chunked[1, ::2].compute(), values[1, ::2])


def test_channels_share_chunks(small, monkeypatch):
    volume, values = small
    array = open_volume(volume.url).scales[0].array
    for channel in range(3):
        view = array.channel(channel)
        assert (view.shape, view.chunks, view.ndim) == ((9, 17, 20), (4, 8, 8), 3)
        np.testing.assert_array_equal(view[...], values[channel])
    for index in (3, -1):
        with pytest.raises(IndexError):
            array.channel(index)


def test_results_belong_to_the_caller(small):
    volume, values = small
    array = volume.scales[0].array
    array[...][:] = 0
    np.testing.assert_array_equal(array[...], values)
    with pytest.raises(ValueError, match="read-only"):
        volume.scales[0].read_chunk((0, 0, 0))[:] = 0


def recorded_cells(scale, monkeypatch):
    cells = []
    real = scale._reader._read

    def read(cell, byte_range=None):
        cells.append(cell)
        return real(cell, byte_range)

    monkeypatch.setattr(scale._reader, "_read", read)
    return cells


def test_only_chunks_that_are_needed_are_read(small, monkeypatch):
    scale = open_volume(small[0].url).scales[0]
    cells = recorded_cells(scale, monkeypatch)
    scale.array[0, 0, 0, 0]
    assert cells == [(0, 0, 0)]
    cells.clear()
    scale.array[:, 8, 16, ::19]
    assert cells == [(0, 2, 2), (2, 2, 2)]
    cells.clear()
    scale.array[:, 3:3], scale.array[0:0]
    assert cells == []


def test_what_is_missing_is_background_and_may_come_later(small, tmp_path):
    volume, values = small
    chunk = tmp_path / "small" / "4_4_40" / "3-11_15-23_7-11"
    data = chunk.read_bytes()
    chunk.unlink()
    scale = open_volume(volume.url).scales[0]
    expected = values.copy()
    expected[:, 4:8, 8:16, 8:16] = 0
    np.testing.assert_array_equal(scale.array[...], expected)
    assert scale.read_chunk((1, 1, 1)) is None
    chunk.write_bytes(data)
    np.testing.assert_array_equal(scale.array[...], values)


def test_a_damaged_chunk_is_named_and_leaves_the_others_alone(small, tmp_path):
    volume, values = small
    chunk = tmp_path / "small" / "4_4_40" / "3-11_15-23_7-11"
    good = chunk.read_bytes()
    scale = open_volume(volume.url).scales[0]
    other_shape = chunk.with_name("11-15_15-23_7-11").read_bytes()
    for damaged in (b"", b"nonsense" * 10, good[: len(good) // 2], other_shape):
        chunk.write_bytes(damaged)
        with pytest.raises(ChunkError) as error:
            scale.array[...]
        assert str(error.value).startswith(f"{volume.url}, scale 4_4_40, chunk 3-11_15-23_7-11: ")
        np.testing.assert_array_equal(scale.array[:, :4], values[:, :4])
    chunk.write_bytes(good)
    np.testing.assert_array_equal(scale.array[...], values)


def test_reading_ahead_is_bounded(small, monkeypatch):
    scale = open_volume(small[0].url).scales[0]
    monkeypatch.setattr(reader_module, "_WINDOW_CELLS", 4)
    cells = recorded_cells(scale, monkeypatch)
    placed = []

    def place(cell, field, piece):
        assert len(cells) <= 4 * (len(placed) // 12 + 1)  # three channels a cell
        placed.append(cell)

    wanted = [(cell, range(3)) for cell in scale.grid.cells()]
    scale._reader.read(wanted, place)
    assert sorted(placed) == sorted(cell for cell, _ in wanted for _ in range(3))


def test_what_many_ask_for_at_once_is_decoded_once(small, monkeypatch):
    volume, values = small
    scale = open_volume(volume.url).scales[0]
    decoded = []
    real = reader_module.decode_group

    def slow(group, *args):
        decoded.extend(chunk.cell for chunk in group)
        time.sleep(0.01)
        return real(group, *args)

    monkeypatch.setattr(reader_module, "decode_group", slow)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: scale.array[...], range(8)):
            np.testing.assert_array_equal(found, values)
    assert sorted(decoded) == sorted(scale.grid.cells())


def test_only_a_server_is_waited_for_no_longer_than_the_timeout(small, monkeypatch):
    monkeypatch.setattr(reader_module, "_TIMEOUT_SECONDS", 0.05)
    volume, values = small
    scale = open_volume(volume.url).scales[0]
    decode = reader_module.decode_group
    monkeypatch.setattr(
        reader_module, "decode_group", lambda *args: (time.sleep(0.2), decode(*args))[1]
    )
    np.testing.assert_array_equal(scale.read_chunk((0, 0, 0)), values[:, :4, :8, :8])

    silent = Future()
    monkeypatch.setattr(scale._reader, "_read", lambda cell, byte_range: silent)
    with pytest.raises(ChunkError, match="scale 4_4_40, chunk 3-11_7-15_3-7: no answer within"):
        scale.read_chunk((1, 0, 0))


def test_unexpected_errors_reach_the_caller(small, monkeypatch):
    def fail(*args):
        raise ZeroDivisionError

    scale = open_volume(small[0].url).scales[0]
    monkeypatch.setattr(reader_module, "decode_group", fail)
    with pytest.raises(ZeroDivisionError):
        scale.array[...]
    monkeypatch.undo()
    np.testing.assert_array_equal(scale.array[...], small[1])


# --- the cache ------------------------------------------------------------------------------------


def load(cache, key, chunk):
    ((claimed, mine),) = cache.claim([key])
    if mine:
        cache.fulfil(key, claimed, chunk)
        return claimed.result(), True
    return claimed, False


def test_the_cache_is_bounded_and_drops_what_was_not_used():
    cache = SharedCache(1000)
    for key in "abcd":
        load(cache, key, np.zeros(250, np.uint8))
    load(cache, "a", None)
    load(cache, "e", np.zeros(250, np.uint8))
    assert cache.nbytes == 1000
    assert [load(cache, key, None)[1] for key in "acde"] == [False] * 4
    assert load(cache, "b", None)[1]
    load(cache, "huge", np.zeros(1001, np.uint8))
    assert cache.nbytes == 1000


def test_what_is_rewritten_while_it_loads_is_not_kept():
    cache = SharedCache(1000)
    ((stale, mine),) = cache.claim(["a"])
    assert mine
    cache.discard(["a"])
    ((fresh, mine),) = cache.claim(["a"])
    assert mine
    cache.fulfil("a", stale, np.zeros(1))
    cache.fulfil("a", fresh, np.ones(1))
    assert load(cache, "a", None) == (np.ones(1), False)


def test_a_volume_that_is_opened_again_is_read_again(small, tmp_path):
    volume, values = small
    np.testing.assert_array_equal(volume.scales[0].array[...], values)
    remove_volume(volume)
    create_volume(volume.url, **SMALL).scales[0].write(values * 2, (-5, 7, 3))
    np.testing.assert_array_equal(open_volume(volume.url).scales[0].array[...], values * 2)


def test_the_cache_is_one_for_all(small):
    before = shared_cache().nbytes
    for _ in range(2):
        open_volume(small[0].url).scales[0].array[...]
    assert shared_cache().nbytes - before == 2 * small[1].nbytes


# --- writing --------------------------------------------------------------------------------------


def test_regions_of_whole_chunks_are_written(tmp_path):
    volume = create_volume(tmp_path, **SMALL)
    scale = volume.scales[0]
    values = values_of((3, 9, 17, 20), np.float32)
    scale.write(values[:, 4:8, 8:, 8:16], (3, 15, 7))
    assert sorted(path.name for path in (tmp_path / "4_4_40").iterdir()) == [
        "3-11_15-23_7-11",
        "3-11_23-24_7-11",
    ]
    expected = np.zeros_like(values)
    expected[:, 4:8, 8:, 8:16] = values[:, 4:8, 8:, 8:16]
    np.testing.assert_array_equal(scale.array[...], expected)


def test_writing_over_what_was_read_is_seen(small):
    volume, values = small
    scale = volume.scales[0]
    np.testing.assert_array_equal(scale.array[...], values)
    scale.write(values + 1, (-5, 7, 3))
    np.testing.assert_array_equal(scale.array[...], values + 1)


def test_any_array_may_be_written(small, tmp_path):
    dask_array = pytest.importorskip("dask.array")
    volume, values = small
    lazy = volume.scales[0].array
    for i, source in enumerate(
        [lazy, dask_array.from_array(values), np.asfortranarray(values), values[:, ::-1][:, ::-1]]
    ):
        copy = create_volume(tmp_path / str(i), **{**SMALL, "chunk_size": (20, 5, 3)})
        copy.scales[0].write(source, (-5, 7, 3))
        np.testing.assert_array_equal(copy.scales[0].array[...], values)
    single = create_volume(tmp_path / "single", **{**SMALL, "num_channels": 1})
    single.scales[0].write(lazy.channel(1), (-5, 7, 3))
    np.testing.assert_array_equal(single.scales[0].array[0], values[1])


@pytest.mark.parametrize(
    ("shape", "offset", "message"),
    [
        ((3, 4, 8, 8), (-4, 7, 3), r"offset \(-4, 7, 3\) is not .*nearest .*: \(-5, 7, 3\)"),
        ((3, 4, 8, 8), (2, 20, 3), r"nearest offset that is: \(3, 23, 3\)"),
        ((3, 4, 8, 8), (-500, 700, 3), r"nearest offset that is: \(-5, 23, 3\)"),
        ((3, 4, 8, 7), (-5, 7, 3), "ends at x = 2, .*the nearest end that is: 3"),
        ((3, 4, 8, 8), (11, 7, 3), "ends at x = 19, .*the nearest end that is: 15"),
        ((3, 2, 8, 8), (-5, 7, 11), "ends at z = 13, .*the nearest end that is: 12"),
    ],
)
def test_what_is_not_aligned_is_refused(small, shape, offset, message):
    volume, values = small
    with pytest.raises(ChunkError, match=message):
        volume.scales[0].write(np.zeros(shape, np.float32), offset)
    np.testing.assert_array_equal(open_volume(volume.url).scales[0].array, values)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4, 8, 8)), r"expected float32, got float64; convert with array.astype"),
        (np.zeros((2, 4, 8, 8), np.float32), "expected 3 channels"),
        (np.zeros((4, 8, 8), np.float32), "expected 3 channels"),
        (np.zeros((8, 8), np.float32), "expected 3 channels"),
    ],
)
def test_other_types_and_channels_are_refused(small, array, message):
    volume, _ = small
    with pytest.raises(CodecError, match=message):
        volume.scales[0].write(array, (-5, 7, 3))
    if array.ndim == 4:
        with pytest.raises(CodecError, match=message.partition(";")[0]):
            volume.scales[0].encode_chunks([array])


def test_chunks_are_encoded_and_written_from_many_threads(tmp_path):
    volume = create_volume(tmp_path, **{**SMALL, "encoding": "raw", "num_channels": 1})
    scale = volume.scales[0]
    values = values_of((1, 9, 17, 20), np.float32)
    start = scale.grid.bounds.start_xyz

    def write(cell):
        x, y, z = (
            slice(a - o, b - o) for a, b, o in zip(*scale.grid.box(cell), start, strict=True)
        )
        (data,) = scale.encode_chunks([values[:, z, y, x]])
        return cell, data, scale.write_chunk(cell, data)

    with ThreadPoolExecutor(6) as pool:
        written = list(pool.map(write, scale.grid.cells()))
    for cell, data, stored in written:
        path = tmp_path / "4_4_40" / f"{scale.grid.name(cell)}.gz"
        assert path.stat().st_size == stored
        assert scale.read_chunk(cell).tobytes() == data
    np.testing.assert_array_equal(scale.array[...], values)


def test_writing_a_lazy_array_to_another_volume_does_not_lock_up(tmp_path, small):
    volume, _ = small
    done = threading.Event()

    def copy():
        target = create_volume(tmp_path / "copy", **{**SMALL, "chunk_size": (1, 17, 9)})
        target.scales[0].write(volume.scales[0].array, (-5, 7, 3))
        done.set()

    threading.Thread(target=copy, daemon=True).start()
    assert done.wait(30)


def test_errors_are_one_family():
    for error in (ChunkError, CodecError, InfoError):
        assert issubclass(error, KempError)
