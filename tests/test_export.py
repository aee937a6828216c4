"""Saving: what CloudVolume reads back, what the report says, and what is refused."""

import threading
import tracemalloc

import dask.array as da
import numpy as np
import pytest
from cloudvolume import CloudVolume
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_kemp
from napari_kemp import ExportError, InfoError, open_volume
from napari_kemp.export import execute, make_plan
from napari_kemp.export.parts import load
from napari_kemp.sample import make_affinities

AFFINITIES = make_affinities((70, 50, 20))


def read_with_cloudvolume(path, mip=0):
    """Return the whole scale as (c, z, y, x)."""
    volume = CloudVolume(f"file://{path}", mip=mip, progress=False, fill_missing=False)
    return np.asarray(volume[:]).T


def test_cloudvolume_reads_what_was_saved(tmp_path):
    report = napari_kemp.export(
        AFFINITIES,
        tmp_path / "saved",
        chunk_size=(32, 32, 8),
        resolution=(4, 4, 40),
        voxel_offset=(100, -7, 3),
        mips=0,
    )
    saved = read_with_cloudvolume(tmp_path / "saved")
    error = np.abs(saved.astype(float) - AFFINITIES).max()
    assert 0 < error <= 2.0**-23
    assert report.max_abs_error == error
    assert report.chunks == 3 * 2 * 3
    assert report.bytes_raw == AFFINITIES.nbytes
    on_disk = sum(p.stat().st_size for p in (tmp_path / "saved" / "4_4_40").iterdir())
    assert report.bytes_encoded == on_disk
    assert report.ratio == on_disk / AFFINITIES.nbytes
    volume = CloudVolume(f"file://{tmp_path / 'saved'}", progress=False)
    assert volume.voxel_offset.tolist() == [100, -7, 3]
    assert volume.resolution.tolist() == [4, 4, 40]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_region_in_any_chunks_keeps_its_place(tmp_path_factory, data):
    size = (70, 50, 20)
    corners = [
        sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True)))
        for n in size
    ]
    start, stop = zip(*corners, strict=True)
    chunk = tuple(data.draw(st.integers(5, 40)) for _ in size)
    offset = tuple(data.draw(st.integers(-100, 100)) for _ in size)
    place = tmp_path_factory.mktemp("region") / "saved"
    napari_kemp.export(
        AFFINITIES,
        place,
        encoding="fpzip",
        chunk_size=chunk,
        voxel_offset=offset,
        region=(start, stop),
    )
    scale = open_volume(place).scales[0]
    assert scale.info.voxel_offset == tuple(o + s for o, s in zip(offset, start, strict=True))
    (x0, y0, z0), (x1, y1, z1) = start, stop
    np.testing.assert_array_equal(scale.array, AFFINITIES[:, z0:z1, y0:y1, x0:x1])


@pytest.mark.parametrize("kind", ["numpy", "dask", "channels", "fortran", "volume", "url"])
def test_every_kind_of_source(tmp_path, kind):
    if kind in ("volume", "url"):
        napari_kemp.export(AFFINITIES, tmp_path / "source", encoding="raw", chunk_size=(16, 16, 16))
    source = {
        "numpy": lambda: AFFINITIES,
        "dask": lambda: da.from_array(AFFINITIES, chunks=(1, 7, 11, 13)),
        "channels": lambda: [da.from_array(channel) for channel in AFFINITIES],
        "fortran": lambda: np.asfortranarray(AFFINITIES),
        "volume": lambda: open_volume(tmp_path / "source"),
        "url": lambda: f"precomputed://file://{tmp_path / 'source'}",
    }[kind]()
    report = napari_kemp.export(
        source, tmp_path / "saved", encoding="fpzip", chunk_size=(32, 32, 8)
    )
    np.testing.assert_array_equal(read_with_cloudvolume(tmp_path / "saved"), AFFINITIES)
    assert report.max_abs_error == 0


