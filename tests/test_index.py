"""Section tables for volumes that have none: CloudVolume's stay CloudVolume's."""

import json

import numpy as np
import pytest
from cloudvolume import CloudVolume
from cloudvolume.datasource.precomputed.sharding import ShardingSpecification
from killing import tree

import napari_kemp
from napari_kemp import ChunkError, ExportError, open_volume
from napari_kemp.cli import main
from napari_kemp.codec import SectionTable, kempressed
from napari_kemp.export.index import index_volume
from napari_kemp.precomputed import Scale
from napari_kemp.precomputed.sharding import morton_code
from napari_kemp.sample import make_affinities

AFFINITIES = make_affinities((70, 50, 20))


@pytest.fixture(params=["kempressed", "fpzip"])
def volume(tmp_path, request):
    info = CloudVolume.create_new_info(
        3, "image", "float32", request.param, (4, 4, 40), (5, -3, 2), (70, 50, 20),
        chunk_size=(16, 16, 8),
    )  # fmt: skip
    theirs = CloudVolume(f"file://{tmp_path / 'theirs'}", info=info, progress=False)
    theirs.commit_info()
    theirs[:] = AFFINITIES.T
    return tmp_path / "theirs"


def read(folder):
    return np.asarray(CloudVolume(f"file://{folder}", progress=False, fill_missing=False)[:])


