"""Layers whose axes are transposed, scaled or moved are saved as what they show, where it is."""

import pickle

import dask.array as da
import numpy as np
import pytest

import napari_kemp
from napari_kemp import ExportError, open_volume
from napari_kemp.export import as_source
from napari_kemp.export.parts import Transposed
from napari_kemp.plugin.reader import get_reader
from napari_kemp.plugin.save_widget import SaveWidget

ZYX = np.random.default_rng(0).random((9, 40, 50), np.float32)
CZYX = np.random.default_rng(1).random((3, 9, 40, 50), np.float32)
RESOLUTION, OFFSET = (4, 5, 40), (5, -3, 2)


def affine(order, scale, translate):
    """Return the matrix that scales, moves, and puts data axis order[i] along world axis i."""
    matrix = np.eye(len(order) + 1)
    matrix[:-1, :-1] = np.diag(scale) @ np.eye(len(order))[list(order)]
    matrix[:-1, -1] = translate
    return matrix


STEPS, PLACE = (40, 5, 4), (80, -15, 20)
HALF = affine((0, 1, 2), (2, 1, 4), (76, -16, 8))
SWAP = affine((1, 0, 2), (1, 1, 1), (0, 0, 0))
LAYERS = {
    "scaled and moved twice": (
        ZYX,
        {"scale": (20, 5, 1), "translate": (2, 1, 3), "affine": HALF},
        ZYX,
    ),
    "affine only": (ZYX, {"affine": affine((0, 1, 2), STEPS, PLACE)}, ZYX),
    "x, y, z by an affine": (ZYX.T, {"affine": affine((2, 1, 0), STEPS, PLACE)}, ZYX),
    "y, z, x by an affine, scaled before it": (
        ZYX.transpose(1, 0, 2),
        {"scale": (5, 40, 4), "translate": (-15, 80, 20), "affine": SWAP},
        ZYX,
    ),
    "x, y, z by labels": (
        ZYX.T,
        {"scale": STEPS[::-1], "translate": PLACE[::-1], "axis_labels": ("x", "y", "z")},
        ZYX,
    ),
    "z, x, y by labels": (
        ZYX.transpose(0, 2, 1),
        {"scale": (40, 4, 5), "translate": (80, 20, -15), "axis_labels": ("Z", "X", "Y")},
        ZYX,
    ),
    "channels last by labels": (
        CZYX.transpose(1, 2, 3, 0),
        {
            "scale": (*STEPS, 1),
            "translate": (*PLACE, 0),
            "axis_labels": ("z", "y", "x", "c"),
            "rgb": False,
        },
        CZYX,
    ),
    "turned by a whole turn": (
        ZYX,
        {"scale": STEPS, "translate": PLACE, "rotate": (0, 0, 360)},
        ZYX,
    ),
    "multiscale": ([ZYX.T, ZYX.T[::2, ::2, ::2]], {"affine": affine((2, 1, 0), STEPS, PLACE)}, ZYX),
    "dask": (
        da.from_array(ZYX.T, chunks=(10, 9, 8)),
        {"affine": affine((2, 1, 0), STEPS, PLACE)},
        ZYX,
    ),
}


def test_a_layer_is_saved_where_it_lies(plugin, make_napari_viewer, tmp_path):
    # In 2D napari draws no layer whose affine exchanges a displayed axis for another.
    viewer = make_napari_viewer(ndisplay=3)
    for name, (data, attributes, expected) in LAYERS.items():
        viewer.layers.clear()
        layer = viewer.add_image(
            data,
            units="nm" if expected.ndim == 3 else ("nm", "nm", "nm", "pixel"),
            contrast_limits=(0, 2),
            name="net",
            **attributes,
        )
        folder = str(tmp_path / name)
        viewer.layers.save(folder, plugin="napari-kemp")
        scale = open_volume(folder).scales[0]
        assert scale.info.resolution == RESOLUTION, name
        assert scale.info.voxel_offset == OFFSET, name
        np.testing.assert_array_equal(scale.array, expected.reshape(-1, *ZYX.shape), name)
        if "affine" not in attributes:  # the viewer's world has the axes of the data then
            continue
        for opened in get_reader(folder)(folder):
            shown = viewer.add_image(opened[0], **opened[1])
            for voxel in ((0, 0, 0), (8, 39, 49), (3, 20, 7)):
                world = np.add(np.multiply(voxel, STEPS), PLACE)
                assert value_at(layer, world) == value_at(shown, world), name