@pytest.mark.parametrize(
    ("values", "encoding", "stored"),
    [
        (np.arange(60, dtype=np.uint8), "raw", "uint8"),
        (np.arange(60) % 2 == 0, "raw", "uint8"),
        (np.linspace(0, 1, 60).astype(np.float16), "kempressed", "float32"),
        (np.linspace(0, 1, 60), "fpzip", "float64"),
        (np.arange(60, dtype=np.int32), "compressed_segmentation", "uint32"),
        (np.arange(60, dtype=np.int64) * 2**40, "compressed_segmentation", "uint64"),
    ],
)
def test_types_are_kept_or_widened(tmp_path, values, encoding, stored):
    array = values.reshape(3, 4, 5)
    report = napari_kemp.export(array, tmp_path / "saved", encoding=encoding, chunk_size=(4, 4, 4))
    volume = open_volume(tmp_path / "saved")
    assert volume.info.data_type == stored
    assert volume.info.type == ("segmentation" if "seg" in encoding else "image")
    saved = np.asarray(volume.scales[0].array)[0]
    np.testing.assert_allclose(saved, array, rtol=0, atol=report.max_abs_error)
    assert report.max_abs_error == (0 if encoding != "kempressed" else np.abs(saved - array).max())


def test_fpzip_precision_is_stored_and_its_error_reported(tmp_path):
    report = napari_kemp.export(AFFINITIES, tmp_path / "saved", encoding="fpzip", precision=16)
    saved = read_with_cloudvolume(tmp_path / "saved")
    assert open_volume(tmp_path / "saved").scales[0].info.fpzip_precision == 16
    assert report.max_abs_error == np.abs(saved.astype(float) - AFFINITIES).max() > 1e-4


