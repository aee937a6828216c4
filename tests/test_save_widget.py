import gc
import threading
from pathlib import Path
from weakref import ref

import dask.array as da
import numpy as np
import pytest
from cloudvolume import CloudVolume
from napari.layers import Layer
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QMessageBox
from volumes import create_layers, make_volume

from napari_kemp import open_volume
from napari_kemp.plugin.sample import open_sample
from napari_kemp.plugin.save_widget import SaveWidget

RNG = np.random.default_rng(0)
PLACE = {"scale": (40, 4, 4), "units": "nm", "translate": (80, -12, 20)}
SHAPE = (9, 40, 50)


def add_affinities(viewer, **kwargs):
    return [
        viewer.add_image(
            RNG.random(SHAPE, np.float32),
            name=f"net {axis}",
            blending="additive",
            **{**PLACE, **kwargs},
        )
        for axis in "xyz"
    ]


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def dock(viewer):
    """Dock a new widget, as the Plugins menu does."""

    def dock():
        widget = SaveWidget(viewer)
        viewer.window.add_dock_widget(widget, name="Save as kempressed")
        return widget

    return dock


@pytest.fixture
def run(qtbot):
    """Click Save and wait until the widget says how it ended."""

    def run(widget):
        widget.save_button.native.click()
        qtbot.waitUntil(lambda: not widget.saving, timeout=20_000)
        return widget.result.value

    return run


class Gate:
    """An array that can be read a few times, and further only once it was opened."""

    def __init__(self, array):
        self.array = array
        self.shape, self.dtype, self.ndim, self.size = (
            array.shape,
            array.dtype,
            array.ndim,
            array.size,
        )
        self.reads_left = 10**9
        self.opened = threading.Event()

    def __getitem__(self, key):
        self.reads_left -= 1
        assert self.reads_left >= 0 or self.opened.wait(20)
        return self.array[key]


def test_layers_named_x_y_z_are_saved_as_channels(viewer, dock, run, tmp_path):
    layers = add_affinities(viewer)
    widget = dock()
    assert [layer.name for layer in widget.channels.layers] == ["net x", "net y", "net z"]
    assert widget.resolution.triple == (4, 4, 40)
    assert widget.voxel_offset.triple == (5, -3, 2)
    assert widget.chunk_size.triple == (128, 128, 64)
    assert widget.encoding.value == "kempressed"
    assert widget.summary.value == (
        "50 × 40 × 9 voxels, 3 channels of float32: 1 chunk, 0.2 MiB raw"
    )
    widget.destination.line_edit.value = str(tmp_path / "volume")
    widget.chunk_size.value = "[16, 16, 4]"

    result = run(widget)

    assert result.startswith(f"Saved 51 chunks to {tmp_path / 'volume'} in ")
    assert "largest absolute error 1.2e-07" in result
    written = CloudVolume(f"file://{tmp_path / 'volume'}", progress=False)
    assert written.info["scales"][0]["encoding"] == "kempressed"
    assert tuple(written.voxel_offset) == (5, -3, 2)
    for channel, layer in enumerate(layers):
        np.testing.assert_allclose(written[...][..., channel], layer.data.T, rtol=0, atol=2**-23)


def test_data_are_let_go_with_their_layer(viewer, dock, run, qtbot, tmp_path):
    data = Gate(RNG.random(SHAPE, np.float32))
    # Without a name, napari looks for one in this frame, which makes Python keep its variables.
    layer = viewer.add_image(data, name="net")
    gone = ref(data), ref(layer)
    del data, layer
    widget = dock()
    widget.destination.line_edit.value = str(tmp_path / "volume")
    widget.estimate_button.native.click()
    qtbot.waitUntil(lambda: widget.result.value.startswith("About"))
    assert run(widget).startswith("Saved")
    viewer.layers.clear()
    QThreadPool.globalInstance().waitForDone()
    gc.collect()
    assert [each() for each in gone] == [None, None]


def test_an_estimate_says_what_a_save_would_come_to(viewer, dock, qtbot, tmp_path):
    data = RNG.random((3, *SHAPE), np.float32)
    data[0, 0, 0, :36] = 7
    viewer.add_image(data, contrast_limits=(0, 1), name="net")
    widget = dock()
    widget.destination.line_edit.value = str(tmp_path / "volume")
    widget.estimate_button.native.click()
    assert not widget.estimate_button.enabled
    qtbot.waitUntil(lambda: "of the sampled" in widget.result.value)
    assert widget.result.value.startswith("About 0.2 MiB of 0.2 MiB (7")
    assert "absolute error 4.8e-07 at most, by 1 of 1 chunks" in widget.result.value
    assert "0.067 % of the sampled values lie outside [0, 1]" in widget.result.value
    assert widget.estimate_button.enabled
    assert not (tmp_path / "volume").exists()


