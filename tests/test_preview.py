"""What is said before anything is written, held against what is then written."""

import json

import numpy as np
import pytest

import napari_kemp
from napari_kemp import ExportError
from napari_kemp.cli import main
from napari_kemp.export import make_plan, preview
from napari_kemp.sample import make_affinities

AFFINITIES = make_affinities((150, 120, 32))


@pytest.mark.parametrize("encoding", ["kempressed", "fpzip", "raw"])
def test_the_estimate_is_near_and_the_bound_holds(tmp_path, encoding):
    place = tmp_path / "saved"
    arguments = {"encoding": encoding, "chunk_size": (32, 32, 16), "resolution": (4, 4, 40)}
    said = preview(make_plan(AFFINITIES, place, **arguments))
    assert not place.exists()
    report = napari_kemp.export(AFFINITIES, place, **arguments)
    assert (said.chunks, said.bytes_raw) == (report.chunks, report.bytes_raw)
    assert abs(said.bytes_encoded / report.bytes_encoded - 1) < 0.1
    assert report.max_abs_error <= said.max_abs_error <= 2.0**-23
    assert said.notes() == []


def test_unusual_values_are_named_with_what_they_cost(tmp_path):
    array = AFFINITIES[..., :128].copy()
    array[0, :, ::2, ::4] = np.nan
    array[1, :, ::2, ::4] = 100
    array[2, :, ::2, ::4] = -np.inf
    said = preview(make_plan(array, tmp_path / "saved", chunk_size=(32, 32, 16)))
    assert said.nan == said.outside == said.infinite == said.values / 24
    assert said.max_abs_error == 2.0**-18
    text = str(said)
    assert "4.2 % of the sampled values lie outside [0, 1]" in text
    assert "off by up to 3.8e-06 instead of 1.2e-07" in text
    assert "are NaN: they stay NaN" in text
    assert "are infinite: they stay so" in text
    report = napari_kemp.export(array, tmp_path / "saved", chunk_size=(32, 32, 16))
    assert report.nan == report.outside == report.infinite == array.size / 24
    assert report.max_abs_error <= said.max_abs_error


@pytest.mark.parametrize("magnitude", [-1.5, -7, -1e6, 0.3, 5, 1e20])
def test_the_bound_holds_for_any_magnitude(tmp_path, magnitude):
    values = (AFFINITIES[:, :4, :32, :32] * np.float32(magnitude)).astype(np.float32)
    said = preview(make_plan(values, tmp_path / "saved"))
    report = napari_kemp.export(values, tmp_path / "saved", verify=True)
    assert report.max_abs_error <= said.max_abs_error


def test_dry_run_writes_nothing(tmp_path, capsys):
    np.save(tmp_path / "a.npy", AFFINITIES)
    place = tmp_path / "saved"
    assert main(["export", str(tmp_path / "a.npy"), str(place), "--dry-run"]) == 0
    assert "stored, about" in capsys.readouterr().out
    assert main(["export", str(tmp_path / "a.npy"), str(place), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sampled"] == 2
    assert not place.exists()


def test_what_would_be_read_again_is_said(tmp_path, capsys):
    arguments = {"encoding": "raw", "chunk_size": (50, 40, 16), "mips": 0}
    napari_kemp.export(AFFINITIES, tmp_path / "from", **arguments)
    places = [str(tmp_path / "from"), str(tmp_path / "to")]
    command = ["export", *places, "--dry-run", "--chunk-size", "50", "40", "16", "--region"]
    assert main([*command, "50", "40", "0", "150", "120", "32"]) == 0
    assert "read more than once" not in capsys.readouterr().out
    assert main([*command, "49", "40", "0", "150", "120", "32"]) == 0
    assert "4 of the 12 chunks that are read of the source are" in capsys.readouterr().out


def test_a_chunk_that_cannot_be_read_is_named(tmp_path):
    class Torn:
        shape, dtype = (3, 8, 8, 8), np.dtype(np.float32)

        def __getitem__(self, key):
            raise OSError("the tape is torn")

    with pytest.raises(ExportError, match=r"0-8_0-8_0-8 could not be sampled: the tape is torn"):
        preview(make_plan(Torn(), tmp_path / "saved"))