def value_at(layer, world):
    at = np.rint(layer.world_to_data(world)).astype(int)
    data = layer.data[0] if layer.multiscale else layer.data
    return float(np.asarray(data[tuple(at)]))


def test_lazy_volumes_are_transposed_as_they_are_read(tmp_path):
    napari_kemp.export(ZYX, tmp_path / "from", encoding="raw", chunk_size=(16, 16, 4))
    array = open_volume(tmp_path / "from").scales[0].array.channel(0)
    source = as_source(Transposed(array, (2, 0, 1)))
    assert (source.chunk_xyz, source.size_xyz) == ((16, 4, 16), (40, 9, 50))
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(source)).read(source.middle((20, 5, 30)))[0],
        ZYX.transpose(2, 0, 1)[10:40, 2:7, 10:30],
    )
    with pytest.raises(ExportError, match="choose another folder"):
        napari_kemp.export(Transposed(array, (2, 0, 1)), tmp_path / "from", overwrite=True)


def test_the_field_of_view_is_saved_whatever_is_up(make_napari_viewer, tmp_path, qtbot):
    viewer = make_napari_viewer(show=True)
    widget = SaveWidget(viewer)
    viewer.window.add_dock_widget(widget)
    middle = [2, 20, 30]
    world = np.add(np.multiply(middle, STEPS), PLACE)
    for number, (data, order, up) in enumerate(
        [
            (ZYX, (0, 1, 2), (2, 1, 0)),
            (ZYX, (0, 1, 2), (1, 2, 0)),
            (ZYX.transpose(0, 2, 1), (0, 2, 1), (0, 1, 2)),
            (ZYX.transpose(0, 2, 1), (0, 2, 1), (0, 2, 1)),
        ]
    ):
        viewer.layers.clear()
        layer = viewer.add_image(
            data, affine=affine(order, STEPS, PLACE), units="nm", contrast_limits=(0, 2)
        )
        widget.channels.layers = [layer]
        viewer.dims.order = up
        qtbot.wait(20)
        viewer.scene.camera.zoom = viewer.canvas.size[0] / (8 * STEPS[up[1]])
        viewer.scene.camera.center = (0, *(world[axis] for axis in up[1:]))
        viewer.dims.set_point(up[0], world[up[0]])
        seen = {up[0]: slice(middle[up[0]], middle[up[0]] + 1)}
        for axis, pixels in zip(up[1:], viewer.canvas.size, strict=True):
            half = pixels / viewer.scene.camera.zoom / STEPS[axis] / 2
            low, high = np.floor(middle[axis] + np.array([-half, half]) + 0.5).astype(int)
            seen[axis] = slice(max(0, low), min(ZYX.shape[axis], high + 1))
        widget.region.value = "field of view, this section only"
        widget.encoding.value = "fpzip"
        widget.destination.line_edit.value = str(tmp_path / str(number))
        widget.refresh()
        widget.save_button.native.click()
        qtbot.waitUntil(lambda: not widget.saving, timeout=20_000)
        scale = open_volume(tmp_path / str(number)).scales[0]
        starts = (seen[2].start, seen[1].start, seen[0].start)
        assert scale.info.voxel_offset == tuple(np.add(OFFSET, starts))
        np.testing.assert_array_equal(scale.array[0], ZYX[seen[0], seen[1], seen[2]])