def test_channels_go_in_the_chosen_order(viewer, dock, run, tmp_path):
    x, y, z = add_affinities(viewer)
    widget = dock()
    widget.channels[0].value = z
    widget.channels[2].value = x
    widget.destination.line_edit.value = str(tmp_path / "volume")
    widget.encoding.value = "fpzip"
    run(widget)
    array = open_volume(tmp_path / "volume").scales[0].array
    np.testing.assert_array_equal(array, [z.data, y.data, x.data])


def test_there_is_always_room_for_one_more_channel(viewer, dock):
    x, y, _ = add_affinities(viewer)
    widget = dock()
    assert [combo.value for combo in widget.channels][3:] == [None]
    widget.channels[2].value = None
    assert widget.channels.layers == [x, y]
    assert len(widget.channels) == 3
    widget.channels[0].value = None
    assert widget.channels.layers == [y]
    assert len(widget.channels) == 2


def test_what_was_typed_stays_when_channels_are_added(viewer, dock, tmp_path):
    x, y, z = add_affinities(viewer)
    widget = dock()
    widget.channels.layers = [x]
    assert widget.destination.line_edit.value.endswith("net x-saved")
    widget.channels.layers = [x, y, z]
    assert widget.destination.line_edit.value.endswith("net-saved")
    widget.destination.line_edit.value = str(tmp_path / "mine")
    widget.resolution.value = "8, 8, 40"
    widget.channels.layers = [x, y]
    assert widget.destination.line_edit.value == str(tmp_path / "mine")
    assert widget.resolution.triple == (8, 8, 40)


def test_a_layer_without_units_is_said_to_have_none(viewer, dock):
    viewer.add_image(np.zeros(SHAPE, np.float32), scale=(40, 4, 4))
    widget = dock()
    assert widget.resolution.triple == (4, 4, 40)
    assert "no units: its scale is taken for nanometres" in widget.summary.value


def test_the_choices_follow_the_layers(viewer, dock):
    widget = dock()
    assert widget.summary.value == "Choose the layer to save, or one layer for each channel."
    assert not widget.save_button.enabled
    x, y, z = add_affinities(viewer)
    viewer.add_points(np.zeros((1, 3)))
    assert [layer for layer in widget.channels[0].choices if layer] == list(viewer.layers[:3])
    assert widget.channels.layers == [x, y, z]
    assert widget.save_button.enabled
    viewer.layers.remove(x)
    assert widget.channels.layers == [y, z]


def test_layers_that_take_the_place_of_others_are_proposed(viewer, dock):
    widget = dock()
    add_affinities(viewer)
    viewer.layers.clear()
    assert widget.channels.layers == []
    layers = add_affinities(viewer, scale=(30, 8, 8))
    assert widget.channels.layers == layers
    assert widget.resolution.triple == (8, 8, 30)


def test_a_choice_that_somebody_made_stays_when_layers_arrive(viewer, dock):
    widget = dock()
    x, y, _ = add_affinities(viewer)
    widget.channels.layers = [y, x]
    viewer.add_image(np.zeros((2, 3, 4), np.float32))
    assert widget.channels.layers == [y, x]


def test_a_place_between_voxels_is_said(viewer, dock):
    x, *_ = add_affinities(viewer)
    widget = dock()
    assert "not on the voxel grid" not in widget.summary.value
    x.translate = np.add(x.translate, (0, 0.25 * x.scale[1], 0))
    widget.channels.layers = [x]
    assert "moves the data by up to 0.25 voxels" in widget.summary.value


def test_selected_layers_come_first(viewer, dock):
    add_affinities(viewer)
    one = viewer.add_image(np.zeros(SHAPE, np.float32), name="other")
    assert dock().channels.layers == [one]
    viewer.layers.selection = {viewer.layers[1]}
    assert SaveWidget(viewer).channels.layers == list(viewer.layers[:3])
    viewer.layers.selection = {viewer.layers[1], viewer.layers[2]}
    assert SaveWidget(viewer).channels.layers == list(viewer.layers[1:3])


