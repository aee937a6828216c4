"""What a save reads, and how often: each chunk of the source once, whatever the new chunks are."""

import pickle
from collections import Counter
from itertools import product

import dask.array as da
import numpy as np
import pytest

import napari_kemp
from napari_kemp import ExportError, open_volume
from napari_kemp.cli import main
from napari_kemp.export import as_source, make_plan
from napari_kemp.export.parts import load
from napari_kemp.export.rereads import chunks_read_again
from napari_kemp.precomputed import Scale
from napari_kemp.sample import make_affinities, make_neurites

AFFINITIES = make_affinities((96, 80, 36))


class Chunked:
    """An array that decodes a whole chunk for each voxel of it that is asked for."""

    def __init__(self, array, chunks):
        self.array, self.chunks, self.decoded = array, chunks, Counter()
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key):
        ranges = [
            range(part.start // n, -(-part.stop // n))
            for part, n in zip(key[1:], self.chunks[1:], strict=True)
        ]
        self.decoded.update(product(*ranges))
        return self.array[key]


@pytest.mark.parametrize("mips", [0, 2])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((3, 12, 16, 16), (32, 32, 12)),  # smaller, and a divisor
        ((3, 4, 64, 64), (16, 16, 16)),  # flat chunks become deep ones
        ((3, 24, 20, 24), (16, 16, 16)),  # neither divides the other
        ((3, 36, 80, 96), (16, 16, 16)),  # all of it in one
    ],
)
def test_each_chunk_of_the_source_is_read_once(tmp_path, old, new, mips):
    source = Chunked(AFFINITIES, old)
    napari_kemp.export(source, tmp_path / "saved", chunk_size=new, encoding="fpzip", mips=mips)
    np.testing.assert_array_equal(open_volume(tmp_path / "saved").scales[0].array, AFFINITIES)
    assert set(source.decoded.values()) == {1}


@pytest.mark.parametrize("mips", [0, 2])
@pytest.mark.parametrize("offset", [(0, 0, 0), (5, -3, 2)])
@pytest.mark.parametrize(
    ("old", "new", "start"),
    [
        ((3, 8, 16, 16), (16, 16, 8), (0, 0, 0)),
        ((3, 8, 16, 16), (16, 16, 8), (7, 16, 3)),  # begins inside a chunk
        ((3, 12, 32, 32), (16, 16, 12), (32, 32, 12)),  # where a chunk begins
        ((3, 36, 80, 96), (16, 16, 8), (1, 0, 0)),  # all of it in one
        ((3, 7, 23, 26), (16, 16, 8), (0, 0, 0)),  # ends never meet
    ],
)
def test_chunks_that_are_read_again_are_foretold(tmp_path, old, new, start, offset, mips):
    source = Chunked(AFFINITIES, old)
    arguments = {
        "chunk_size": new,
        "encoding": "raw",
        "mips": mips,
        "region": (start, (96, 80, 36)),
        "voxel_offset": offset,
    }
    chunks, again = chunks_read_again(make_plan(source, tmp_path / "saved", **arguments))
    napari_kemp.export(source, tmp_path / "saved", **arguments)
    assert len(source.decoded) == chunks
    assert sum(times > 1 for times in source.decoded.values()) == again
    if start in ((0, 0, 0), (32, 32, 12)) and old[1] != 7 and not (mips and any(offset)):
        assert again == 0


