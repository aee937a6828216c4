import numpy as np
import pytest
from napari.layers import Image, Labels
from volumes import LEVELS, create_layers, make_volume

from napari_kemp import open_volume
from napari_kemp.plugin.layers import volume_layers, volume_name
from napari_kemp.plugin.pyramid import build_pyramid


def world_box(layer, level, first, stop):
    """Where napari draws voxels ``first`` to ``stop`` of a level.

    Levels are stretched over the box of the finest one, which begins half a voxel before its
    coordinate.
    """
    factor = layer.downsample_factors[level]
    return [layer.translate + (np.array(at) * factor - 0.5) * layer.scale for at in (first, stop)]


def assert_in_place(layer, volume):
    """Each voxel of each level is drawn in its place, half a finest voxel before it throughout."""
    levels = layer.data if layer.multiscale else [layer.data]
    finest = np.array(volume.scales[0].info.resolution[::-1])
    paddings = level_paddings(volume)
    for level, (data, scale) in enumerate(zip(levels, volume.scales, strict=True)):
        first = np.array([before for before, _ in paddings[level]])
        stop = np.array(data.shape) - [after for _, after in paddings[level]]
        np.testing.assert_array_equal(stop - first, scale.info.size[::-1])
        resolution = np.array(scale.info.resolution[::-1])
        offset = np.array(scale.info.voxel_offset[::-1])
        low, high = world_box(layer, level, first, stop)
        np.testing.assert_allclose(low, offset * resolution - finest / 2)
        np.testing.assert_allclose(high, (offset + scale.info.size[::-1]) * resolution - finest / 2)


def level_paddings(volume):
    return [level.padding_zyx for level in build_pyramid([s.info for s in volume.scales]).levels]


def test_affinities_are_three_additive_layers(tmp_path):
    volume = make_volume(tmp_path / "aff", size=(100, 88, 7), offset=(4, -4, 2))
    layers = create_layers(volume)
    assert [layer.name for layer in layers] == ["aff x", "aff y", "aff z"]
    assert [layer.colormap.name for layer in layers] == ["red", "green", "blue"]
    for channel, layer in enumerate(layers):
        assert isinstance(layer, Image)
        assert layer.blending == "additive"
        assert tuple(layer.contrast_limits) == (0, 1)
        assert tuple(layer.scale) == (50, 4, 4)
        assert tuple(layer.translate) == (100, -16, 16)
        assert [str(unit) for unit in layer.units] == ["nanometer"] * 3
        assert layer.axis_labels == ("z", "y", "x")
        assert layer.multiscale
        assert len(layer.data) == LEVELS
        for level, data in enumerate(layer.data):
            np.testing.assert_array_equal(data, volume.scales[level].array[channel])


def test_an_image_of_bytes_is_grey(tmp_path):
    volume = make_volume(tmp_path / "em", "uint8", 1, levels=1)
    (layer,) = create_layers(volume)
    assert layer.name == "em"
    assert layer.colormap.name == "gray"
    assert tuple(layer.contrast_limits) == (0, 255)
    assert not layer.multiscale
    assert layer.data.shape == (7, 90, 101)
    np.testing.assert_array_equal(layer.data, volume.scales[0].array[0])


@pytest.mark.parametrize("levels", [1, 3])
def test_a_segmentation_is_labels(tmp_path, levels):
    ids = np.uint64(2**63)
    values = [
        np.full((1, 7, 90, 101), ids),
        np.full((1, 7, 46, 51), ids),
        np.full((1, 7, 23, 26), ids),
    ]
    volume = make_volume(
        tmp_path / "seg",
        "uint64",
        1,
        "compressed_segmentation",
        "segmentation",
        values=values[:levels],
        levels=levels,
        offset=(5, -3, 2),
    )
    (layer,) = create_layers(volume)
    assert isinstance(layer, Labels)
    assert layer.multiscale == (levels > 1)
    assert layer.dtype == np.uint64
    finest = layer.data[0] if levels > 1 else layer.data
    assert np.asarray(finest).max() == ids