def test_one_layer_with_four_axes_brings_all_channels(viewer, dock, run, tmp_path):
    data = RNG.random((3, *SHAPE), np.float32)
    viewer.add_image(da.from_array(data, chunks=(1, 4, 32, 32)), scale=(1, 40, 4, 4), name="net")
    widget = dock()
    assert len(widget.channels) == 1
    widget.destination.line_edit.value = str(tmp_path / "volume")
    widget.encoding.value = "raw"
    run(widget)
    np.testing.assert_array_equal(open_volume(tmp_path / "volume").scales[0].array, data)


def test_saving_reads_no_more_than_a_few_chunks_at_a_time(viewer, dock, run, tmp_path):
    data = RNG.random((64, 48, 32), np.float32)
    boxes = []

    class Lazy:
        shape, dtype, ndim, size = data.shape, data.dtype, data.ndim, data.size

        def __getitem__(self, key):
            part = data[key]
            boxes.append(part.size)
            return part

        def __array__(self, *args, **kwargs):
            raise AssertionError("all of it was asked for at once")

    layer = viewer.add_image(Lazy(), contrast_limits=(0, 1), name="lazy")
    widget = dock()
    assert widget.channels.layers == [layer]
    widget.destination.line_edit.value = str(tmp_path / "volume")
    widget.chunk_size.value = "16, 16, 16"
    boxes.clear()
    run(widget)
    assert max(boxes) <= 16**3
    np.testing.assert_allclose(
        open_volume(tmp_path / "volume").scales[0].array[0], data, rtol=0, atol=2**-23
    )


def test_a_multiscale_layer_is_saved_at_full_resolution_without_padding(
    viewer, dock, run, tmp_path
):
    volume = make_volume(tmp_path / "from")
    for layer in create_layers(volume):
        viewer.add_layer(layer)
    widget = dock()
    assert widget.destination.line_edit.value == str(tmp_path / "from-saved")
    widget.encoding.value = "fpzip"
    run(widget)
    written = open_volume(tmp_path / "from-saved")
    assert written.info.scales[0].voxel_offset == (5, -3, 2)
    np.testing.assert_array_equal(written.scales[0].array, volume.scales[0].array)


@pytest.mark.parametrize("multiscale", [False, True])
@pytest.mark.parametrize("region", ["all sections", "this section only"])
def test_the_field_of_view_is_what_the_canvas_shows(
    make_napari_viewer, run, tmp_path, qtbot, multiscale, region
):
    viewer = make_napari_viewer(show=True)
    volume = make_volume(tmp_path / "from", levels=3 if multiscale else 1)
    for layer in create_layers(volume):
        viewer.add_layer(layer)
    widget = SaveWidget(viewer)
    viewer.window.add_dock_widget(widget)
    viewer.dims.set_point(0, (2 + 3) * 50)
    qtbot.wait(50)
    height, width = viewer.canvas.size
    # 30 voxels high, around voxel (40, 20) of the volume.
    viewer.scene.camera.zoom = height / (30 * 4)
    viewer.scene.camera.center = (0, (-3 + 40) * 4, (5 + 20) * 4)
    widget.region.value = f"field of view, {region}"
    widget.encoding.value = "raw"
    widget.destination.line_edit.value = str(tmp_path / "to")
    run(widget)

    scale = open_volume(tmp_path / "to").scales[0]
    half_x = width / viewer.scene.camera.zoom / 4 / 2
    x0, x1 = max(0, round(20 - half_x)), min(101, round(20 + half_x) + 1)
    z0, z1 = (3, 4) if "this" in region else (0, 7)
    assert scale.info.voxel_offset == (5 + x0, -3 + 25, 2 + z0)
    assert scale.info.size == (x1 - x0, 31, z1 - z0)
    np.testing.assert_array_equal(scale.array, volume.scales[0].array[:, z0:z1, 25:56, x0:x1])


def test_the_summary_follows_the_camera(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    add_affinities(viewer)
    widget = SaveWidget(viewer)
    viewer.window.add_dock_widget(widget)
    widget.region.value = "field of view, all sections"
    qtbot.waitUntil(lambda: widget.summary.value.startswith("50 × 40 × 9"))
    viewer.scene.camera.zoom *= 10
    qtbot.waitUntil(lambda: not widget.summary.value.startswith("50 × 40"))
    viewer.scene.camera.center = (0, 1e6, 1e6)
    qtbot.waitUntil(lambda: "nothing of 'net x' is in the field of view" in widget.summary.value)
    assert not widget.save_button.enabled
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: "switch the viewer back to 2D" in widget.summary.value)