def test_values_outside_the_unit_interval_nan_and_infinity_are_told(tmp_path):
    array = AFFINITIES[:, :4, :8, :8].copy()
    array[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    report = napari_kemp.export(array, tmp_path / "special")
    assert report.max_abs_error <= 2.0**-23
    array[0, 0, 0, :3] = np.nextafter(np.float32(31), np.float32(32)), 0, 0
    report = napari_kemp.export(array, tmp_path / "large")
    assert report.max_abs_error == 2.0**-19  # half a step at 33


def test_a_volume_that_is_there_is_refused_and_left_alone(tmp_path):
    napari_kemp.export(AFFINITIES, tmp_path / "saved", encoding="raw", resolution=(8, 8, 40))
    before = {p: p.read_bytes() for p in (tmp_path / "saved").rglob("*") if p.is_file()}
    with pytest.raises(ExportError, match="there is a volume already"):
        napari_kemp.export(AFFINITIES * 0, tmp_path / "saved")
    assert before == {p: p.read_bytes() for p in (tmp_path / "saved").rglob("*") if p.is_file()}


def test_overwriting_leaves_nothing_of_the_old_volume(tmp_path):
    saved = tmp_path / "saved"
    napari_kemp.export(
        AFFINITIES, saved, encoding="raw", resolution=(8, 8, 40), chunk_size=(8, 8, 8)
    )
    (saved / "notes.txt").write_text("not part of the volume")
    napari_kemp.export(AFFINITIES, saved, encoding="fpzip", resolution=(4, 4, 40), overwrite=True)
    files = sorted(p.relative_to(saved).parts[0] for p in saved.rglob("*") if p.is_file())
    assert files == ["4_4_40", "info", "notes.txt"]
    np.testing.assert_array_equal(read_with_cloudvolume(saved), AFFINITIES)


def test_a_volume_is_never_overwritten_with_itself(tmp_path):
    napari_kemp.export(AFFINITIES, tmp_path / "saved", encoding="fpzip")
    array = open_volume(tmp_path / "saved").scales[0].array
    for source in (tmp_path / "saved", array, [array.channel(0)]):
        for destination in (tmp_path / "saved", tmp_path / "saved" / "inside"):
            with pytest.raises(ExportError, match="choose another folder"):
                napari_kemp.export(source, destination, overwrite=True)
    np.testing.assert_array_equal(read_with_cloudvolume(tmp_path / "saved"), AFFINITIES)


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        (np.zeros((2, 2, 2), np.uint8), {}, "kempressed stores floating-point values.*uint8"),
        (np.zeros((2, 2), np.float32), {}, r"shape \(2, 2\).*needs the axes"),
        (np.zeros((2, 2, 2), np.complex64), {"encoding": "raw"}, "complex64"),
        (np.zeros((2, 2, 2), np.float32), {"encoding": "compressed_segmentation"}, "labels"),
        (np.zeros((2, 2, 2), np.float32), {"precision": 16}, "for the encoding fpzip"),
        (np.zeros((2, 2, 2), np.float32), {"region": ((0, 0, 0), (2, 2, 3))}, "size in x, y, z"),
        (np.zeros((2, 2, 2), np.float32), {"region": ((0, 0, 0), (2, 0, 2))}, "not a part"),
        (np.zeros((2, 2, 2), np.float32), {"region": (0, 1)}, "two corners"),
        ([np.zeros((2, 2, 2)), np.zeros((2, 2, 3))], {}, "channel 1 .* channel 0"),
        ([], {}, "no channels"),
        (np.full((2, 2, 2), -1), {"encoding": "compressed_segmentation"}, "-1 is negative"),
    ],
)
def test_what_cannot_be_saved_is_refused(tmp_path, source, arguments, message):
    with pytest.raises(ExportError, match=message):
        napari_kemp.export(source, tmp_path / "saved", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"voxel_offset": (1, 2)}, r"voxel_offset is three whole numbers.*not \(1, 2\)"),
        ({"voxel_offset": (1.7, 2, 3)}, r"voxel_offset is .* not \(1.7, 2, 3\)"),
        ({"voxel_offset": (1, None, 3)}, "voxel_offset"),
        ({"voxel_offset": "abc"}, "voxel_offset"),
        ({"resolution": 4}, "resolution is three numbers.*not 4"),
        ({"resolution": (4, 4)}, "resolution"),
        ({"resolution": ()}, "resolution"),
        ({"resolution": (4, 4, "x")}, "resolution"),
        ({"chunk_size": 8}, "chunk_size is three whole numbers"),
        ({"chunk_size": (8.5, 8, 8)}, "chunk_size"),
        ({"region": ((0, 0, 0), (8.5, 8, 8))}, "a region is two corners .* of whole numbers"),
        ({"region": ((0, 0), (8, 8))}, "a region is two corners"),
        ({"mips": 1.5}, "mips is a whole number of scales or 'auto', not 1.5"),
        ({"mips": None}, "mips is a whole number of scales or 'auto', not None"),
        ({"precision": 1.5, "encoding": "fpzip"}, "precision is a whole number, not 1.5"),
        ({"encoding": []}, r"encoding is a name, or a list of names, not \[\]"),
        ({"encoding": 5}, "encoding is a name"),
        ({"encoding": "jpeg"}, "encoding: .*can be read but not written; choose kempressed"),
        ({"encoding": ["fpzip", "nonsense"]}, "encoding: .*'nonsense' is not supported"),
        ({"threads": 0}, "threads is 1 or more, not 0"),
        ({"threads": 1.5}, "threads is a whole number, not 1.5"),
        ({"source": None}, "a source is an array, .* not NoneType"),
        ({"source": [[1, 2], [3]]}, "a source is an array, .* not list"),
        ({"destination": 5}, "destination is a path or a URL, not 5"),
    ],
)
def test_an_argument_that_is_none_is_named_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(ExportError, match=message):
        napari_kemp.export(**{"source": AFFINITIES, "destination": tmp_path / "saved", **arguments})
    assert not (tmp_path / "saved").exists()