def test_two_channels_mix_and_more_have_a_slider(tmp_path):
    two = create_layers(make_volume(tmp_path / "two", channels=2))
    assert [(layer.name, layer.blending) for layer in two] == [
        ("two 0", "additive"),
        ("two 1", "additive"),
    ]
    volume = make_volume(tmp_path / "five", channels=5, size=(100, 88, 7), offset=(4, -4, 2))
    (five,) = create_layers(volume)
    assert five.ndim == 4
    assert five.axis_labels == ("c", "z", "y", "x")
    assert tuple(five.scale) == (1, 50, 4, 4)
    np.testing.assert_array_equal(five.data[1], volume.scales[1].array)


@pytest.mark.parametrize(
    ("data_type", "values", "expected"),
    [
        ("float32", (0.25, 0.75), (0, 1)),
        ("float32", (-3.0, 5.0), (-3, 5)),
        ("uint16", (100, 4000), (0, 4000)),
        ("float32", (np.nan, 7.0), (0, 7)),
        ("uint16", (0, 0), (0, 1)),
    ],
)
def test_the_range_of_other_values_is_taken_from_some_of_them(
    tmp_path, data_type, values, expected
):
    array = np.resize(np.array(values), (1, 7, 90, 101))
    volume = make_volume(tmp_path / "v", data_type, 1, values=[array], levels=1)
    (layer,) = create_layers(volume)
    assert tuple(layer.contrast_limits) == expected


def test_a_damaged_chunk_does_not_keep_a_volume_from_opening(tmp_path):
    make_volume(tmp_path / "v", "uint16", 1, levels=1)
    for chunk in (tmp_path / "v" / "4_4_50").iterdir():
        chunk.write_bytes(b"damaged")
    ((_, arguments, _),) = volume_layers(open_volume(tmp_path / "v"))
    assert arguments["contrast_limits"] == (0, 1)


def test_opening_reads_no_chunks_of_affinities(tmp_path):
    make_volume(tmp_path / "v")
    for chunk in tmp_path.glob("v/*/*"):
        chunk.write_bytes(b"damaged")
    assert len(volume_layers(open_volume(tmp_path / "v"))) == 3


def test_a_layer_remembers_its_volume(tmp_path):
    volume = make_volume(tmp_path / "v")
    _, arguments, _ = volume_layers(volume)[1]
    assert arguments["metadata"]["napari_kemp"] == {
        "url": volume.url,
        "channel": 1,
        "num_channels": 3,
        "size": (101, 90, 7),
        "voxel_offset": (5, -3, 2),
        "resolution": (4, 4, 50),
        "chunk_size": (32, 32, 4),
        "encoding": "raw",
        "padding": ((0, 0), (1, 1), (1, 2)),
        "sampled_levels": {},
    }


@pytest.mark.parametrize(
    ("size", "offset"),
    [
        ((128, 64, 7), (0, 0, 0)),
        ((101, 90, 7), (0, 0, 0)),
        ((101, 90, 7), (5, -3, 2)),
        ((99, 97, 6), (-7, 1023, -2)),
        ((1, 1, 1), (3, 3, 3)),
    ],
)
def test_every_voxel_of_every_level_is_drawn_in_its_place(tmp_path, size, offset):
    volume = make_volume(tmp_path / "v", size=size, offset=offset)
    for layer in create_layers(volume):
        assert_in_place(layer, volume)
        for data, scale, padding in zip(
            layer.data, volume.scales, level_paddings(volume), strict=True
        ):
            channel = "xyz".index(layer.name[-1])
            np.testing.assert_array_equal(data, np.pad(scale.array[channel], padding))


