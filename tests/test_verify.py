"""Verification: of a save while it is written, and of any volume afterwards."""

import json

import numpy as np
import pytest
from cloudvolume import CloudVolume

import napari_kemp
from napari_kemp import ExportError, open_volume
from napari_kemp.cli import main
from napari_kemp.codec import kempressed
from napari_kemp.precomputed import Scale
from napari_kemp.sample import make_affinities

AFFINITIES = make_affinities((70, 50, 20))


@pytest.fixture
def volume(tmp_path):
    """One of CloudVolume's, of 5 x 4 x 3 chunks."""
    info = CloudVolume.create_new_info(
        3, "image", "float32", "kempressed", (4, 4, 40), (5, -3, 2), (70, 50, 20),
        chunk_size=(16, 16, 8),
    )  # fmt: skip
    theirs = CloudVolume(f"file://{tmp_path / 'theirs'}", info=info, progress=False)
    theirs.commit_info()
    theirs[:] = AFFINITIES.T
    return tmp_path / "theirs"


def spoil(volume):
    folder = volume / "4_4_40"
    chunks = sorted(folder.iterdir())
    chunks[0].unlink()
    chunks[1].write_bytes(chunks[1].read_bytes()[:50])
    chunk = np.full((16, 16, 8, 3), 0.5, np.float32)
    names = {path.name: path for path in chunks}
    names["21-37_13-29_10-18"].write_bytes(kempressed.encode(chunk[:15]))
    chunk[3, 4, 5, 1] = 1.5
    names["37-53_13-29_10-18"].write_bytes(kempressed.encode(chunk))
    chunk[3, 4, 5, 1] = np.nan
    names["53-69_13-29_10-18"].write_bytes(kempressed.encode(chunk))
    return chunks[0].name, chunks[1].name


def test_what_is_wrong_with_a_volume_is_found(volume, capsys):
    assert main(["verify", str(volume)]) == 0
    assert "60 chunks, all whole" in capsys.readouterr().out
    missing, damaged = spoil(volume)
    assert main(["verify", str(volume), "--json"]) == 1
    verdict = json.loads(capsys.readouterr().out)
    found = {f["chunk"]: (f["problem"], f["detail"]) for f in verdict["findings"]}
    assert verdict["chunks"] == 60
    assert found.pop(missing) == ("missing", "")
    assert found.pop(damaged)[0] == "damaged"
    assert found.pop("21-37_13-29_10-18")[0] == "wrong shape"
    assert found.pop("37-53_13-29_10-18") == ("out of range", "values from 0.5 to 1.5")
    assert found.pop("53-69_13-29_10-18") == ("out of range", "1 NaN")
    assert not found
    assert verdict["counts"]["out of range"] == 2
    assert main(["verify", str(volume)]) == 1
    table = capsys.readouterr().out.splitlines()
    assert table[0].endswith("60 chunks, 1 missing, 1 wrong shape, 2 out of range, 1 damaged")
    assert table[2].split() == ["scale", "chunk", "problem"]
    assert len(table) == 3 + 5


def test_every_scale_is_verified(tmp_path, capsys):
    napari_kemp.export(AFFINITIES, tmp_path / "ours", chunk_size=(16, 16, 8), sharded=True)
    assert main(["verify", str(tmp_path / "ours")]) == 0
    capsys.readouterr()
    chunk = open_volume(tmp_path / "ours").scales[-1]
    (file,) = (tmp_path / "ours" / chunk.info.key).iterdir()
    data = bytearray(file.read_bytes())
    data[100] ^= 255
    file.write_bytes(data)
    assert main(["verify", str(tmp_path / "ours")]) == 1
    assert "1 damaged" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["kempressed", "fpzip", "raw"])
@pytest.mark.parametrize("sharded", [False, True])
def test_a_save_verifies_what_it_wrote(tmp_path, encoding, sharded):
    values = AFFINITIES.copy()
    values[0, 0, 0, :3] = np.nan, np.inf, -5
    report = napari_kemp.export(
        values,
        tmp_path / "saved",
        encoding=encoding,
        chunk_size=(16, 16, 8),
        sharded=sharded,
        verify=True,
    )
    assert report.verified == report.chunks


@pytest.mark.parametrize("harm", ["other bytes", "gone"])
def test_a_disk_that_does_not_keep_what_it_was_given_is_found_out(tmp_path, monkeypatch, harm):
    write = Scale.write_chunk

    def forget(self, cell_xyz, data):
        if cell_xyz == (1, 0, 0):
            if harm == "gone":
                return len(data)
            data = self.encode_chunks([np.zeros((3, 8, 16, 16), np.float32)])[0]
        return write(self, cell_xyz, data)

    monkeypatch.setattr(Scale, "write_chunk", forget)
    with pytest.raises(ExportError, match="16-32_0-16_0-8 was written but reads back as other"):
        napari_kemp.export(AFFINITIES, tmp_path / "saved", chunk_size=(16, 16, 8), verify=True)
    monkeypatch.undo()
    napari_kemp.export(AFFINITIES, tmp_path / "fine", chunk_size=(16, 16, 8))
