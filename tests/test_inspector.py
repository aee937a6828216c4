"""The inspector in a real viewer: clicks and values in, layers and pixels out."""

import itertools

import numpy as np
import pint
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from volumes import create_layers, make_volume

from napari_kemp import create_volume, open_volume
from napari_kemp.affinity import Convention, find_segments
from napari_kemp.plugin.channel_layers import find_affinities
from napari_kemp.plugin.inspector import AffinityInspector
from napari_kemp.sample import make_neurites

SHAPE_XYZ = (96, 80, 8)
OFFSET_XYZ = (5, -3, 2)
STEP_NM = (4, 4, 50)


@pytest.fixture(scope="module")
def neurites():
    return make_neurites(SHAPE_XYZ)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory, neurites):
    folder = tmp_path_factory.mktemp("volumes")
    for name, array in (("image", neurites.image), ("net", neurites.affinities)):
        volume = create_volume(
            folder / name,
            size=SHAPE_XYZ,
            resolution=STEP_NM,
            chunk_size=(32, 32, 4),
            encoding="raw",
            data_type=array.dtype.name,
            num_channels=len(array) if array.ndim == 4 else 1,
            voxel_offset=OFFSET_XYZ,
        )
        volume.scales[0].write(array, OFFSET_XYZ)
    return [open_volume(folder / name) for name in ("image", "net")]