@pytest.mark.parametrize("offset", [0, 1, -4999, 123457])
def test_mips_meet_at_the_far_corner_of_a_long_axis(offset):
    """Of 10001 voxels and an odd offset no level divides, and all end within half a voxel."""

    class Place:
        def __init__(self, level):
            f = 2**level
            self.resolution = (4 * f, 4 * f, 40)
            self.voxel_offset = (offset // f, offset // f, offset)
            stop = -(-(offset + 10001) // f)
            self.size = (stop - offset // f, stop - offset // f, 7)

    pyramid = build_pyramid([Place(level) for level in range(7)])
    assert len(pyramid.levels) == 7
    shapes = [
        [n + a + b for n, (a, b) in zip(Place(i).size[::-1], level.padding_zyx, strict=True)]
        for i, level in enumerate(pyramid.levels)
    ]
    for i, level in enumerate(pyramid.levels):
        # napari's only idea of a level's place: stretched over the box of the finest.
        for axis in (1, 2):
            factor = shapes[0][axis] / shapes[i][axis]
            before = level.padding_zyx[axis][0]
            for voxel in (0, Place(i).size[2 - axis]):  # its first corner and its last
                drawn = (before + voxel) * factor + pyramid.voxel_offset_xyz[2 - axis]
                true = (Place(i).voxel_offset[2 - axis] + voxel) * 2**i
                assert abs(drawn - true) < 0.5


def test_levels_are_drawn_pixel_on_pixel(tmp_path, make_napari_viewer):
    """Blocks of whole coarsest voxels look the same at every level, wherever the volume begins."""
    size, offset = (61, 54, 3), (5, -3, 2)
    # Begins at (x, y) = (4, -4), where all levels have a grid line.
    blocks = np.zeros((3, 56, 64), np.float32)
    blocks[:, 8:16, 12:32] = 1
    blocks[:, 44:52, 52:60] = 1
    values = []
    for step in (1, 2, 4):
        ys = slice(
            (offset[1] // step) - (-4 // step), -(-(offset[1] + size[1]) // step) + 4 // step
        )
        xs = slice((offset[0] // step) - (4 // step), -(-(offset[0] + size[0]) // step) - 4 // step)
        values.append(blocks[None, :, ::step, ::step][..., ys, xs])
    volume = make_volume(tmp_path / "v", channels=1, size=size, offset=offset, values=values)
    viewer = make_napari_viewer(show=True)
    (layer,) = (viewer.add_layer(layer) for layer in create_layers(volume))
    # A finest voxel is 4 pixels of the screen; no edge falls between two of them.
    viewer.scene.camera.zoom = 1
    viewer.scene.camera.center = (0, 100.3, 140.3)
    pictures = []
    for level in range(LEVELS):
        layer.locked_data_level = level
        pictures.append(viewer.screenshot(flash=False))
        assert layer.data_level == level
    assert (pictures[0][..., 0] > 128).sum() == (8 * 20 + 8 * 8) * 4 * 4
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])


def test_isbi_volumes_lie_on_each_other_at_every_mip(isbi):
    affinities = open_volume(isbi / "affinities-kempressed")
    layers = create_layers(affinities)
    for layer in layers:
        assert_in_place(layer, affinities)
        assert layer.level_shapes.tolist() == [[30, 512, 512], [30, 256, 256], [30, 128, 128]]
    corners = [
        world_box(layer, level, (0, 0, 0), layer.level_shapes[level])
        for layer in layers
        for level in range(3)
    ]
    for name in ("em", "segmentation"):
        (layer,) = create_layers(open_volume(isbi / name))
        corners.append(world_box(layer, 0, (0, 0, 0), layer.data.shape))
    np.testing.assert_array_equal(corners, [corners[0]] * len(corners))


def test_isbi_mips_are_not_shifted_on_the_canvas(isbi, make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(900, 800)
    for layer in create_layers(open_volume(isbi / "affinities-kempressed")):
        viewer.add_layer(layer)
    viewer.reset_view()
    pictures = []
    for level in range(3):
        for layer in viewer.layers:
            layer.locked_data_level = level
        pictures.append(viewer.screenshot(flash=False)[..., :3].astype(float))

    def difference(picture, dy, dx):
        return np.abs(np.roll(picture, (dy, dx), (0, 1)) - pictures[0]).mean()

    for picture in pictures[1:]:
        in_place = difference(picture, 0, 0)
        for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            assert difference(picture, *shift) > in_place


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/data/my volume/", "my volume"),
        ("C:\\data\\volume", "volume"),
        ("https://host/path/a%20b?token=1", "a b"),
        ("gs://bucket", "bucket"),
        ("precomputed://s3://bucket/em", "em"),
    ],
)
def test_volumes_are_named_after_their_folder(url, name):
    assert volume_name(url) == name