def test_the_result_opens_where_it_was(viewer, dock, run, tmp_path):
    add_affinities(viewer)
    widget = dock()
    assert not widget.open_button.visible
    widget.destination.line_edit.value = str(tmp_path / "volume")
    run(widget)
    widget.open_button.native.click()
    assert [layer.name for layer in viewer.layers[3:]] == ["volume x", "volume y", "volume z"]
    for saved, opened in zip(viewer.layers[:3], viewer.layers[3:], strict=True):
        np.testing.assert_array_equal(saved.extent.world, opened.extent.world)
        np.testing.assert_allclose(opened.data, saved.data, rtol=0, atol=2**-23)


@pytest.fixture
def running(viewer, dock, tmp_path, qtbot):
    """A save that has written some of its 86 chunks and waits for the rest."""
    gate = Gate(RNG.random((18, 40, 50), np.float32))
    viewer.add_image(gate, contrast_limits=(0, 1))
    widget = dock()
    widget.destination.line_edit.value = str(tmp_path / "volume")
    widget.chunk_size.value = "16, 16, 3"
    gate.reads_left = 10
    widget.save_button.native.click()
    qtbot.waitUntil(lambda: widget.progress_bar.value > 0, timeout=20_000)
    yield widget, gate
    gate.opened.set()


def test_layers_may_go_while_they_are_saved(running, viewer, qtbot, tmp_path):
    widget, gate = running
    viewer.layers.clear()
    gate.opened.set()
    qtbot.waitUntil(lambda: not widget.saving, timeout=20_000)
    assert f"Saved 86 chunks to {tmp_path / 'volume'}" in widget.result.value
    assert widget.summary.value.startswith("Choose the layer to save")


def chunk_count(folder):
    return len(list((folder / "1_1_1").iterdir()))


def test_progress_moves_and_the_window_stays_alive(running, viewer, qtbot, tmp_path):
    widget, gate = running
    assert widget.saving
    assert not widget.save_button.enabled
    assert not widget.encoding.enabled
    assert widget.cancel_button.enabled
    assert widget.progress_bar.max == 72 + 12 + 2
    assert 0 < widget.progress_bar.value < widget.progress_bar.max
    assert widget.result.value.endswith("of 86 chunks")
    viewer.add_points(np.zeros((1, 3)))
    gate.opened.set()
    qtbot.waitUntil(lambda: not widget.saving, timeout=20_000)
    assert "Saved 86 chunks" in widget.result.value
    assert chunk_count(tmp_path / "volume") == 72
    assert widget.save_button.enabled
    assert widget.encoding.enabled


def test_cancel_stops_within_the_chunks_in_hand(running, qtbot, tmp_path):
    widget, gate = running
    widget.cancel_button.native.click()
    assert not widget.cancel_button.enabled
    gate.opened.set()
    qtbot.waitUntil(lambda: not widget.saving, timeout=20_000)
    assert widget.result.value.startswith("Cancelled.")
    assert not widget.open_button.visible
    assert widget.save_button.enabled
    written = open_volume(tmp_path / "volume").scales[0]
    assert 0 < chunk_count(tmp_path / "volume") < 40
    np.testing.assert_allclose(
        written.array[0, :3, :16, :16], gate.array[:3, :16, :16], rtol=0, atol=2**-23
    )


def test_closing_the_dock_cancels(running, viewer, qtbot, tmp_path):
    widget, gate = running
    worker = widget._worker
    viewer.window.remove_dock_widget(widget.native)
    gate.opened.set()
    qtbot.waitUntil(lambda: not worker.is_running, timeout=20_000)
    assert chunk_count(tmp_path / "volume") < 40


def test_closing_the_viewer_cancels(running, viewer, qtbot, tmp_path):
    widget, gate = running
    worker = widget._worker
    viewer.close()
    gate.opened.set()
    qtbot.waitUntil(lambda: not worker.is_running, timeout=20_000)
    assert chunk_count(tmp_path / "volume") < 40