@pytest.fixture
def viewer(make_napari_viewer, volumes):
    """A viewer on screen with an image and affinities of the same place."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1100, 800)
    for volume in volumes:
        for layer in create_layers(volume):
            viewer.add_layer(layer)
    viewer.reset_view()
    return viewer


@pytest.fixture
def dock(qtbot):
    docked = []

    def dock(viewer):
        widget = AffinityInspector(viewer)
        viewer.window.add_dock_widget(widget, name="Affinity inspector")
        docked.append(widget)
        qtbot.wait(100)
        viewer.reset_view()
        settle(qtbot, widget)
        return widget

    yield dock
    for widget in docked:
        widget.let_go()


def settle(qtbot, widget):
    """Wait until the view has come to rest, and all that follows from it is there."""
    qtbot.wait(120)
    qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)


@pytest.fixture
def inspector(viewer, dock):
    return dock(viewer)


def choose(combo, value):
    combo.setCurrentIndex(combo.findData(value))


def shown(viewer, inspector):
    layer = inspector.display._display.layer
    assert layer in viewer.layers
    return layer


def canvas(viewer):
    return viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)


def test_affinities_are_shown_composed_at_once(viewer, inspector, neurites):
    assert inspector.volume.currentText() == "net"
    layer = shown(viewer, inspector)
    assert layer.name == "net (RGB)"
    assert [each.visible for each in viewer.layers if each.name.startswith("net ")] == [
        False,
        False,
        False,
        True,
    ]
    np.testing.assert_array_equal(layer.data, np.moveaxis(neurites.affinities, 0, -1))
    assert tuple(layer.scale) == (50, 4, 4)
    assert tuple(layer.translate) == (100, -12, 20)
    assert {str(unit) for unit in layer.units} == {"nanometer"}


MAPS = {
    "x": lambda a: a[0],
    "y": lambda a: a[1],
    "z": lambda a: a[2],
    "boundary": lambda a: 1 - a.min(0),
    "mean": lambda a: a.mean(0),
    "maximum": lambda a: a.max(0),
}


def test_modes_show_what_they_say(viewer, inspector, neurites):
    for mode, expected in MAPS.items():
        choose(inspector.display.mode, mode)
        layer = shown(viewer, inspector)
        np.testing.assert_allclose(layer.data, expected(neurites.affinities), rtol=1e-6)
        assert layer.name == f"net ({mode})"
        assert not any(each.visible for each in viewer.layers if each.name in ("net x", "net y"))


def test_ways_of_one_value_a_voxel_share_a_layer(viewer, inspector, neurites, qtbot):
    viewer.dims.set_point(0, (2 + 4) * 50)
    choose(inspector.display.mode, "x")
    layer, pictures = shown(viewer, inspector), []
    for mode in ("y", "z", "boundary", "mean", "maximum", "x"):
        choose(inspector.display.mode, mode)
        # Inserting a layer and removing another would block the window.
        assert shown(viewer, inspector) is layer
        assert layer.name == f"net ({mode})"
        settle(qtbot, inspector)
        pictures.append(canvas(viewer))
    for one, other in itertools.pairwise(pictures):
        assert np.abs(one - other).max() > 60


def test_only_one_layer_is_added_however_often_the_mode_changes(viewer, inspector):
    count = len(viewer.layers)
    shown(viewer, inspector).opacity = 0.5
    for _ in range(7):
        inspector.display.cycle(1)
    assert inspector.display.mode.currentData() == "own layers"
    assert len(viewer.layers) == count - 1
    assert all(layer.visible for layer in viewer.layers)
    inspector.display.cycle(1)
    assert len(viewer.layers) == count
    assert inspector.display.mode.currentData() == "RGB"


def test_nothing_is_read_but_the_section_on_screen(make_napari_viewer, dock, qtbot):
    read = []

    class Recording:
        """As a zarr array is: reads when it is indexed."""

        shape, dtype, ndim, chunks = (40, 64, 64), np.dtype(np.float32), 3, (8, 32, 32)
        size = 40 * 64 * 64

        def __getitem__(self, key):
            part = np.ones(self.shape, np.float32)[key]
            read.append(part.size)
            return part

        def __array__(self, *args, **kwargs):
            raise AssertionError("all of it was asked for at once")

    viewer = make_napari_viewer(show=True)
    for axis in "xyz":
        viewer.add_image(Recording(), name=f"net {axis}", contrast_limits=(0, 1), visible=False)
    inspector = dock(viewer)
    inspector.segments.live.setChecked(True)
    choose(inspector.display.mode, "boundary")
    read.clear()
    viewer.dims.set_point(0, 30)
    settle(qtbot, inspector)
    assert read
    assert max(read) <= 64 * 64
    assert inspector.segments.result.text().startswith("1 segment, the largest of 4,096")


def test_brightness_goes_to_the_pixels(viewer, inspector, qtbot):
    before = canvas(viewer)
    inspector.display.brightness.setValue((0.9, 1.0))
    qtbot.wait(50)
    assert canvas(viewer).mean() < before.mean() - 5
    choose(inspector.display.mode, "mean")
    assert shown(viewer, inspector).contrast_limits == [0.9, 1.0]
    choose(inspector.display.mode, "boundary")
    assert shown(viewer, inspector).contrast_limits == [0, 1]
    assert tuple(inspector.display.brightness.value()) == (0, 1)
    inspector.display.brightness.setValue((0.2, 0.2))
    low, high = shown(viewer, inspector).contrast_limits
    assert low < high


def test_the_order_of_channels_can_be_told(viewer, inspector, neurites, qtbot):
    choose(inspector.order, "zyx")
    settle(qtbot, inspector)
    np.testing.assert_array_equal(
        shown(viewer, inspector).data, np.moveaxis(neurites.affinities[::-1], 0, -1)
    )
    choose(inspector.display.mode, "z")
    np.testing.assert_array_equal(shown(viewer, inspector).data, neurites.affinities[0])


def test_the_histogram_counts_the_field_of_view(viewer, inspector, neurites, qtbot):
    section = neurites.affinities[:, 4]
    viewer.dims.set_point(0, (2 + 4) * 50)
    settle(qtbot, inspector)
    counts = inspector.display.histogram.counts
    for axis, values in zip("xyz", section, strict=True):
        np.testing.assert_array_equal(counts[axis], np.histogram(values, 128, (0, 1))[0])
    viewer.scene.camera.zoom *= 4
    settle(qtbot, inspector)
    assert 0 < inspector.display.histogram.counts["x"].sum() < section[0].size / 4
    viewer.scene.camera.center = (0, 1e6, 1e6)
    settle(qtbot, inspector)
    assert inspector.display.histogram.counts == {}


def test_segments_follow_threshold_and_section(viewer, inspector, neurites, qtbot):
    inspector.segments.live.setChecked(True)
    for section, threshold in ((4, 0.5), (4, 0.92), (6, 0.92)):
        viewer.dims.set_point(0, (2 + section) * 50)
        inspector.segments.threshold.setValue(threshold)
        settle(qtbot, inspector)
        layer = viewer.layers["net segments"]
        assert isinstance(layer, Labels)
        expected = find_segments(neurites.affinities[:, [section]], threshold, Convention())
        assert layer.data.shape == (1, 80, 96)
        pairs = np.unique(np.stack([layer.data.ravel(), expected.labels.ravel()]), axis=1)
        # The same segments under other numbers.
        assert pairs.shape[1] == expected.count + 1
        assert len(np.unique(pairs[0])) == expected.count + 1
        assert tuple(layer.translate) == ((2 + section) * 50, -12, 20)
        assert inspector.segments.result.text().startswith(
            f"{expected.count:,} segments, the largest of {expected.largest_voxels:,} voxels"
        )
    assert inspector.display.histogram.threshold == pytest.approx(0.92)
    inspector.segments.live.setChecked(False)
    assert inspector.segments.result.text() == ""
    assert inspector.display.histogram.threshold is None


def test_segments_by_mutex_watershed(viewer, inspector, neurites, qtbot):
    viewer.dims.set_point(0, (2 + 4) * 50)
    inspector.segments.live.setChecked(True)
    choose(inspector.segments.method, True)
    settle(qtbot, inspector)
    expected = find_segments(neurites.affinities[:, [4]], 0.5, Convention(), mutex=True)
    assert inspector.segments.result.text().startswith(f"{expected.count:,} segments")


def test_the_convention_changes_the_segments(viewer, inspector, neurites, qtbot):
    inspector.segments.live.setChecked(True)
    choose(inspector.offset, 1)
    settle(qtbot, inspector)
    section = inspector.subject.affinities.region_in_view(viewer, limit_voxels=10**6).start_zyx[0]
    expected = find_segments(neurites.affinities[:, [section]], 0.5, Convention(offset=1))
    assert inspector.segments.result.text().startswith(f"{expected.count:,} segments")


def test_segments_of_a_zoomed_out_volume_lie_in_their_place(
    make_napari_viewer, dock, tmp_path, qtbot
):
    volume = make_volume(tmp_path / "net", size=(400, 360, 5), offset=(8, 16, 2))
    viewer = make_napari_viewer(show=True)
    for layer in create_layers(volume):
        viewer.add_layer(layer)
    viewer.reset_view()
    inspector = dock(viewer)
    viewer.scene.camera.zoom = 1 / 16
    inspector.segments.live.setChecked(True)
    settle(qtbot, inspector)
    layer = viewer.layers["net segments"]
    assert layer.data.shape[1:] == (90, 100)
    np.testing.assert_array_equal(
        layer.extent.world[:, 1:] + np.array([[-8], [8]]),
        viewer.layers["net x"].extent.world[:, 1:] + np.array([[-2], [2]]),
    )
    assert "4 × coarser" in inspector.segments.result.text()


def test_a_region_is_segmented_on_request(viewer, inspector, neurites, qtbot):
    viewer.dims.set_point(0, (2 + 4) * 50)
    inspector.segments.region.sections.setValue(4)
    inspector.segments.threshold.setValue(0.9)
    inspector.segments.region.find_button.click()
    assert inspector.segments.region.find_button.text() == "Cancel"
    settle(qtbot, inspector)
    expected = find_segments(neurites.affinities[:, 3:7], 0.9, Convention())
    layer = viewer.layers["net segments in 3D"]
    np.testing.assert_array_equal(layer.data, expected.labels)
    assert tuple(layer.translate) == ((2 + 3) * 50, -12, 20)
    assert inspector.segments.region.result.text().startswith(
        f"96 × 80 × 4 voxels: {expected.count:,} segments"
    )
    assert inspector.segments.region.find_button.isEnabled()
    assert inspector.segments.region.find_button.text() == "Find segments"


@pytest.mark.parametrize("segmented", [False, True])
def test_a_region_is_shown_in_3d(viewer, inspector, qtbot, segmented):
    choose(inspector.display.mode, "boundary")
    if segmented:
        inspector.segments.region.find_segments()
        settle(qtbot, inspector)
        viewer.layers["net segments in 3D"].opacity = 0.3
    before = state(viewer)
    inspector.segments.region.show_button.click()
    settle(qtbot, inspector)
    assert viewer.dims.ndisplay == 3
    visible = [layer.name for layer in viewer.layers if layer.visible]
    assert visible == ["net segments in 3D" if segmented else "net (boundary, 3D)"]
    picture = canvas(viewer)
    assert (picture.max(axis=-1) > 60).mean() > 0.02
    viewer.dims.ndisplay = 2
    assert state(viewer) == before
    settle(qtbot, inspector)


def state(viewer):
    """What has to be as before, back in 2D."""
    camera = viewer.scene.camera
    layers = [(layer, layer.visible, layer.opacity) for layer in viewer.layers]
    return layers, set(viewer.layers.selection), camera.center, camera.zoom, viewer.dims.point


IN_3D = {
    "RGB": (["net (x, 3D)", "net (y, 3D)", "net (z, 3D)"], [0, 1, 2]),
    "own layers": (["net (x, 3D)", "net (y, 3D)", "net (z, 3D)"], [0, 1, 2]),
    "y": (["net (y, 3D)"], [1]),
    "mean": (["net (mean, 3D)"], None),
    "maximum": (["net (maximum, 3D)"], None),
}


def test_what_is_shown_is_drawn_in_3d(viewer, inspector, neurites, qtbot):
    for mode, (names, channels) in IN_3D.items():
        choose(inspector.display.mode, mode)
        before = state(viewer)
        inspector.display.brightness.setValue((0.25, 0.75))
        viewer.dims.set_point(0, (2 + 4) * 50)
        inspector.segments.region.sections.setValue(4)
        inspector.segments.region.show_in_3d()
        settle(qtbot, inspector)
        layers = [layer for layer in viewer.layers if layer.visible]
        assert [layer.name for layer in layers] == names
        part = neurites.affinities[:, 3:7]
        expected = {"mean": part.mean(0), "maximum": part.max(0)}.get(mode)
        for number, layer in enumerate(layers):
            values = expected if channels is None else part[channels[number]]
            np.testing.assert_allclose(layer.data, values, rtol=1e-6)
            assert layer.contrast_limits == [0.25, 0.75]
            assert tuple(layer.translate) == ((2 + 3) * 50, -12, 20)
        picture = canvas(viewer)
        assert (picture.max(axis=-1) > 60).mean() > 0.02
        coloured = np.ptp(picture, axis=-1).max() > 60
        assert coloured == (len(names) == 3)
        inspector.display.brightness.setValue((0.9, 1))
        assert all(layer.contrast_limits == [0.9, 1] for layer in layers)
        assert np.abs(canvas(viewer) - picture).mean() > 1
        inspector.display.brightness.setValue((0.25, 0.75))
        if len(names) == 3:
            for number in range(3):
                for layer in layers:
                    layer.visible = layer is layers[number]
                alone = canvas(viewer)
                bright = alone[alone.max(axis=-1) > 60]
                assert len(bright)
                assert (bright.argmax(axis=-1) == number).all()
        viewer.dims.ndisplay = 2
        assert [each[0] for each in state(viewer)[0]] == [each[0] for each in before[0]]
        assert [each[1] for each in state(viewer)[0]] == [each[1] for each in before[0]]
        settle(qtbot, inspector)


def test_in_3d_the_order_of_channels_is_heeded(viewer, inspector, neurites, qtbot):
    choose(inspector.order, "zyx")
    inspector.segments.region.show_in_3d()
    settle(qtbot, inspector)
    assert viewer.layers["net (x, 3D)"].colormap.name == "red"
    np.testing.assert_array_equal(viewer.layers["net (x, 3D)"].data, neurites.affinities[2])
    np.testing.assert_array_equal(viewer.layers["net (z, 3D)"].data, neurites.affinities[0])
    viewer.dims.ndisplay = 2


def test_segments_of_another_region_are_not_drawn_in_3d(viewer, inspector, qtbot):
    inspector.segments.region.sections.setValue(2)
    inspector.segments.region.find_segments()
    settle(qtbot, inspector)
    inspector.segments.region.sections.setValue(4)
    inspector.segments.region.show_in_3d()
    settle(qtbot, inspector)
    visible = [layer.name for layer in viewer.layers if layer.visible]
    assert visible == ["net (x, 3D)", "net (y, 3D)", "net (z, 3D)"]
    viewer.dims.ndisplay = 2
    assert viewer.layers["net segments in 3D"].visible


@pytest.mark.parametrize("how", ["mode", "dock closed", "layer removed"])
def test_what_is_hidden_in_3d_comes_back(viewer, inspector, qtbot, how):
    count = len(viewer.layers)
    inspector.segments.region.show_in_3d()
    settle(qtbot, inspector)
    if how == "mode":
        inspector.display.cycle(1)
        assert shown(viewer, inspector).visible
    elif how == "dock closed":
        viewer.window.remove_dock_widget(inspector)
    else:
        viewer.layers.remove(viewer.layers["net y"])
        count -= 2
    assert viewer.dims.ndisplay == 2
    assert len(viewer.layers) == count
    assert viewer.layers["image"].visible
    settle(qtbot, inspector)


def test_too_large_a_region_is_refused(viewer, inspector, monkeypatch):
    monkeypatch.setattr("napari_kemp.plugin.region_controls._REGION_VOXELS", 10_000)
    inspector.segments.region.find_button.click()
    assert "96 × 80 × 8 voxels are in the field of view" in inspector.segments.region.result.text()
    assert "take fewer sections" in inspector.segments.region.result.text()
    viewer.dims.ndisplay = 3
    inspector.segments.region.find_button.click()
    assert "2D first" in inspector.segments.region.result.text()


def test_what_cannot_be_read_is_said(make_napari_viewer, dock, qtbot):
    class Broken:
        shape, dtype, ndim, size = (4, 8, 8), np.dtype(np.float32), 3, 256

        def __getitem__(self, key):
            if broken:
                raise RuntimeError("the disk is on fire")
            return np.ones(self.shape, np.float32)[key]

    broken = False
    viewer = make_napari_viewer(show=True)
    for axis in "xyz":
        viewer.add_image(Broken(), name=f"net {axis}", contrast_limits=(0, 1))
    inspector = dock(viewer)
    broken = True
    inspector.segments.region.find_button.click()
    settle(qtbot, inspector)
    assert inspector.segments.region.result.text() == "the disk is on fire"
    assert inspector.segments.region.find_button.isEnabled()
    assert inspector.segments.region.find_button.text() == "Find segments"
    broken = False


def test_image_and_affinities_beside_each_other(viewer, inspector, qtbot):
    inspector.display.side_button.click()
    viewer.reset_view()
    settle(qtbot, inspector)
    grid = viewer.canvas.grid
    assert grid.enabled
    assert grid.actual_shape(viewer.layers) == (1, 2)
    image, layer = viewer.layers["image"], shown(viewer, inspector)
    assert grid.position(viewer.layers.index(image), viewer.layers) == (0, 0)
    assert grid.position(viewer.layers.index(layer), viewer.layers) == (0, 1)
    picture = canvas(viewer)
    left, right = np.array_split(picture, 2, axis=1)
    assert np.abs(left - left[..., :1]).max() == 0
    assert np.abs(right - right[..., :1]).max() > 50

    inspector.segments.live.setChecked(True)
    settle(qtbot, inspector)
    assert grid.actual_shape(viewer.layers) == (1, 2)
    segments = viewer.layers.index(viewer.layers["net segments"])
    assert grid.position(segments, viewer.layers) == (0, 0)

    inspector.display.overlay_button.click()
    assert not grid.enabled
    assert viewer.layers[0].name == "image"
    assert [each.name for each in viewer.layers][-2:] == ["net (RGB)", "net segments"]
    assert shown(viewer, inspector).opacity < 1


def test_without_an_image_nothing_can_lie_beside(make_napari_viewer, dock, volumes):
    viewer = make_napari_viewer()
    for layer in create_layers(volumes[1]):
        viewer.add_layer(layer)
    inspector = dock(viewer)
    inspector.display.side_button.click()
    assert "no image" in inspector.display.result.text()
    assert not viewer.canvas.grid.enabled


def test_values_under_the_cursor(viewer, inspector, neurites, qtbot):
    viewer.cursor.position = ((2 + 4) * 50, (-3 + 20) * 4 + 1, (5 + 30) * 4 - 1)
    settle(qtbot, inspector)
    x, y, z = neurites.affinities[:, 4, 20, 30]
    assert inspector.where.values.text() == f"voxel 35, 17, 6\nx {x:.4f}   y {y:.4f}   z {z:.4f}"
    choose(inspector.order, "zyx")
    viewer.cursor.position = ((2 + 4) * 50, (-3 + 20) * 4, (5 + 30) * 4)
    settle(qtbot, inspector)
    assert inspector.where.values.text().endswith(f"x {z:.4f}   y {y:.4f}   z {x:.4f}")
    viewer.cursor.position = (300, -100, 0)
    settle(qtbot, inspector)
    assert inspector.where.values.text() == "voxel 0, -25, 6: outside of the volume"


def test_go_to_a_position(viewer, inspector, qtbot):
    centre, point = viewer.scene.camera.center, viewer.dims.point[0]
    for unit, text, told in (
        ("voxels", "35, 17, 6", "35, 17, 6"),
        ("nm", "(140; 68; 300)", "140, 68, 300"),
    ):
        viewer.scene.camera.center = centre
        viewer.dims.set_point(0, point)
        choose(inspector.where.unit, unit)
        inspector.where.position.setText(text)
        qtbot.keyClick(inspector.where.position, Qt.Key.Key_Return)
        assert viewer.dims.point[0] == 300
        assert tuple(viewer.scene.camera.center)[1:] == (68, 140)
        settle(qtbot, inspector)
        assert inspector.where.position.text() == told
        inspector.where.copy_button.click()
        assert QApplication.clipboard().text() == "35, 17, 6"


def test_a_position_that_is_none_is_refused(viewer, inspector):
    before = viewer.scene.camera.center
    inspector.where.position.setText("35, 17")
    inspector.where.go_button.click()
    assert "position: expected three numbers" in inspector.where.result.text()
    assert viewer.scene.camera.center == before


def press(viewer, key, modifier=Qt.KeyboardModifier.NoModifier, qtbot=None):
    qtbot.keyClick(viewer.window._qt_viewer.canvas.native, key, modifier)


def test_keys(viewer, inspector, qtbot):
    shift = Qt.KeyboardModifier.ShiftModifier
    press(viewer, Qt.Key.Key_D, qtbot=qtbot)
    assert inspector.display.mode.currentData() == "x"
    press(viewer, Qt.Key.Key_D, shift, qtbot=qtbot)
    assert inspector.display.mode.currentData() == "RGB"
    press(viewer, Qt.Key.Key_Period, qtbot=qtbot)
    press(viewer, Qt.Key.Key_Period, qtbot=qtbot)
    press(viewer, Qt.Key.Key_Comma, qtbot=qtbot)
    assert inspector.segments.threshold.value() == pytest.approx(0.51)
    assert inspector.segments.live.isChecked()
    press(viewer, Qt.Key.Key_G, shift, qtbot=qtbot)
    assert viewer.canvas.grid.enabled
    press(viewer, Qt.Key.Key_G, shift, qtbot=qtbot)
    assert not viewer.canvas.grid.enabled
    viewer.cursor.position = (300, 68, 140)
    press(viewer, Qt.Key.Key_C, shift, qtbot=qtbot)
    assert QApplication.clipboard().text() == "35, 17, 6"
    settle(qtbot, inspector)


def test_keys_go_to_the_next_section_with_data(make_napari_viewer, dock, qtbot):
    viewer = make_napari_viewer(show=True)
    data = np.zeros((20, 16, 16), np.float32)
    data[[3, 4, 11, 18]] = 0.5
    for axis in "xyz":
        viewer.add_image(data, name=f"net {axis}", contrast_limits=(0, 1), scale=(50, 4, 4))
    inspector = dock(viewer)
    viewer.dims.set_point(0, 4 * 50)
    visited = []
    for key in [Qt.Key.Key_PageDown] * 3 + [Qt.Key.Key_PageUp] * 3:
        press(viewer, key, qtbot=qtbot)
        settle(qtbot, inspector)
        visited.append(viewer.dims.point[0] / 50)
    assert visited == [11, 18, 18, 11, 4, 3]


def test_keys_are_given_back(viewer, inspector, qtbot):
    settle(qtbot, inspector)
    viewer.window.remove_dock_widget(inspector)
    assert inspector.subject.closed
    press(viewer, Qt.Key.Key_D, qtbot=qtbot)
    viewer.dims.set_point(0, 200)
    viewer.scene.camera.zoom *= 2
    viewer.layers.clear()
    qtbot.wait(100)


def test_the_scale_bar_is_as_long_as_it_says(viewer, inspector, qtbot):
    scale_bar = viewer.canvas.overlays.scale_bar
    assert {str(unit) for unit in viewer.layers.extent.units} == {"nanometer"}
    for ndisplay, zoom, unit in ((2, 0.4, "nm"), (2, 0.02, "µm"), (3, 0.02, "µm"), (3, 0.4, "nm")):
        viewer.dims.ndisplay = ndisplay
        viewer.scene.camera.zoom = zoom
        inspector.display.scale_bar.setChecked(False)
        assert not scale_bar.visible
        without = canvas(viewer)
        inspector.display.scale_bar.setChecked(True)
        assert scale_bar.visible
        bright = np.abs(canvas(viewer) - without).min(axis=-1) > 100
        (drawn,) = viewer.window._qt_viewer.canvas._viewer_overlay_to_visual[scale_bar]
        told = drawn.node.text.text
        assert told.endswith(unit)
        length = pint.Quantity(told).to("nm").magnitude * zoom
        assert bright.sum(axis=1).max() == pytest.approx(length, abs=4)
    viewer.dims.ndisplay = 2
    settle(qtbot, inspector)


def test_any_three_layers_will_do(make_napari_viewer, dock, qtbot):
    viewer = make_napari_viewer(show=True)
    data = np.random.default_rng(0).random((3, 4, 20, 30), np.float32)
    layers = [
        viewer.add_image(part, name=name, contrast_limits=(0, 1))
        for part, name in zip(data, "abc", strict=True)
    ]
    inspector = dock(viewer)
    assert inspector.volume.currentText() == "three layers…"
    assert inspector._channel_form.isVisible()
    np.testing.assert_array_equal(shown(viewer, inspector).data, np.moveaxis(data, 0, -1))
    inspector.channels[0].setCurrentIndex(2)
    assert inspector.subject.affinities.layers == (layers[2], layers[1], layers[2])
    other = viewer.add_image(np.zeros((4, 5, 6), np.float32), name="small")
    inspector.channels[1].setCurrentIndex(inspector.channels[1].findText("small"))
    assert "shape (z, y, x) differs" in inspector.problem.text()
    assert not inspector.tabs.isEnabled()
    viewer.layers.remove(other)
    assert inspector.tabs.isEnabled()
    settle(qtbot, inspector)


def test_other_channels_begin_with_those_that_are_shown(viewer, inspector, qtbot):
    before = inspector.subject.affinities.layers
    inspector.volume.setCurrentText("three layers…")
    assert [combo.currentText() for combo in inspector.channels] == ["net x", "net y", "net z"]
    assert inspector.subject.affinities.layers == before
    inspector.channels[2].setCurrentIndex(inspector.channels[2].findText("image"))
    assert "data type differs" in inspector.problem.text()
    # Not left with an empty canvas.
    assert all(layer.visible for layer in before)
    settle(qtbot, inspector)
    assert inspector.display.histogram.counts == {}


def test_one_layer_with_four_axes_will_do(make_napari_viewer, dock, qtbot):
    viewer = make_napari_viewer(show=True)
    data = np.random.default_rng(0).random((3, 4, 20, 30), np.float32)
    viewer.add_image(data, name="net", contrast_limits=(0, 1), scale=(1, 50, 4, 4))
    inspector = dock(viewer)
    choose(inspector.display.mode, "boundary")
    np.testing.assert_allclose(shown(viewer, inspector).data, 1 - data.min(0))
    inspector.segments.live.setChecked(True)
    settle(qtbot, inspector)
    assert viewer.layers["net segments"].data.shape == (1, 20, 30)
    inspector.segments.live.setChecked(False)
    viewer.layers.clear()
    viewer.add_image(data, name="net", contrast_limits=(0, 1), axis_labels=("c", "x", "y", "z"))
    assert "'net' has its axes in another order than z, y, x" in inspector.problem.text()
    assert not inspector.tabs.isEnabled()
    settle(qtbot, inspector)


def test_the_selected_affinities_come_first(viewer, dock, volumes):
    for layer in create_layers(volumes[1]):
        viewer.add_layer(layer)
    names = [found.name for found in find_affinities(viewer.layers)]
    assert len(names) == 2
    viewer.layers.selection = {viewer.layers[-1]}
    assert dock(viewer).subject.affinities.layers == tuple(viewer.layers[-4:-1])


def test_layers_come_and_go(make_napari_viewer, dock, volumes, qtbot):
    viewer = make_napari_viewer(show=True)
    inspector = dock(viewer)
    assert "Open affinities first" in inspector.problem.text()
    assert not inspector.tabs.isEnabled()
    for layer in create_layers(volumes[1]):
        viewer.add_layer(layer)
    assert inspector.tabs.isEnabled()
    assert shown(viewer, inspector).name == "net (RGB)"
    viewer.layers.remove(viewer.layers["net y"])
    assert not inspector.tabs.isEnabled()
    assert "net (RGB)" not in viewer.layers
    viewer.layers.clear()
    for volume in volumes:
        for layer in create_layers(volume):
            viewer.add_layer(layer)
    assert inspector.volume.currentText() == "net"
    # The image and the other two are three layers still, but none that go together.
    viewer.layers.remove(viewer.layers["net y"])
    assert inspector.volume.currentText() == "three layers…"
    assert "data type differs" in inspector.problem.text()
    settle(qtbot, inspector)


def test_closing_the_window_stops_everything(viewer, dock, qtbot):
    inspector = AffinityInspector(viewer)
    viewer.window.add_dock_widget(inspector)
    inspector.segments.live.setChecked(True)
    inspector.segments.region.find_segments()
    layers = viewer.layers
    viewer.close()
    qtbot.wait(200)
    assert inspector.closed
    layers.clear()
    viewer.dims.set_point(0, 0)
    qtbot.wait(200)


def test_what_changes_in_the_layers_is_seen(make_napari_viewer, dock, qtbot):
    viewer = make_napari_viewer(show=True)
    data = np.random.default_rng(0).random((3, 4, 20, 30), np.float32)
    for part, axis in zip(data, "xyz", strict=True):
        viewer.add_image(part, name=f"net {axis}", contrast_limits=(0, 1))
    inspector = dock(viewer)
    choose(inspector.display.mode, "maximum")
    viewer.layers["net y"].data = np.full_like(data[0], 2)
    settle(qtbot, inspector)
    assert (np.asarray(shown(viewer, inspector).data) == 2).all()
    for axis in "xyz":
        viewer.layers[f"net {axis}"].translate = (0, 100, 200)
    settle(qtbot, inspector)
    assert tuple(shown(viewer, inspector).translate) == (0, 100, 200)
    assert len(viewer.layers) == 4


def test_napari_s_own_switch_to_3d_does_no_harm(viewer, inspector, qtbot):
    for mode in ("RGB", "boundary"):
        choose(inspector.display.mode, mode)
        viewer.dims.ndisplay = 3
        settle(qtbot, inspector)
        assert canvas(viewer).max() > 60
        viewer.dims.ndisplay = 2
        settle(qtbot, inspector)


def test_sections_in_other_planes(viewer, inspector, neurites, qtbot):
    viewer.dims.order = (2, 0, 1)
    viewer.reset_view()
    viewer.dims.set_point(2, (5 + 30) * 4)
    inspector.segments.live.setChecked(True)
    settle(qtbot, inspector)
    layer = viewer.layers["net segments"]
    assert layer.data.shape == (8, 80, 1)
    assert tuple(layer.translate) == (100, -12, (5 + 30) * 4)
    expected = find_segments(neurites.affinities[..., 30:31], 0.5, Convention())
    assert inspector.segments.result.text().startswith(f"{expected.count:,} segments")


def test_image_affinities_and_segmentation_lie_on_each_other(make_napari_viewer, dock, isbi, qtbot):
    viewer = make_napari_viewer(show=True)
    for name in ("em", "segmentation", "affinities-kempressed"):
        for layer in create_layers(open_volume(isbi / name)):
            viewer.add_layer(layer)
    image = viewer.layers["em"]
    for layer in viewer.layers:
        # Of the same place, but for the pixels that napari adds around the middle of voxels.
        np.testing.assert_array_equal(layer.extent.world, image.extent.world)
    inspector = dock(viewer)
    inspector.display.side_by_side()
    grid = viewer.canvas.grid
    places = {
        layer.name: grid.position(index, viewer.layers)
        for index, layer in enumerate(viewer.layers)
        if layer.visible
    }
    assert places == {
        "em": (0, 0),
        "segmentation": (0, 0),
        "affinities-kempressed (RGB)": (0, 1),
    }
    settle(qtbot, inspector)