def test_numbers_of_numpy_are_numbers(tmp_path):
    napari_kemp.export(
        AFFINITIES,
        tmp_path / "saved",
        encoding="fpzip",
        precision=np.int64(24),
        chunk_size=np.array([32, 32, 8]),
        resolution=np.array([4, 4.5, 40]),
        voxel_offset=np.array([1.0, -2.0, 3.0]),
        region=np.array([[0, 0, 0], [64, 50, 20]]),
        mips=np.int64(1),
        threads=np.int32(1),
    )
    finest, coarser = open_volume(tmp_path / "saved").info.scales
    assert finest.resolution == (4, 4.5, 40)
    assert finest.key == "4_4.5_40"
    assert finest.voxel_offset == (1, -2, 3)
    assert coarser.size == (33, 25, 20)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x01\x00", b"PK\x03\x04" * 9])
def test_what_is_no_npy_file_is_named(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ExportError, match=r"a\.npy: not a readable \.npy file"):
        load(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("arguments", "member"),
    [
        ({"chunk_size": (0, 8, 8)}, "chunk_sizes"),
        ({"resolution": (4, 4, float("nan"))}, "resolution"),
        ({"encoding": "fpzip", "precision": 77}, "fpzip_precision"),
    ],
)
def test_what_an_info_file_cannot_say_is_refused_before_anything_is_written(
    tmp_path, arguments, member
):
    with pytest.raises(InfoError, match=member):
        napari_kemp.export(AFFINITIES, tmp_path / "saved", **arguments)
    assert not (tmp_path / "saved").exists()


class Failing:
    """An array of which some chunk cannot be read."""

    shape = (3, 20, 50, 70)
    dtype = np.dtype(np.float32)

    def __getitem__(self, key):
        if key[1].start >= 16:
            raise OSError("the tape is torn")
        return AFFINITIES[key]


def test_a_failure_names_the_chunk_and_leaves_whole_chunks(tmp_path):
    with pytest.raises(ExportError, match=r"0-32_0-32_16-20 could not be saved: the tape is torn"):
        napari_kemp.export(
            Failing(), tmp_path / "saved", chunk_size=(32, 32, 8), encoding="fpzip", threads=1
        )
    array = np.asarray(open_volume(tmp_path / "saved").scales[0].array)
    np.testing.assert_array_equal(array[:, :16], AFFINITIES[:, :16])


def test_closing_the_run_stops_it_and_leaves_a_valid_volume(tmp_path):
    before = threading.active_count()
    plan = make_plan(AFFINITIES, tmp_path / "saved", encoding="fpzip", chunk_size=(8, 8, 8), mips=0)
    run = execute(plan, threads=2)
    steps = [next(run) for _ in range(3)]
    run.close()
    written = len(list((tmp_path / "saved" / "1_1_1").iterdir()))
    assert [step.done for step in steps] == [1, 2, 3]
    assert 3 <= written < 16 < steps[0].total == plan.num_chunks
    assert threading.active_count() == before
    saved = np.asarray(open_volume(tmp_path / "saved").scales[0].array)
    assert ((saved == AFFINITIES) | (saved == 0)).all()


def test_an_exception_from_progress_stops_the_save(tmp_path):
    def stop(progress):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        napari_kemp.export(AFFINITIES, tmp_path / "saved", chunk_size=(8, 8, 8), progress=stop)
    assert len(list((tmp_path / "saved" / "1_1_1").iterdir())) < 20


class Endless:
    """A lazy array that is made as it is read, and counts nothing."""

    shape = (3, 64, 1024, 2048)
    dtype = np.dtype(np.float32)

    def __getitem__(self, key):
        lengths = [
            len(range(*part.indices(n))) for part, n in zip(key[1:], self.shape[1:], strict=True)
        ]
        return np.full((3, *lengths), 0.5, np.float32)


def test_memory_does_not_grow_with_the_volume(tmp_path):
    tracemalloc.start()
    try:
        report = napari_kemp.export(
            Endless(), tmp_path / "saved", chunk_size=(128, 128, 64), threads=2
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    chunk = 128 * 128 * 64 * 3 * 4
    assert report.scales == 5
    assert report.bytes_raw == 1610612736 * (1 + 1 / 8 + 1 / 64 + 1 / 512 + 1 / 4096)
    assert peak < 16 * chunk
