import json
from typing import Any

import pytest

from napari_kemp.errors import InfoError
from napari_kemp.precomputed import VolumeInfo

URL = "/data/v/info"


def members(**changes: Any) -> dict[str, Any]:
    scale = {
        "key": "4_4_40",
        "size": [100, 90, 20],
        "resolution": [4, 4, 40],
        "voxel_offset": [-5, 7, 0],
        "chunk_sizes": [[64, 64, 16], [32, 32, 32]],
        "encoding": "kempressed",
    }
    scale.update(changes.pop("scale", {}))
    coarse = {**scale, "key": "8_8_40", "resolution": [8, 8, 40]}
    volume = {"type": "image", "data_type": "float32", "num_channels": 3}
    return {**volume, "scales": [scale, coarse], **changes}


def parse(content: Any) -> VolumeInfo:
    return VolumeInfo.from_json(json.dumps(content).encode(), URL)


def test_members_come_out_as_written():
    info = parse(members())
    assert (info.type, info.data_type, info.num_channels) == ("image", "float32", 3)
    fine, coarse = info.scales
    assert fine.key == "4_4_40"
    assert fine.size == (100, 90, 20)
    assert fine.resolution == (4, 4, 40)
    assert fine.voxel_offset == (-5, 7, 0)
    assert fine.chunk_sizes == [(64, 64, 16), (32, 32, 32)]
    assert coarse.resolution == (8, 8, 40)


def test_what_may_be_left_out():
    content = members()
    del content["scales"][0]["voxel_offset"]
    scale = parse(content).scales[0]
    assert scale.voxel_offset == (0, 0, 0)
    assert scale.sharding is None
    assert scale.compressed_segmentation_block_size == (8, 8, 8)


def test_a_rewrite_changes_nothing():
    content = members(
        mesh="mesh",
        provenance={"by": ["a", None, 1.25]},
        scale={"resolution": [4, 4.5, 40.25], "hidden": True, "fpzip_precision": 0},
    )
    content["@type"] = "neuroglancer_multiscale_volume"
    rewritten = json.loads(parse(content).to_json())
    assert rewritten == content
    assert type(rewritten["scales"][0]["resolution"][0]) is int


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ({"size": [1, 2]}, "scales[0].size[2]: missing"),
        ({"size": [1, -2, 3]}, "scales[0].size[1]: expected an integer of 0 or more, got -2"),
        ({"size": "big"}, 'scales[0].size: expected a valid list, got "big"'),
        ({"size": [1, 2, 3, 4]}, "scales[0].size: expected at most 3 items"),
        ({"size": [1, 2, 10**30]}, "scales[0].size[2]: expected an integer"),
        (
            {"chunk_sizes": [[0, 64, 16]]},
            "scales[0].chunk_sizes[0][0]: expected a positive integer, got 0",
        ),
        ({"chunk_sizes": []}, "scales[0].chunk_sizes: expected at least 1 item"),
        ({"chunk_sizes": [[64, 64, 1.5]]}, "scales[0].chunk_sizes[0][2]: expected a positive"),
        ({"chunk_sizes": [[64, 64, True]]}, "got true"),
        ({"chunk_sizes": [["64", 64, 64]]}, 'got "64"'),
        ({"resolution": [4, 4, 0]}, "scales[0].resolution[2]: expected a finite number greater"),
        ({"resolution": [4, "4", 40]}, "scales[0].resolution[1]: expected a finite number"),
        ({"voxel_offset": [0, 0.5, 0]}, "scales[0].voxel_offset[1]: expected an integer, got 0.5"),
        ({"key": ""}, "scales[0].key: expected"),
        ({"key": 4}, "scales[0].key: expected a valid string, got 4"),
        ({"encoding": None}, "scales[0].encoding: expected a valid string, got null"),
        ({"sharding": "yes"}, "scales[0].sharding: expected a valid dictionary"),
        ({"encoding": "fpzip", "fpzip_precision": 1}, "scales[0].fpzip_precision: expected 0 or 2"),
        ({"encoding": "compressed_segmentation"}, "scales[0].encoding: compressed_segmentation"),
    ],
)
def test_errors_name_file_member_and_value(scale, message):
    with pytest.raises(InfoError) as error:
        parse(members(scale=scale))
    assert str(error.value).startswith(f"{URL}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "mesh"}, "type: expected 'image' or 'segmentation', got \"mesh\""),
        ({"@type": "neuroglancer_annotations_v1"}, "@type: expected"),
        ({"data_type": "float16"}, "data_type: expected one of uint8"),
        ({"data_type": "uint8"}, "scales[0].encoding: kempressed chunks hold float32, but"),
        ({"data_type": "float64"}, "scales[0].encoding: kempressed chunks hold float32, but"),
        ({"num_channels": 0}, "num_channels: expected a positive integer, got 0"),
        ({"scales": []}, "scales: expected at least 1 item"),
        ({"scales": {}}, "scales: expected a valid list"),
    ],
)
def test_errors_of_the_volume(changes, message):
    with pytest.raises(InfoError) as error:
        parse(members(**changes))
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["type", "data_type", "num_channels", "scales"])
def test_missing_members_are_named(name):
    content = members()
    del content[name]
    with pytest.raises(InfoError, match=f"{URL}: {name}: missing"):
        parse(content)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"<html></html>", "not valid JSON"),
        (b"\xff\xfe\xff", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "expected a JSON object"),
        (b'{"type": "image", "type": "image"}', 'the member "type" appears twice'),
        (b'{"a": {"b": 1, "b": 2}}', 'the member "b" appears twice'),
        (b'{"a": NaN}', "NaN is not a finite number"),
        (b'{"a": -Infinity}', "-Infinity is not a finite number"),
        (b'{"a": 1e999}', "1e999 is not a finite number"),
    ],
)
def test_what_is_not_json_is_refused(data, message):
    with pytest.raises(InfoError) as error:
        VolumeInfo.from_json(data, URL)
    assert str(error.value).startswith(f"{URL}: ")
    assert message in str(error.value)


@pytest.mark.parametrize("key", ["4_4_40", "./4_4_40", "4_4_40/"])
def test_two_scales_do_not_share_a_folder(key):
    content = members()
    content["scales"][1]["key"] = key
    with pytest.raises(InfoError, match=r"scales\[1\].key: .* is the key of scales\[0\] already"):
        parse(content)


def test_fpzip_takes_both_float_types():
    for data_type, precision in (("float32", 31), ("float64", 62)):
        scale = {"encoding": "fpzip", "fpzip_precision": precision}
        info = parse(members(data_type=data_type, scale=scale))
        assert info.scales[0].fpzip_precision == precision
    with pytest.raises(InfoError, match="even number from 4 to 64, got 31"):
        parse(members(data_type="float64", scale={"encoding": "fpzip", "fpzip_precision": 31}))


def test_an_unknown_encoding_and_an_empty_scale_are_no_error():
    info = parse(members(scale={"encoding": "zfpc", "size": [0, 0, 0]}))
    assert info.scales[0].encoding == "zfpc"
