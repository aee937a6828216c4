"""Volumes too large to be shown whole: virtual levels, from a bounded number of chunks."""

from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from test_level_view import Recorder
from volumes import create_layers

from napari_kemp import create_volume, open_volume
from napari_kemp.plugin import overview
from napari_kemp.plugin.overview import SampledArray, sampled_scales
from napari_kemp.plugin.pyramid import build_pyramid
from napari_kemp.precomputed.storage import ObjectStore

HUGE = {
    "size": (250000, 250000, 25000),
    "resolution": (4, 4, 40),
    "chunk_size": (128, 128, 64),
    "encoding": "kempressed",
}


class Samples(Recorder):
    def read(self, key, options=None):
        return self[key]


@pytest.mark.parametrize("size", [(300, 200, 40), (257, 190, 3), (1000, 64, 70)])
@pytest.mark.parametrize("offset", [(0, 0, 0), (5, -3, 2), (-129, 1000, 17)])
def test_each_voxel_shows_a_true_one_near_it(monkeypatch, size, offset):
    monkeypatch.setattr(overview, "_MOST_SECTION_VOXELS", 1000)
    monkeypatch.setattr(overview, "_SMALLEST_SECTION", 16)
    monkeypatch.setattr(overview, "_DEPTH_IN_3D", 8)
    # Each voxel holds its own place.
    places = np.stack(
        [
            np.broadcast_to(
                np.arange(o, o + n).reshape([-1 if i == 2 - axis else 1 for i in range(3)]),
                size[::-1],
            )
            for axis, (o, n) in enumerate(zip(offset, size, strict=True))
        ]
    )
    base = SimpleNamespace(size=size, voxel_offset=offset, resolution=(4, 4, 40))
    scales = sampled_scales(base, (64, 64, 16))
    assert scales
    array = Samples(places, (3, 16, 64, 64))
    for scale in scales:
        sampled = SampledArray(array, scale, offset)
        assert sampled.shape == (3, *scale.size[::-1])
        values = sampled.read((slice(None),) * 4)
        for axis in range(3):
            f, step = scale.factor[axis], scale.lattice[axis]
            voxels = np.arange(scale.size[axis]) + scale.voxel_offset[axis]
            centres = (voxels + 0.5) * f - 0.5
            shown = np.moveaxis(values[axis], 2 - axis, 0).reshape(len(voxels), -1)
            assert (shown == shown[:, :1]).all()
            inside = np.clip(centres, offset[axis], offset[axis] + size[axis] - 1)
            assert np.abs(shown[:, 0] - inside).max() <= step
        part = (slice(1, 3), slice(0, 1), slice(0, None, 3), slice(1, None))
        np.testing.assert_array_equal(sampled[part], values[part])
    pyramid = build_pyramid([base, *scales])
    assert len(pyramid.levels) == len(scales) + 1


def test_a_picture_takes_a_bounded_number_of_chunks():
    base = SimpleNamespace(size=HUGE["size"], voxel_offset=(0, 0, 0), resolution=HUGE["resolution"])

    class Chunks:
        shape, chunks, dtype = (3, *HUGE["size"][::-1]), (3, 64, 128, 128), np.dtype("f4")

        def read(self, key, options=None):
            parts = [range(n)[one] for n, one in zip(self.shape, key, strict=True)]
            self.touched = [
                len({i // c for i in part}) for part, c in zip(parts, self.chunks, strict=True)
            ]
            return np.zeros([len(part) for part in parts])

    array = Chunks()
    scales = sampled_scales(base, (128, 128, 64))
    for scale in scales:
        sampled = SampledArray(array, scale, (0, 0, 0))
        width, height = min(2560, scale.size[0]), min(1800, scale.size[1])
        x, y = (scale.size[0] - width) // 2, (scale.size[1] - height) // 2
        key = (slice(0, 1), slice(7, 8), slice(y, y + height), slice(x, x + width))
        assert sampled.read(key).shape == (1, 1, height, width)
        assert array.touched[2] <= height / 32 + 2
        assert array.touched[3] <= width / 32 + 2
    sampled.read((slice(0, 1), slice(None), slice(None), slice(None)))  # in 3D
    assert np.prod(array.touched) <= 8000


def test_small_volumes_get_no_virtual_levels():
    base = SimpleNamespace(size=(4096, 4096, 9), voxel_offset=(0, 0, 0), resolution=(1, 1, 1))
    assert sampled_scales(base, (64, 64, 64)) == []


@pytest.fixture
def looked_for(monkeypatch):
    """The names of all objects that storage has been asked for."""
    names = []
    real = ObjectStore.read

    def read(self, key, *arguments, **named):
        names.append(key)
        return real(self, key, *arguments, **named)

    monkeypatch.setattr(ObjectStore, "read", read)
    return names


def test_the_largest_volume_opens_pans_and_zooms(tmp_path, make_napari_viewer, looked_for):
    volume = create_volume(tmp_path / "huge", **HUGE)
    (scale,) = volume.scales
    cell = (1000, 900, 195)
    chunk = np.full((3, 64, 128, 128), 0.75, np.float32)
    scale.write_chunk(cell, scale.encode_chunks([chunk])[0])
    viewer = make_napari_viewer(show=True)
    process = psutil.Process()
    before = process.memory_info().rss
    volume = open_volume(tmp_path / "huge")
    assert looked_for == ["info"]
    layers = [viewer.add_layer(layer) for layer in create_layers(volume)]
    viewer.reset_view()

    def picture_of_few_chunks():
        """Draw the canvas: a level has up to two voxels a pixel along each axis, 32 a chunk."""
        picture = viewer.screenshot(flash=False)
        height, width = picture.shape[:2]
        chunks = set(looked_for) - {"info"}
        looked_for.clear()
        # Of two levels: that of the picture, and that before it or of the thumbnail.
        assert len(chunks) <= 2 * (height / 16 + 2) * (width / 16 + 2)
        return picture

    picture_of_few_chunks()
    assert process.memory_info().rss - before < 100e6
    assert layers[0].metadata["napari_kemp"]["sampled_levels"]
    assert layers[0].data_level > 5

    z = 195 * 64 + 5
    viewer.dims.set_point(0, z * 40)
    viewer.scene.camera.center = (0, (900 * 128 + 64) * 4, (1000 * 128 + 64) * 4)
    for zoom in (0.001, 0.01, 0.1, 1.0):
        viewer.scene.camera.zoom = zoom
        picture = picture_of_few_chunks()
    assert layers[0].data_level == 0
    assert picture[picture.shape[0] // 2, picture.shape[1] // 2, 0] > 100
    viewer.dims.ndisplay = 3
    viewer.screenshot(flash=False)
    assert len(set(looked_for)) <= 8000
    assert process.memory_info().rss - before < 1.5e9


def test_what_is_sampled_is_said(tmp_path, monkeypatch):
    import napari.utils.notifications as notifications

    from napari_kemp.plugin.reader import get_reader

    said = []
    monkeypatch.setattr(notifications, "show_info", said.append)
    create_volume(tmp_path / "huge", **HUGE)
    create_volume(tmp_path / "small", **{**HUGE, "size": (256, 256, 64)})
    for name in ("huge", "small"):
        get_reader(str(tmp_path / name))(str(tmp_path / name))
    assert len(said) == 1
    assert "drawn from samples" in said[0] and "huge" in said[0]
