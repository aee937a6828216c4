"""Sharded saves: what CloudVolume reads of them, and how the shards are cut."""

import sys

import numpy as np
import pytest
from cloudvolume import CloudVolume

import napari_kemp
from napari_kemp import open_volume
from napari_kemp.export.shards import cells_in_shard, plan_shards
from napari_kemp.precomputed import ChunkGrid
from napari_kemp.precomputed.sharding import morton_code
from napari_kemp.sample import make_affinities

AFFINITIES = make_affinities((150, 90, 30))


def test_cloudvolume_reads_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[plan_shards.__module__], "_SHARD_BYTES", 16 * 16 * 8 * 12 * 8)
    report = napari_kemp.export(
        AFFINITIES,
        tmp_path / "saved",
        encoding="fpzip",
        chunk_size=(16, 16, 8),
        resolution=(4, 4, 40),
        voxel_offset=(5, -3, 2),
        sharded=True,
        verify=True,
    )
    volume = open_volume(tmp_path / "saved")
    assert len(volume.scales) == 5
    for mip, scale in enumerate(volume.scales):
        theirs = CloudVolume(
            f"file://{tmp_path / 'saved'}", mip=mip, progress=False, fill_missing=False
        )
        values = np.asarray(theirs[:]).T
        np.testing.assert_array_equal(values, np.asarray(scale.array))
        if mip == 0:
            np.testing.assert_array_equal(values, AFFINITIES)
    files = list((tmp_path / "saved" / "4_4_40").iterdir())
    assert all(p.suffix == ".shard" for p in files)
    assert len(files) == 5 * 3 * 2  # 10 x 6 x 4 chunks, 2 x 2 x 2 a shard
    assert report.verified == report.chunks


@pytest.mark.parametrize("cells", [(5, 5, 5), (1, 9, 2), (16, 3, 1), (1, 1, 1), (40, 30, 20)])
@pytest.mark.parametrize("in_shard", [1, 2, 8, 64])
def test_a_shard_is_a_box_of_chunks(cells, in_shard, monkeypatch):
    monkeypatch.setattr(sys.modules[plan_shards.__module__], "_SHARD_BYTES", in_shard * 8 * 4)
    scale = {"size": [2 * n for n in cells], "chunk_sizes": [[2, 2, 2]], "encoding": "raw"}
    sharding = plan_shards(scale, 4)
    grid = ChunkGrid(tuple(scale["size"]), (2, 2, 2))
    box = cells_in_shard(grid, sharding)
    bits = sharding["preshift_bits"] + sharding["minishard_bits"]
    by_box, by_code = {}, {}
    for cell in grid.cells():
        by_box.setdefault(tuple(i // n for i, n in zip(cell, box, strict=True)), set()).add(cell)
        by_code.setdefault(morton_code(cell, grid.shape_xyz) >> bits, set()).add(cell)
    assert sorted(map(sorted, by_box.values())) == sorted(map(sorted, by_code.values()))
    assert 2**bits <= in_shard
