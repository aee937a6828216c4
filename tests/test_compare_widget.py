import threading

import numpy as np
import pytest
from volumes import create_layers, make_volume

from napari_kemp import create_volume, export, open_volume
from napari_kemp.plugin.channel_layers import find_affinities
from napari_kemp.plugin.common_box import common_box
from napari_kemp.plugin.compare_widget import CompareWidget
from napari_kemp.sample import make_affinities


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Affinities as they are, and kempressed."""
    folder = tmp_path_factory.mktemp("volumes")
    affinities = make_affinities((80, 64, 6))
    volume = create_volume(
        folder / "net",
        size=(80, 64, 6),
        resolution=(4, 4, 40),
        chunk_size=(32, 32, 4),
        encoding="fpzip",
        voxel_offset=(5, -3, 2),
    )
    volume.scales[0].write(affinities, (5, -3, 2))
    export(volume, folder / "kempressed", chunk_size=(32, 32, 4))
    return [open_volume(folder / name) for name in ("net", "kempressed")]


@pytest.fixture
def viewer(make_napari_viewer, volumes):
    viewer = make_napari_viewer(show=True)
    for volume in volumes:
        for layer in create_layers(volume):
            viewer.add_layer(layer)
    return viewer


@pytest.fixture
def dock(qtbot):
    docked = []

    def dock(viewer):
        widget = CompareWidget(viewer)
        viewer.window.add_dock_widget(widget, name="Compare volumes")
        qtbot.wait(50)
        viewer.reset_view()
        docked.append(widget)
        return widget

    yield dock
    for widget in docked:
        widget.let_go()
        qtbot.waitUntil(lambda widget=widget: not widget.measuring, timeout=10_000)


@pytest.fixture
def widget(viewer, dock):
    return dock(viewer)


@pytest.fixture
def measure(qtbot):
    def measure(widget, scope="everything"):
        qtbot.waitUntil(lambda: not widget.measuring, timeout=20_000)
        widget.scope.setCurrentText(scope)
        widget.measure_button.click()
        qtbot.waitUntil(lambda: not widget.measuring, timeout=20_000)
        return widget.result.text()

    return measure


def values(volumes):
    return [np.asarray(volume.scales[0].array) for volume in volumes]


def test_two_volumes_are_compared_at_once(viewer, widget):
    assert widget.one.currentText() == "net"
    assert widget.other.currentText() == "kempressed"
    assert not widget.problem.isVisible()
    names = [widget.one.itemText(i) for i in range(widget.one.count())]
    assert names == ["net", "kempressed"] + [layer.name for layer in viewer.layers]


def test_the_difference_is_a_lazy_layer(viewer, widget, volumes, qtbot):
    widget.show_button.click()
    layer = viewer.layers["|net − kempressed|"]
    one, other = values(volumes)
    # Drawn so that the largest one in view is seen, however small it is.
    qtbot.waitUntil(lambda: layer.contrast_limits[1] < 2**-22, timeout=10_000)
    assert layer.contrast_limits[0] == 0
    section = np.abs(one - other)[:, round(viewer.dims.point[0] / 40) - 2]
    assert layer.contrast_limits[1] == pytest.approx(section.max())
    np.testing.assert_array_equal(layer.data, np.abs(one - other).max(0))
    np.testing.assert_array_equal(layer.extent.world, viewer.layers["net x"].extent.world)
    widget.show_button.click()
    assert len(viewer.layers) == 7
    widget.one.setCurrentText("net y")
    widget.other.setCurrentText("net z")
    widget.show_button.click()
    np.testing.assert_array_equal(viewer.layers["|net y − net z|"].data, np.abs(one[1] - one[2]))
    assert len(viewer.layers) == 7


def test_all_is_measured(viewer, widget, volumes, measure):
    one, other = values(volumes)
    difference = np.abs(one.astype(np.float32) - other)
    result = measure(widget)
    assert f"Largest difference {difference.max():.3g}" in result
    assert f"mean {difference.mean(dtype=float):.3g}, of {difference.size:,} values" in result
    widget.go_button.click()
    z, y, x = (
        round(world / step)
        for world, step in zip(
            (viewer.dims.point[0], *viewer.scene.camera.center[1:]), (40, 4, 4), strict=True
        )
    )
    assert f"Largest at voxel {x}, {y}, {z}." in result
    assert difference[:, z - 2, y + 3, x - 5].max() == difference.max()


@pytest.mark.parametrize("scope", ["in view, this section", "in view, all sections"])
def test_the_field_of_view_is_measured(viewer, widget, volumes, measure, qtbot, scope):
    viewer.dims.set_point(0, (2 + 3) * 40)
    height, _ = viewer.canvas.size
    viewer.scene.camera.zoom = height / (20 * 4)
    viewer.scene.camera.center = (0, (-3 + 40) * 4, (5 + 40) * 4)
    qtbot.wait(50)
    one, other = values(volumes)
    (_, y0, x0), (_, y1, x1) = find_affinities(viewer.layers)[0].finest_in_view(
        viewer, this_section=True
    )
    assert y1 - y0 == 21
    sections = slice(3, 4) if "this" in scope else slice(None)
    part = np.abs(one - other)[:, sections, y0:y1, x0:x1]
    result = measure(widget, scope)
    assert f"Largest difference {part.max():.3g}, mean {part.mean(dtype=float):.3g}" in result
    assert f"of {part.size:,} values" in result
    viewer.scene.camera.center = (0, 1e6, 1e6)
    assert "Nothing of net is in the field of view" in measure(widget, scope)


def test_contrast_is_linked_while_asked_for(viewer, widget):
    one, other = viewer.layers["net y"], viewer.layers["kempressed y"]
    one.contrast_limits = (0.2, 0.9)
    widget.link.setChecked(True)
    assert other.contrast_limits == [0.2, 0.9]
    other.contrast_limits = (0.1, 0.5)
    assert one.contrast_limits == [0.1, 0.5]
    assert viewer.layers["net x"].contrast_limits == [0, 1]
    widget.link.setChecked(False)
    other.contrast_limits = (0, 1)
    assert one.contrast_limits == [0.1, 0.5]


def test_volumes_are_compared_where_they_overlap(make_napari_viewer, dock, tmp_path, measure):
    rng = np.random.default_rng(0)
    size, offset = (64, 48, 4), (8, 16, 2)
    # The other lies 4 voxels further along each axis but z.
    for name, start in (("one", offset), ("other", (12, 20, 2))):
        fine = rng.random((3, 4, 48, 64), np.float32)
        coarse = fine[:, :, ::4, ::4]
        make_volume(
            tmp_path / name, size=size, offset=start, values=[fine, fine[:, :, ::2, ::2], coarse]
        )
    viewer = make_napari_viewer(show=True)
    for name in ("one", "other"):
        for layer in create_layers(open_volume(tmp_path / name)):
            viewer.add_layer(layer)
    widget = dock(viewer)
    one, other = (
        np.asarray(open_volume(tmp_path / name).scales[0].array) for name in ("one", "other")
    )
    expected = np.abs(one[:, :, 4:, 4:] - other[:, :, :-4, :-4])
    widget.show_button.click()
    layer = viewer.layers["|one − other|"]
    assert [level.shape for level in layer.data] == [(4, 44, 60), (4, 22, 30), (4, 11, 15)]
    np.testing.assert_array_equal(layer.data[0], expected.max(0))
    assert tuple(layer.translate) == (100, 80, 48)
    assert f"{expected.max():.3g}, mean {expected.mean(dtype=float):.3g}" in measure(widget)


def test_padding_is_not_compared(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    for name in ("one", "other"):
        for layer in create_layers(make_volume(tmp_path / name)):
            viewer.add_layer(layer)
    common = common_box(*find_affinities(viewer.layers))
    assert common.shape_zyx == (7, 90, 101)
    assert common.start_zyx == (0, 1, 1)
    # Coarser levels cover voxels around the volume, too.
    assert len(common.levels) == 1


def test_what_cannot_be_compared_is_said(make_napari_viewer, dock):
    viewer = make_napari_viewer()
    widget = dock(viewer)
    assert "Open two volumes" in widget.problem.text()
    zeros = np.zeros((4, 5, 6), np.float32)
    viewer.add_image(zeros, name="a", scale=(1, 2, 2), contrast_limits=(0, 1))
    assert "Open two volumes" in widget.problem.text()
    viewer.add_image(zeros, name="b", scale=(1, 3, 2), contrast_limits=(0, 1))
    widget.other.setCurrentText("b")
    assert "b of 2 × 3 × 1 nm: only volumes of the same resolution" in widget.problem.text()
    viewer.add_image(zeros, name="c", scale=(1, 2, 2), translate=(90, 0, 0), contrast_limits=(0, 1))
    widget.other.setCurrentText("c")
    assert "no voxel in common" in widget.problem.text()
    viewer.add_image(np.zeros((3, 4, 5, 6)), name="d", scale=(1, 1, 2, 2), contrast_limits=(0, 1))
    widget.other.setCurrentText("d")
    assert "d 3: compare volumes with the same number of channels" in widget.problem.text()
    assert not widget.measure_button.isEnabled()
    assert not widget.show_button.isEnabled()
    widget.other.setCurrentText("a")
    assert widget.problem.text() == "Choose two that differ."


class Gate:
    """An array whose first block is read at once, and others only once it was opened."""

    def __init__(self, shape, error=None):
        self.shape, self.dtype, self.ndim = shape, np.dtype(np.float32), len(shape)
        self.size = int(np.prod(shape))
        self.opened = threading.Event()
        self.opened.set()
        self.error = error

    def __getitem__(self, key):
        if key[0].start and key[0].start >= 16:
            closed = not self.opened.is_set()
            assert self.opened.wait(20)
            if self.error and closed:
                raise self.error
        return np.ones(self.shape, np.float32)[key]


@pytest.fixture
def slow(make_napari_viewer, dock, qtbot):
    def slow(error=None):
        viewer = make_napari_viewer(show=True)
        gate = Gate((64, 8, 8), error)
        viewer.add_image(gate, name="a", contrast_limits=(0, 1))
        viewer.add_image(np.zeros(gate.shape, np.float32), name="b", contrast_limits=(0, 1))
        viewer.dims.set_point(0, 0)
        widget = dock(viewer)
        widget.scope.setCurrentText("everything")
        gate.opened.clear()
        widget.measure_button.click()
        qtbot.waitUntil(lambda: widget.progress.value() == 1, timeout=10_000)
        return widget, gate

    return slow


def test_measuring_can_be_cancelled(slow, qtbot):
    widget, gate = slow()
    assert not widget.measure_button.isEnabled()
    widget.cancel_button.click()
    gate.opened.set()
    qtbot.waitUntil(lambda: not widget.measuring, timeout=10_000)
    assert "Largest difference 1, mean 1, of 2,048 values." in widget.result.text()
    assert "Stopped after 2 of 4 blocks." in widget.result.text()
    assert widget.measure_button.isEnabled()
    assert not widget.cancel_button.isEnabled()


def test_what_goes_wrong_is_said(slow, qtbot):
    widget, gate = slow(RuntimeError("the disk is on fire"))
    gate.opened.set()
    qtbot.waitUntil(lambda: not widget.measuring, timeout=10_000)
    assert widget.result.text() == "the disk is on fire"
    assert not widget.go_button.isVisible()


def test_closing_the_dock_stops(slow, qtbot):
    widget, gate = slow()
    widget.let_go()
    gate.opened.set()
    qtbot.waitUntil(lambda: not widget.measuring, timeout=10_000)
