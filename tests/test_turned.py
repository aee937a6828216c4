"""Affinities that are rotated, sheared or moved by an affine transform, inspected and compared."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_kemp.affinity import Convention, find_segments
from napari_kemp.plugin.compare_widget import CompareWidget
from napari_kemp.plugin.inspector import AffinityInspector

SHAPE = (6, 40, 50)
STEP = (50.0, 4.0, 4.0)
OFFSET = (2, -3, 5)


def turned(degrees=0.0, axis=(1, 0, 0), factor=1.0):
    """An affine transform that rotates around an axis of the world, and enlarges."""
    affine = np.eye(4)
    affine[:3, :3] = (
        factor * Rotation.from_rotvec(degrees * np.array(axis), degrees=True).as_matrix()
    )
    affine[:3, 3] = 0, 320, -120
    return affine


# In the plane of sections.
SHEARED = turned(30)
SHEARED[2, 1] += 0.2
# Each with the voxels by which it moves what the volume says of its place: of what is not turned,
# the affine transform counts as the place itself.
AFFINES = {
    "sheared": (SHEARED, (0, 0)),
    "enlarged": (turned(factor=2), (-15, 40)),
}


@pytest.fixture
def values():
    return np.random.default_rng(0).random((3, *SHAPE), np.float32)


def add(viewer, values, affine, name="net"):
    return [
        viewer.add_image(
            channel,
            name=f"{name} {axis}",
            contrast_limits=(0, 1),
            scale=STEP,
            translate=np.multiply(OFFSET, STEP),
            affine=affine,
            units="nm",
        )
        for axis, channel in zip("xyz", values, strict=True)
    ]


@pytest.fixture
def settle(qtbot):
    def settle(widget):
        qtbot.wait(120)
        qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)

    return settle


@pytest.mark.parametrize(("affine", "moved_xy"), AFFINES.values(), ids=AFFINES)
def test_turned_affinities_are_inspected(make_napari_viewer, values, settle, affine, moved_xy):
    viewer = make_napari_viewer(show=True)
    layers = add(viewer, values, affine)
    inspector = AffinityInspector(viewer)
    viewer.window.add_dock_widget(inspector)
    settle(inspector)
    viewer.reset_view()
    section = 4
    viewer.dims.set_point(0, layers[0].data_to_world((section, 0, 0))[0])
    inspector.segments.live.setChecked(True)
    settle(inspector)

    def lies_in_place(layer, first=0):
        for voxel in ((0, 0, 0), (1, 7, 3), (2, 0, 11)):
            np.testing.assert_allclose(
                layer.data_to_world(voxel),
                layers[0].data_to_world((voxel[0] + first, *voxel[1:])),
                atol=1e-9,
            )

    lies_in_place(viewer.layers["net (RGB)"])
    lies_in_place(viewer.layers["net segments"], section)
    expected = find_segments(values[:, [section]], 0.5, Convention())
    assert inspector.segments.result.text().startswith(f"{expected.count:,} segments")
    assert inspector.display.histogram.counts["y"].sum() == values[1, section].size

    voxel = (section, 11, 30)
    world = layers[0].data_to_world(voxel)
    viewer.cursor.position = tuple(world)
    settle(inspector)
    x, y, z = values[(slice(None), *voxel)]
    at = f"{35 + moved_xy[0]}, {8 + moved_xy[1]}"
    told = f"voxel {at}, 6\nx {x:.4f}   y {y:.4f}   z {z:.4f}"
    assert inspector.where.values.text() == told

    inspector.where.position.setText(f"{at}, 5")
    inspector.where.go()
    settle(inspector)
    np.testing.assert_allclose(viewer.scene.camera.center[1:], world[1:], atol=1e-9)
    assert inspector.where.position.text() == f"{at}, 5"
    viewer.scene.camera.zoom = 400
    settle(inspector)
    assert inspector.display.histogram.counts["x"].sum() <= 4
    inspector.where.go_to_data(1)
    settle(inspector)
    assert inspector.where.position.text() == f"{at}, 6"

    viewer.reset_view()
    inspector.segments.region.sections.setValue(6)
    inspector.segments.region.show_in_3d()
    settle(inspector)
    lies_in_place(viewer.layers["net (x, 3D)"])
    viewer.dims.ndisplay = 2
    settle(inspector)

    # As if it had been turned by hand.
    for layer in layers:
        layer.affine = turned(60)
    settle(inspector)
    lies_in_place(viewer.layers["net (RGB)"])
    inspector.let_go()


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_what_turns_sections_out_of_the_canvas_is_said(make_napari_viewer, values, settle):
    viewer = make_napari_viewer(show=True)
    layers = add(viewer, values, turned(30, axis=(0, 0, 1)))
    inspector = AffinityInspector(viewer)
    viewer.window.add_dock_widget(inspector)
    viewer.reset_view()
    inspector.segments.live.setChecked(True)
    settle(inspector)
    message = "The canvas cuts net at an angle to its sections"
    assert inspector.segments.result.text().startswith(message)
    viewer.cursor.position = tuple(layers[0].data_to_world((3, 20, 25)))
    settle(inspector)
    assert inspector.where.values.text().startswith(message)
    # Seen along the axis that it is turned around, it is whole.
    viewer.dims.order = (2, 0, 1)
    settle(inspector)
    assert "segment" in inspector.segments.result.text()
    assert "angle" not in inspector.segments.result.text()

    viewer.dims.order = (0, 1, 2)
    for layer in layers[:2]:
        layer.affine = np.eye(4)
    viewer.layers.remove(viewer.layers["net (RGB)"])
    viewer.add_image(values[0], name="else", visible=False)
    assert inspector.volume.currentText() == "three layers…"
    assert "'net x' and 'net z' are turned differently" in inspector.problem.text()
    settle(inspector)
    inspector.let_go()


def test_turned_volumes_are_compared(make_napari_viewer, values, qtbot):
    viewer = make_napari_viewer(show=True)
    changed = values.copy()
    changed[1, 4, 11, 30] += 3
    # So that y and x change places.
    affine = turned(90)
    layers = add(viewer, values, affine)
    add(viewer, changed, affine, "other")
    widget = CompareWidget(viewer)
    viewer.window.add_dock_widget(widget)
    viewer.reset_view()
    widget.scope.setCurrentText("everything")
    widget.show_difference()
    qtbot.waitUntil(lambda: not widget.measuring, timeout=20_000)
    assert "Largest difference 3," in widget.result.text()
    assert "Largest at voxel 35, 8, 6." in widget.result.text()
    layer = viewer.layers["|net − other|"]
    for voxel in ((0, 0, 0), (4, 11, 30)):
        world = layers[0].data_to_world(voxel)
        np.testing.assert_allclose(layer.data_to_world(voxel), world, atol=1e-9)
    widget.go_to_largest()
    np.testing.assert_allclose(viewer.scene.camera.center[1:], world[1:], atol=1e-9)
    viewer.layers["other x"].affine = turned(60)
    viewer.layers.remove(layer)
    widget.one.setCurrentText("net x")
    widget.other.setCurrentText("other x")
    assert "net x and other x are turned differently" in widget.problem.text()
    widget.let_go()
