import time

import numpy as np
import pytest

from napari_kemp import open_volume
from napari_kemp.sample import make_affinities, make_neurites


def test_affinities_look_like_a_networks_output():
    started = time.perf_counter()
    affinities = make_affinities()
    assert time.perf_counter() - started < 10
    assert affinities.shape == (3, 32, 256, 256)
    assert affinities.dtype == np.float32
    assert affinities.min() >= 0
    assert affinities.max() <= 1
    assert np.median(affinities) > 0.8
    assert (affinities < 0.1).mean() > 0.1
    assert len(np.unique(affinities)) > affinities.size / 2
    # Smooth in the plane: neighbours differ much less than voxels chosen at random do.
    assert np.abs(np.diff(affinities, axis=-1)).mean() < affinities.std() / 4


def test_the_same_seed_makes_the_same_tissue():
    shape = (40, 30, 5)
    np.testing.assert_array_equal(make_affinities(shape, 3), make_affinities(shape, 3))
    assert not np.array_equal(make_affinities(shape, 3), make_affinities(shape, 4))


@pytest.mark.parametrize("shape_xyz", [(1, 1, 1), (7, 5, 3), (64, 1, 1)])
def test_any_shape_can_be_made(shape_xyz):
    neurites = make_neurites(shape_xyz)
    assert neurites.affinities.shape == (3, *shape_xyz[::-1])
    assert neurites.image.shape == neurites.segmentation.shape == shape_xyz[::-1]
    assert np.isfinite(neurites.affinities).all()


def test_no_shape_without_voxels():
    with pytest.raises(ValueError, match="at least 1"):
        make_affinities((4, 0, 4))


def test_image_and_segmentation_belong_to_the_affinities():
    neurites = make_neurites((128, 128, 8))
    inside = neurites.segmentation > 0
    # Membranes are dark, and lowest in affinity.
    assert neurites.image[inside].mean() > neurites.image[~inside].mean() + 30
    for channel in neurites.affinities:
        assert channel[inside].mean() > channel[~inside].mean() + 0.5
    assert len(np.unique(neurites.segmentation)) > 20


def test_open_sample_shows_what_was_made(plugin, make_napari_viewer):
    viewer = make_napari_viewer()
    layers = viewer.open_sample("napari-kemp", "neurites")
    assert [layer.name for layer in layers] == [
        "image",
        "segmentation",
        "affinities x",
        "affinities y",
        "affinities z",
    ]
    assert [layer.visible for layer in layers] == [False, False, True, True, True]
    made = make_neurites()
    np.testing.assert_array_equal(layers[0].data, made.image)
    np.testing.assert_array_equal(layers[1].data, made.segmentation)
    for layer, channel in zip(layers[2:], made.affinities, strict=True):
        np.testing.assert_allclose(layer.data, channel, rtol=0, atol=2**-23)
        assert tuple(layer.scale) == (40, 4, 4)
        url = layer.metadata["napari_kemp"]["url"]
    assert open_volume(url).info.scales[0].encoding == "kempressed"
    assert len(viewer.open_sample("napari-kemp", "neurites")) == 5
