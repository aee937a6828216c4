"""The command line as a user types it: what it prints, what it leaves, how it ends."""

import json
import re

import numpy as np
import pytest
from cloudvolume import CloudVolume

import napari_kemp
from napari_kemp.cli import main
from napari_kemp.sample import make_affinities

AFFINITIES = make_affinities((70, 50, 20))


@pytest.fixture
def volume(tmp_path):
    path = tmp_path / "affinities"
    napari_kemp.export(
        AFFINITIES, path, resolution=(4, 4, 40), voxel_offset=(-10, 0, 7), chunk_size=(32, 32, 8)
    )
    return path


def test_info_is_a_table_of_scales(volume, capsys):
    assert main(["info", str(volume)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{volume}: image, float32, 3 channels"
    assert re.split(r"  +", lines[3]) == [
        "4_4_40", "4 x 4 x 40", "70 x 50 x 20", "-10, 0, 7", "32 x 32 x 8", "kempressed", "18",
        "0.00084",
    ]  # fmt: skip


def test_info_as_json_is_the_info_file(volume, capsys):
    assert main(["info", f"precomputed://file://{volume}", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed.pop("url") == str(volume)
    assert printed == json.loads((volume / "info").read_text())


def test_export_saves_a_region_and_says_how_well(volume, tmp_path, capsys):
    saved = tmp_path / "piece"
    arguments = [
        "--region",
        *["10", "0", "4", "42", "50", "12"],
        "--chunk-size",
        "16",
        "16",
        "4",
        "--mips",
        "0",
        "--json",
    ]
    assert main(["export", str(volume), str(saved), *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["chunks"] == 2 * 4 * 2
    assert report["max_abs_error"] == 0  # kempressing twice changes nothing
    found = CloudVolume(f"file://{saved}", progress=False)
    assert found.voxel_offset.tolist() == [0, 0, 11]
    expected = napari_kemp.open_volume(volume).scales[0].array[:, 4:12, :, 10:42]
    np.testing.assert_array_equal(np.asarray(found[:]).T, expected)


def test_export_of_a_npy_file(tmp_path, capsys):
    np.save(tmp_path / "a.npy", AFFINITIES)
    arguments = [
        "--encoding",
        "fpzip",
        "--resolution",
        "4",
        "4",
        "40.5",
        "--voxel-offset",
        "-5",
        "7",
        "0",
    ]
    assert main(["export", str(tmp_path / "a.npy"), str(tmp_path / "saved"), *arguments]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"encoding +fpzip\n", printed)
    assert re.search(r"chunks written +1\n", printed)
    assert re.search(r"largest absolute error +0\n", printed)
    scale = napari_kemp.open_volume(tmp_path / "saved").scales[0]
    assert (scale.info.resolution, scale.info.voxel_offset) == ((4, 4, 40.5), (-5, 7, 0))
    np.testing.assert_array_equal(scale.array, AFFINITIES)


def test_export_refuses_to_replace_unless_told(volume, tmp_path, capsys):
    saved = str(tmp_path / "saved")
    assert main(["export", str(volume), saved]) == 0
    assert main(["export", str(volume), saved]) == 1
    assert "there is a volume already" in capsys.readouterr().err
    assert main(["export", str(volume), saved, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "missing"], "missing/info: there is no such file"),
        (["export", "missing.npy", "saved"], "missing.npy: not a readable .npy file"),
        (["view", "missing"], "missing/info: there is no such file"),
        (["demo", "missing"], "missing/info: there is no such file"),
        (["bench", "missing"], "missing/info: there is no such file"),
    ],
)
def test_errors_are_one_line_and_a_status(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("napari-kemp: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "a", "b", "--threads", "0"], "expected a whole number of 1 or more, got '0'"),
        (["export", "a", "b", "--chunk-size", "8", "8"], "expected 3 arguments"),
        (["bench", "--rounds", "x"], "expected a whole number of 1 or more, got 'x'"),
    ],
)
def test_malformed_arguments_are_explained(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_bench_is_the_table_of_manipulations_and_codecs(volume, capsys):
    assert main(["bench", str(volume), "--rounds", "1", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["shape_xyzc"] == [70, 50, 16, 3]
    rows = {(row["manipulation"], row["codec"]): row for row in table["rows"]}
    assert len(rows) == 12
    for manipulation in ("none", "+2.0", "+2.0 & XYCZ"):
        ours, peer = rows[manipulation, "ours"], rows[manipulation, "fpzip"]
        assert ours["size"] == peer["size"] < rows[manipulation, "zstd -14"]["size"]
        assert ours["max_abs_error"] == peer["max_abs_error"] <= 2.0**-23
        assert ours["ratio"] == ours["size"] / table["raw"]
    assert len(table["speedups"]) == 6
    assert main(["bench", str(volume), "--rounds", "1"]) == 0
    assert "| +2.0 & XYCZ | ours |" in capsys.readouterr().out


def test_bench_of_a_npy_file_that_is_mapped_read_only(tmp_path, capsys):
    np.save(tmp_path / "a.npy", AFFINITIES[:, :16])
    assert main(["bench", str(tmp_path / "a.npy"), "--rounds", "1"]) == 0
    assert "70 x 50 x 16 x 3 float32" in capsys.readouterr().out


def test_bench_is_for_floats(tmp_path, capsys):
    napari_kemp.export(np.zeros((4, 4, 4), np.uint8), tmp_path / "em", encoding="raw")
    assert main(["bench", str(tmp_path / "em")]) == 1
    assert "uint8" in capsys.readouterr().err