def test_volume_to_volume_reads_each_object_once(tmp_path, monkeypatch):
    napari_kemp.export(
        AFFINITIES,
        tmp_path / "from",
        encoding="raw",
        chunk_size=(64, 64, 4),
        voxel_offset=(5, 6, 7),
    )
    read = Counter()
    load_chunk = Scale.load_chunk

    def counted(self, cell_xyz):
        read[self.name, cell_xyz] += 1
        return load_chunk(self, cell_xyz)

    monkeypatch.setattr(Scale, "load_chunk", counted)
    report = napari_kemp.export(
        tmp_path / "from",
        tmp_path / "to",
        chunk_size=(32, 32, 16),
        region=((0, 0, 0), (96, 64, 32)),
        mips=1,
    )
    assert {n for (name, _), n in read.items() if "from" in name} == {1}
    assert report.max_abs_error <= 2.0**-23
    monkeypatch.undo()
    scale = open_volume(tmp_path / "to").scales[0]
    assert (scale.info.voxel_offset, scale.info.size) == ((5, 6, 7), (96, 64, 32))
    np.testing.assert_allclose(
        scale.array, AFFINITIES[:, :32, :64], rtol=0, atol=report.max_abs_error
    )


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_arrays_and_files(tmp_path, zarr_format):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(
        str(tmp_path / "a.zarr" / "0"),
        shape=AFFINITIES.shape,
        chunks=(3, 12, 40, 32),
        dtype="float32",
        zarr_format=zarr_format,
    )
    array[:] = AFFINITIES
    assert as_source(array).chunk_xyz == (32, 40, 12)
    from_file = load(str(tmp_path / "a.zarr" / "0"))
    assert as_source(from_file).chunk_xyz == (32, 40, 12)
    for name, source in (("array", array), ("file", from_file)):
        napari_kemp.export(source, tmp_path / name, encoding="fpzip", chunk_size=(32, 32, 16))
        np.testing.assert_array_equal(open_volume(tmp_path / name).scales[0].array, AFFINITIES)
    with pytest.raises(ExportError, match="of a group, name the array"):
        load(str(tmp_path / "a.zarr"))


def test_the_command_line_takes_zarr(tmp_path, capsys):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=AFFINITIES.shape, chunks=(3, 12, 40, 32), dtype="float32"
    )
    array[:] = AFFINITIES
    assert main(["export", str(tmp_path / "a.zarr"), str(tmp_path / "to")]) == 0
    np.testing.assert_allclose(
        open_volume(tmp_path / "to").scales[0].array, AFFINITIES, rtol=0, atol=2.0**-23
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_are_rescaled_when_asked(tmp_path, dtype):
    largest = np.iinfo(dtype).max
    values = np.rint(AFFINITIES * largest).astype(dtype)
    report = napari_kemp.export(values, tmp_path / "saved", rescale=True)
    saved = np.asarray(open_volume(tmp_path / "saved").scales[0].array)
    assert saved.dtype == np.float32
    np.testing.assert_allclose(saved, values / largest, rtol=0, atol=2.0**-23 + 1e-7)
    np.testing.assert_array_equal(np.rint(saved * largest).astype(dtype), values)
    assert report.max_abs_error <= 2.0**-23
    with pytest.raises(ExportError, match="only uint8 and uint16"):
        napari_kemp.export(AFFINITIES, tmp_path / "other", rescale=True)
    with pytest.raises(ExportError, match="ask for affinities of 0 to 255 to be rescaled"):
        napari_kemp.export(values, tmp_path / "other")


def test_sources_travel_by_name_where_they_have_one(tmp_path):
    np.save(tmp_path / "a.npy", AFFINITIES)
    napari_kemp.export(AFFINITIES, tmp_path / "volume", encoding="raw")
    array = open_volume(tmp_path / "volume").scales[0].array
    for source in (
        load(tmp_path / "a.npy"),
        tmp_path / "volume",
        array,
        [array.channel(i) for i in range(3)],
        da.from_array(AFFINITIES, chunks=(3, 36, 40, 48)).rechunk((3, 36, 40, 96)),
    ):
        source = as_source(source)
        pickled = pickle.dumps(source)
        if not isinstance(source.parts[0], da.Array):
            assert len(pickled) < 2000
        box = source.middle((10, 10, 10))
        np.testing.assert_array_equal(pickle.loads(pickled).read(box), source.read(box))


def test_segmentations_of_volumes_stay_segmentations(tmp_path):
    labels = make_neurites((64, 48, 8)).segmentation
    napari_kemp.export(labels, tmp_path / "a", encoding="compressed_segmentation")
    napari_kemp.export(tmp_path / "a", tmp_path / "b", encoding="raw", chunk_size=(32, 32, 8))
    assert open_volume(tmp_path / "b").info.type == "segmentation"
    np.testing.assert_array_equal(open_volume(tmp_path / "b").scales[0].array[0], labels)
