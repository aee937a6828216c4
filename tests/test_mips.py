"""Coarser scales: which there are, and what they hold, however they were made."""

import sys

import numpy as np
import pytest
from cloudvolume import CloudVolume

import napari_kemp
from napari_kemp import ExportError, open_volume
from napari_kemp.export import make_plan
from napari_kemp.export.downsample import means, modes
from napari_kemp.export.mips import coarser_scales
from napari_kemp.export.sweeps import sweeps
from napari_kemp.sample import make_affinities, make_neurites

AFFINITIES = make_affinities((75, 53, 21))


def scales(size, resolution, mips, chunk=(128, 128, 64), offset=(0, 0, 0)):
    base = {
        "key": "base",
        "size": list(size),
        "resolution": list(resolution),
        "voxel_offset": list(offset),
        "chunk_sizes": [list(chunk)],
    }
    found, factors = coarser_scales(base, mips)
    assert len(found) == len(factors)
    return found


def test_x_and_y_are_halved_until_voxels_are_about_as_long_as_wide():
    found = scales((80000, 60000, 1890), (4, 4, 40), "auto")
    assert [scale["key"] for scale in found] == [
        "8_8_40", "16_16_40", "32_32_40", "64_64_80", "128_128_160", "256_256_320",
        "512_512_640", "1024_1024_1280", "2048_2048_2560", "4096_4096_5120",
    ]  # fmt: skip
    assert found[-1]["size"] == [79, 59, 15]
    assert found[-2]["size"] == [157, 118, 30]


def test_bounds_are_rounded_outwards():
    (one, two) = scales((101, 90, 7), (4, 4, 50), 2, offset=(5, -3, 2))
    assert (one["voxel_offset"], one["size"]) == ([2, -2, 2], [51, 46, 7])
    assert (two["voxel_offset"], two["size"]) == ([1, -1, 2], [26, 23, 7])


def test_a_number_of_scales_is_a_number_or_an_error():
    assert scales((8, 8, 8), (1, 1, 1), 0) == []
    assert [scale["size"] for scale in scales((8, 8, 1), (1, 1, 1), 3)] == [
        [4, 4, 1], [2, 2, 1], [1, 1, 1],
    ]  # fmt: skip
    with pytest.raises(ExportError, match="after 3 there is one voxel left"):
        scales((8, 8, 1), (1, 1, 1), 4)
    for wrong in (-1, 1.5, True, "all"):
        with pytest.raises(ExportError, match="a whole number of scales or 'auto'"):
            scales((8, 8, 8), (1, 1, 1), wrong)


@pytest.mark.parametrize("size", [(75, 53, 21), (64, 48, 16)])
@pytest.mark.parametrize("offset", [(0, 0, 0), (5, -3, 3), (4, 8, -16)])
@pytest.mark.parametrize("coarser_at_once", [0, 1, 2])
def test_every_scale_is_the_mean_of_the_finer_one(
    tmp_path, monkeypatch, size, offset, coarser_at_once
):
    """Even where chunks of two scales do not begin on the same voxel."""
    room = sys.modules[sweeps.__module__]
    monkeypatch.setattr(room, "_TASKS_LEAST", 1)
    monkeypatch.setattr(room, "_COARSER_MOST", coarser_at_once)
    values = AFFINITIES[:, : size[2], : size[1], : size[0]]
    report = napari_kemp.export(
        values,
        tmp_path / "saved",
        encoding="fpzip",
        chunk_size=(8, 8, 4),
        resolution=(4, 4, 10),
        voxel_offset=offset,
        mips=4,
    )
    volume = open_volume(tmp_path / "saved")
    factors = [(2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)]
    fine = np.asarray(volume.scales[0].array)
    np.testing.assert_array_equal(fine, values)
    for mip, (factor, finer, scale) in enumerate(
        zip(factors, volume.scales, volume.scales[1:], strict=False), start=1
    ):
        coarse = means(fine, finer.info.voxel_offset, factor)
        theirs = CloudVolume(f"file://{tmp_path / 'saved'}", mip=mip, progress=False)
        np.testing.assert_array_equal(np.asarray(theirs[:]).T, coarse)
        assert all(scale.load_chunk(cell) is not None for cell in scale.grid.cells())
        fine = coarse
    assert report.chunks == sum(scale.grid.num_cells for scale in volume.scales)
    files = sum(p.is_file() for p in (tmp_path / "saved").rglob("*"))
    assert files == report.chunks + 1


def test_segmentations_keep_their_labels(tmp_path):
    labels = make_neurites((64, 48, 8)).segmentation
    napari_kemp.export(
        labels, tmp_path / "saved", encoding="compressed_segmentation", chunk_size=(16, 16, 8)
    )
    volume = open_volume(tmp_path / "saved")
    expected = modes(labels[np.newaxis], (0, 0, 0), (2, 2, 2))
    assert len(volume.scales) == 3
    np.testing.assert_array_equal(volume.scales[1].array, expected)


def test_each_scale_may_have_its_encoding(tmp_path):
    napari_kemp.export(
        AFFINITIES, tmp_path / "saved", encoding=["kempressed", "raw"], chunk_size=(16, 16, 8)
    )
    encodings = [scale.encoding for scale in open_volume(tmp_path / "saved").info.scales]
    assert encodings == ["kempressed", "raw", "raw", "raw"]


def test_a_large_volume_is_swept_with_few_scales_in_hand(tmp_path):
    class Large:
        shape, dtype, chunks = (3, 1890, 60000, 80000), np.dtype(np.float32), (1, 16, 256, 256)

    plan = make_plan(Large(), tmp_path / "saved", resolution=(4, 4, 40))
    found = sweeps(plan)
    assert [(sweep.base, sweep.top) for sweep in found] == [(0, 2), (3, 5), (6, 7), (8, 8),
        (9, 9), (10, 10)]  # fmt: skip
    assert found[0].num_tasks == 157 * 118 * 30