def test_tables_are_appended_and_nothing_else_changes(volume, capsys):
    before, values = tree(volume), read(volume)
    assert main(["index", str(volume), "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert tree(volume) == before
    assert main(["index", str(volume), "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert {**said, "written": True} == done
    after = tree(volume)
    assert after.keys() == before.keys()
    added = 0
    for name, data in before.items():
        assert after[name].startswith(data)
        if name.startswith("4_4_40"):
            assert SectionTable.read(after[name]).length == len(data)
            added += len(after[name]) - len(data)
    assert (done["chunks"], done["bytes_added"]) == (60, added)
    np.testing.assert_array_equal(read(volume), values)
    np.testing.assert_array_equal(open_volume(volume).scales[0].array, values.T)


def test_indexing_is_what_a_seekable_save_writes(tmp_path):
    for name, seekable in (("plain", False), ("seekable", True)):
        napari_kemp.export(AFFINITIES, tmp_path / name, chunk_size=(16, 16, 8), seekable=seekable)
    assert main(["index", str(tmp_path / "plain")]) == 0
    assert tree(tmp_path / "plain") == tree(tmp_path / "seekable")


def test_stopped_and_begun_again(volume):
    steps = index_volume(open_volume(volume), threads=1)
    for _ in range(10):
        next(steps)
    steps.close()
    (volume / "4_4_40" / "5-21_-3-13_2-10").unlink()
    steps = index_volume(open_volume(volume), threads=1)
    with pytest.raises(StopIteration) as end:
        while True:
            next(steps)
    result = end.value.value
    assert 9 <= result.had < 20
    assert result.missing == 1
    assert result.had + result.chunks == 59


def test_a_damaged_chunk_is_named_and_left_alone(volume, capsys):
    chunk = volume / "4_4_40" / "21-37_13-29_10-18"
    chunk.write_bytes(chunk.read_bytes()[:99])
    assert main(["index", str(volume)]) == 1
    assert "21-37_13-29_10-18: no table was appended" in capsys.readouterr().err
    assert len(chunk.read_bytes()) == 99


def test_what_cannot_be_indexed_is_refused(tmp_path, capsys):
    napari_kemp.export(AFFINITIES, tmp_path / "raw", encoding="raw")
    assert main(["index", str(tmp_path / "raw")]) == 1
    assert "no scale of it is fpzip or kempressed" in capsys.readouterr().err
    napari_kemp.export(AFFINITIES, tmp_path / "hashed", sharded=True, mips=0)
    info = json.loads((tmp_path / "hashed" / "info").read_text())
    info["scales"][0]["sharding"]["hash"] = "murmurhash3_x86_128"
    (tmp_path / "hashed" / "info").write_text(json.dumps(info))
    assert main(["index", str(tmp_path / "hashed")]) == 1
    assert "export the volume anew" in capsys.readouterr().err


@pytest.fixture(params=["raw", "gzip"])
def shards(volume, tmp_path, request):
    """The same volume as shards of CloudVolume's making."""
    info = json.loads((volume / "info").read_text())
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1",
        "preshift_bits": 1,
        "hash": "identity",
        "minishard_bits": 2,
        "shard_bits": 5,
        "minishard_index_encoding": "gzip",
        "data_encoding": request.param,
    }
    info["scales"][0]["sharding"] = sharding
    grid = open_volume(volume).scales[0].grid
    chunks = {
        morton_code(cell, grid.shape_xyz): (volume / "4_4_40" / grid.name(cell)).read_bytes()
        for cell in grid.cells()
    }
    del chunks[morton_code((1, 1, 1), grid.shape_xyz)]
    folder = tmp_path / "shards" / "4_4_40"
    folder.mkdir(parents=True)
    for name, data in ShardingSpecification.from_dict(sharding).synthesize_shards(chunks).items():
        (folder / name).write_bytes(data)
    (folder.parent / "info").write_text(json.dumps(info))
    return folder.parent


def stored(folder):
    scale = open_volume(folder).scales[0]
    return {cell: scale.load_chunk(cell) for cell in scale.grid.cells()}


def test_shards_are_written_anew_with_tables(shards, capsys):
    files, chunks = tree(shards), stored(shards)
    values = np.asarray(open_volume(shards).scales[0].array)
    assert main(["index", str(shards), "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert tree(shards) == files
    assert main(["index", str(shards), "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert {**said, "written": True} == done
    assert (done["chunks"], done["missing"]) == (59, 1)
    after = stored(shards)
    assert tree(shards).keys() == files.keys()
    for cell, data in chunks.items():
        if data is None:
            assert after[cell] is None
        else:
            assert after[cell].startswith(data)
            assert SectionTable.read(after[cell]).length == len(data)
    np.testing.assert_array_equal(open_volume(shards).scales[0].array, values)
    theirs = CloudVolume(f"file://{shards}", progress=False, fill_missing=True)
    np.testing.assert_array_equal(np.asarray(theirs[:]).T, values)
    indexed = tree(shards)
    assert main(["index", str(shards), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["had"] == 59
    assert tree(shards) == indexed


def test_each_shard_is_written_once_and_whole(shards, monkeypatch):
    before, written = tree(shards), []
    write_shard = Scale.write_shard

    def counted(self, chunks):
        written.append(len(chunks))
        if len(written) == 3:
            raise ChunkError("the disk is full")
        return write_shard(self, chunks)

    monkeypatch.setattr(Scale, "write_shard", counted)
    with pytest.raises(ExportError, match=r"the disk is full.*The shard is as it was"):
        list(index_volume(open_volume(shards), threads=2))
    changed = {name for name, data in tree(shards).items() if data != before[name]}
    assert len(changed) == 2
    monkeypatch.setattr(Scale, "write_shard", write_shard)
    steps = index_volume(open_volume(shards))
    with pytest.raises(StopIteration) as end:
        while True:
            next(steps)
    assert end.value.value.had == sum(written[:2])
    assert end.value.value.chunks + sum(written[:2]) == 59


def test_indexed_shards_are_those_of_a_seekable_save(tmp_path):
    for name, seekable in (("plain", False), ("seekable", True)):
        napari_kemp.export(
            AFFINITIES, tmp_path / name, chunk_size=(16, 16, 8), seekable=seekable, sharded=True
        )
    assert main(["index", str(tmp_path / "plain")]) == 0
    assert tree(tmp_path / "plain") == tree(tmp_path / "seekable")


def test_plain_saves_have_cloudvolumes_bytes(tmp_path):
    napari_kemp.export(AFFINITIES, tmp_path / "plain", chunk_size=(32, 32, 8), seekable=False)
    data = (tmp_path / "plain" / "1_1_1" / "0-32_0-32_0-8").read_bytes()
    assert data == kempressed.encode(AFFINITIES[:, :8, :32, :32].T)
