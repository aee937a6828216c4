"""Section tables for volumes that have none: CloudVolume's stay CloudVolume's."""

import json

import numpy as np
import pytest
from cloudvolume import CloudVolume
from killing import tree

import napari_kemp
from napari_kemp import open_volume
from napari_kemp.cli import main
from napari_kemp.codec import SectionTable, kempressed
from napari_kemp.export.index import index_volume
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
    napari_kemp.export(AFFINITIES, tmp_path / "sharded", sharded=True)
    assert main(["index", str(tmp_path / "sharded")]) == 1
    assert "export the volume anew" in capsys.readouterr().err


def test_plain_saves_have_cloudvolumes_bytes(tmp_path):
    napari_kemp.export(AFFINITIES, tmp_path / "plain", chunk_size=(32, 32, 8), seekable=False)
    data = (tmp_path / "plain" / "1_1_1" / "0-32_0-32_0-8").read_bytes()
    assert data == kempressed.encode(AFFINITIES[:, :8, :32, :32].T)