@pytest.mark.parametrize("replace", [True, False])
def test_a_volume_is_replaced_only_after_asking(viewer, dock, run, tmp_path, monkeypatch, replace):
    volume = make_volume(tmp_path / "volume", levels=1)
    before = np.asarray(volume.scales[0].array)
    asked = []

    def answer(parent, title, text, *args):
        asked.append(text)
        button = QMessageBox.StandardButton
        return button.Yes if replace else button.No

    monkeypatch.setattr(QMessageBox, "question", answer)
    layers = add_affinities(viewer)
    widget = dock()
    widget.destination.line_edit.value = str(tmp_path / "volume")
    widget.encoding.value = "fpzip"
    result = run(widget)
    assert len(asked) == 1
    assert str(tmp_path / "volume") in asked[0]
    now = open_volume(tmp_path / "volume").scales[0]
    if replace:
        assert result.startswith("Saved")
        np.testing.assert_array_equal(now.array, [layer.data for layer in layers])
    else:
        assert "there is a volume already" in result
        np.testing.assert_array_equal(now.array, before)


def test_a_volume_is_never_saved_onto_itself(viewer, dock, run, tmp_path):
    volume = make_volume(tmp_path / "volume", levels=1)
    before = np.asarray(volume.scales[0].array)
    for layer in create_layers(volume):
        viewer.add_layer(layer)
    widget = dock()
    widget.destination.line_edit.value = str(tmp_path / "volume")
    assert "is being read from there" in run(widget)
    np.testing.assert_array_equal(open_volume(tmp_path / "volume").scales[0].array, before)


def test_a_folder_with_other_files_is_refused(viewer, dock, run, tmp_path):
    add_affinities(viewer)
    (tmp_path / "notes.txt").write_text("keep me")
    widget = dock()
    widget.destination.line_edit.value = str(tmp_path)
    assert "holds other files" in run(widget)
    widget.destination.line_edit.value = str(tmp_path / "volume")
    assert widget.result.value == ""
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_what_goes_wrong_while_saving_is_said(viewer, dock, run, tmp_path):
    def fail(block_id):
        if block_id[0] == 1:
            raise OSError("the disk is on fire")
        return np.ones((4, 40, 50), np.float32)

    failing = da.map_blocks(fail, chunks=((4, 4), (40,), (50,)), dtype=np.float32)
    viewer.add_image(failing, contrast_limits=(0, 1))
    widget = dock()
    widget.destination.line_edit.value = str(tmp_path / "volume")
    result = run(widget)
    assert "the disk is on fire" in result
    assert "0-50_0-40_0-8" in result
    assert widget.save_button.enabled
    assert not widget.open_button.visible


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("resolution", "4, 4", "voxel (nm): expected three numbers, x, y, z"),
        ("resolution", "4, 4, 0", "voxel (nm): the three numbers must be above 0"),
        ("voxel_offset", "1.5, 2, 3", "voxel offset: expected three whole numbers"),
        ("chunk_size", "a, b, c", "chunk size: expected three whole numbers"),
        ("chunk_size", "0, 1, 1", "chunk size: the three numbers must be above 0"),
    ],
)
def test_what_is_typed_wrong_is_said_at_once(viewer, dock, qtbot, field, text, message):
    add_affinities(viewer)
    widget = dock()
    getattr(widget, field).value = text
    qtbot.waitUntil(lambda: message in widget.summary.value)
    assert not widget.save_button.enabled


def test_no_destination_and_unsuitable_types_are_said_at_once(viewer, dock, qtbot):
    viewer.add_image(np.zeros(SHAPE, np.uint8), name="em")
    widget = dock()
    assert widget.encoding.value == "raw"
    widget.encoding.value = "kempressed"
    qtbot.waitUntil(lambda: "kempressed stores floating-point values" in widget.summary.value)
    widget.destination.line_edit.value = " "
    qtbot.waitUntil(lambda: "Choose where to save to" in widget.summary.value)


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_layers_that_do_not_fit_are_said_at_once(viewer, dock):
    layers = add_affinities(viewer)
    layers.append(viewer.add_image(np.zeros((2, *SHAPE), np.float32), name="4-D"))
    layers.append(viewer.add_image(np.zeros(SHAPE, np.float32), name="moved"))
    layers.append(viewer.add_image(np.zeros(SHAPE, np.float32), name="turned", rotate=(0, 0, 30)))
    widget = dock()
    for other, message in (
        (layers[3], "'4-D' has channels of its own"),
        (layers[4], "their resolution (nm) differs"),
        (layers[5], "'turned' is rotated"),
    ):
        widget.channels.layers = [layers[0], other]
        assert message in widget.summary.value
        assert not widget.save_button.enabled


def test_the_sample_is_not_saved_where_it_goes_with_the_session(viewer, dock):
    for layer_data in open_sample():
        viewer.add_layer(Layer.create(*layer_data))
    assert dock().destination.line_edit.value.startswith(str(Path.home() / "affinities-saved"))
