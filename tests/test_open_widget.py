import json

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog
from volumes import make_volume

from napari_kemp import InfoError
from napari_kemp.plugin import recent
from napari_kemp.plugin.excerpt import excerpt_layers
from napari_kemp.plugin.open_widget import OpenWidget
from napari_kemp.precomputed import Box


@pytest.fixture(autouse=True)
def own_history(tmp_path, monkeypatch):
    """The history of the user who runs the tests stays theirs."""
    from qtpy.QtCore import QSettings

    file = str(tmp_path / "recent.ini")
    monkeypatch.setattr(recent, "_settings", lambda: QSettings(file, QSettings.Format.IniFormat))


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def widget(viewer):
    widget = OpenWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Open precomputed...")
    return widget


@pytest.fixture
def look(widget, qtbot):
    def look(url):
        widget.url.setCurrentText(str(url))
        qtbot.keyClick(widget.url.lineEdit(), Qt.Key.Key_Return)
        qtbot.waitUntil(lambda: not widget.busy, timeout=10_000)
        return widget.summary.text()

    return look


@pytest.fixture
def open_it(widget, qtbot):
    def open_it():
        widget.open_button.click()
        qtbot.waitUntil(lambda: not widget.busy, timeout=10_000)
        return widget.result.text()

    return open_it


def table(widget):
    scales = widget.scales
    return [
        [scales.item(r, c).text() for c in range(scales.columnCount())]
        for r in range(scales.rowCount())
    ]


def test_what_the_info_says_is_shown(widget, look, tmp_path):
    make_volume(tmp_path / "net")
    assert not widget._details.isVisibleTo(widget)
    assert look(tmp_path / "net") == "image, float32, 3 channels"
    assert table(widget) == [
        ["101×90×7", "4×4×50", "raw", "32×32×4", "764 kB"],
        ["51×46×7", "8×8×50", "raw", "32×32×4", "197 kB"],
        ["26×23×7", "16×16×50", "raw", "32×32×4", "50.2 kB"],
    ]
    assert widget._details.isVisibleTo(widget)
    assert [widget.show_as.itemText(i) for i in range(widget.show_as.count())] == [
        "affinities: red, green and blue",
        "one grey layer a channel",
        "one layer, with a slider",
    ]


def test_a_volume_is_opened_as_it_is(viewer, widget, look, open_it, tmp_path):
    volume = make_volume(tmp_path / "net")
    look(f"precomputed://file://{tmp_path / 'net'}/info")
    assert open_it() == "Opened net x, net y, net z."
    assert [layer.colormap.name for layer in viewer.layers] == ["red", "green", "blue"]
    assert len(viewer.layers[0].data) == 3
    # Around the volume lies background, so that all levels fit.
    inner = np.asarray(viewer.layers[1].data[0])[:, 1:91, 1:102]
    np.testing.assert_array_equal(inner, volume.scales[0].array[1])
    assert viewer.canvas.overlays.scale_bar.visible
    assert recent.recent_volumes() == [str(tmp_path / "net")]


def test_scales_can_be_chosen(viewer, widget, look, open_it, tmp_path):
    volume = make_volume(tmp_path / "net")
    look(tmp_path / "net")
    widget.scales.selectRow(0)
    assert widget.box_start.text() == "2, -2, 2"
    assert widget.box_stop.text() == "53, 44, 9"
    widget.scales.selectRow(2)
    open_it()
    (layer, _, _) = viewer.layers
    assert not layer.multiscale
    assert tuple(layer.scale) == (50, 8, 8)
    assert tuple(layer.translate) == (100, -16, 16)
    np.testing.assert_array_equal(layer.data, volume.scales[1].array[0])
    widget.scales.clearSelection()
    assert widget.result.text() == "Select a scale."
    assert not widget.open_button.isEnabled()


@pytest.mark.parametrize("scales", [[0], [0, 1, 2]])
def test_a_box_lies_in_its_place(viewer, widget, look, open_it, tmp_path, scales):
    volume = make_volume(tmp_path / "net", offset=(8, -4, 2))
    look(tmp_path / "net")
    widget.scales.clearSelection()
    for scale in scales:
        widget.scales.selectRow(scale)
    widget.only_box.setChecked(True)
    widget.box_start.setText("21, 3, 4")
    widget.box_stop.setText("(40, 30, 900)")
    open_it()
    layer = viewer.layers["net y"]
    (x0, x1), (y0, y1) = ((21, 40), (3, 30)) if scales == [0] else ((20, 40), (0, 32))
    finest = layer.data if scales == [0] else layer.data[0]
    expected = volume.scales[0].array[1, 2:, y0 + 4 : y1 + 4, x0 - 8 : x1 - 8]
    np.testing.assert_array_equal(finest, expected)
    assert tuple(layer.translate) == (200, 4 * y0, 4 * x0)
    for factor, level in zip((1, 2, 4), layer.data if scales != [0] else [], strict=False):
        assert level.shape == (5, (y1 - y0) // factor, (x1 - x0) // factor)


def test_wrong_boxes_are_refused(viewer, widget, look, open_it, tmp_path):
    make_volume(tmp_path / "net")
    look(tmp_path / "net")
    widget.only_box.setChecked(True)
    for start, stop, expected in (
        ("0, 0", "1, 1, 1", "from: expected three whole numbers"),
        ("0, 0, 5", "1, 1, 5", "the box is empty"),
        ("900, 0, 0", "910, 9, 9", "nothing lies in 900, 0, 0 to 910, 9, 9"),
    ):
        widget.box_start.setText(start)
        widget.box_stop.setText(stop)
        assert expected in open_it()
    assert not len(viewer.layers)


@pytest.mark.parametrize(
    ("show", "kinds", "shapes"),
    [
        ("channels", [Image] * 3, [(7, 90, 101)] * 3),
        ("slider", [Image], [(3, 7, 90, 101)]),
        ("labels", [Labels], [(3, 7, 90, 101)]),
    ],
)
def test_a_volume_can_be_shown_otherwise(
    viewer, widget, look, open_it, tmp_path, show, kinds, shapes
):
    make_volume(tmp_path / "net", data_type="uint16", levels=1)
    look(tmp_path / "net")
    widget.show_as.setCurrentIndex(widget.show_as.findData(show))
    open_it()
    assert [type(layer) for layer in viewer.layers] == kinds
    assert [layer.data.shape for layer in viewer.layers] == shapes
    if show == "channels":
        assert {layer.colormap.name for layer in viewer.layers} == {"gray"}
        assert [layer.visible for layer in viewer.layers] == [True, False, False]


def test_a_segmentation_can_be_shown_as_an_image(viewer, widget, look, open_it, tmp_path):
    make_volume(tmp_path / "s", "uint64", 1, layer_type="segmentation", levels=1)
    assert look(tmp_path / "s") == "segmentation, uint64, 1 channel"
    open_it()
    widget.show_as.setCurrentIndex(1)
    open_it()
    assert [type(layer) for layer in viewer.layers] == [Labels, Image]


def test_floats_are_no_labels(tmp_path):
    with pytest.raises(InfoError, match="Labels are whole numbers, but data_type is float32"):
        excerpt_layers(make_volume(tmp_path / "net"), "labels")
    with pytest.raises(InfoError, match="choose at least one scale"):
        excerpt_layers(make_volume(tmp_path / "other"), scales=[])
    box = Box((5, -3, 2), (6, -2, 3))
    (layer, *_) = excerpt_layers(make_volume(tmp_path / "third"), scales=[0], box=box)
    assert layer[0].shape == (1, 1, 1)


def test_what_cannot_be_opened_is_said(widget, look, tmp_path):
    assert "there is no such file" in look(tmp_path / "nowhere")
    assert not widget._details.isVisibleTo(widget)
    assert "expected a path or a URL" in look("ftp://example.org/volume")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "info").write_text("{}")
    assert f"{tmp_path / 'bad' / 'info'}: type: missing" in look(tmp_path / "bad")


def test_encodings_that_cannot_be_read_are_told_before_opening(widget, look, tmp_path):
    make_volume(tmp_path / "net")
    info = json.loads((tmp_path / "net" / "info").read_text())
    info["scales"][1]["encoding"] = "morse"
    (tmp_path / "net" / "info").write_text(json.dumps(info))
    look(tmp_path / "net")
    assert widget._chosen_scales() == [0, 2]
    assert "'morse' is not supported" in widget.scales.item(1, 0).toolTip()
    for scale in info["scales"]:
        scale["encoding"] = "morse"
    (tmp_path / "net" / "info").write_text(json.dumps(info))
    look(tmp_path / "net")
    assert "'morse' is not supported" in widget.result.text()
    assert not widget.open_button.isEnabled()


def test_the_history_keeps_the_latest_first(viewer, widget, look, open_it, tmp_path):
    for name in ("a", "b", "a"):
        if not (tmp_path / name).exists():
            make_volume(tmp_path / name, levels=1)
        look(tmp_path / name)
        open_it()
    expected = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert [widget.url.itemText(i) for i in range(widget.url.count())] == expected
    another = OpenWidget(viewer)
    assert [another.url.itemText(i) for i in range(another.url.count())] == expected
    assert another.url.currentText() == ""
    another.deleteLater()
    for number in range(30):
        recent.remember(f"https://example.org/{number}")
    assert len(recent.recent_volumes()) == 20
    assert recent.recent_volumes()[0] == "https://example.org/29"


def test_browsing_looks_at_once(widget, qtbot, tmp_path, monkeypatch):
    make_volume(tmp_path / "net")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *a: str(tmp_path / "net"))
    widget.browse_button.click()
    qtbot.waitUntil(lambda: widget.scales.rowCount() == 3)


def test_closing_the_dock_while_a_volume_is_looked_at(viewer, widget, qtbot, tmp_path):
    make_volume(tmp_path / "net")
    widget.url.setCurrentText(str(tmp_path / "net"))
    widget.look()
    viewer.window.remove_dock_widget(widget)
    qtbot.wait(200)
    assert not widget.busy


def test_the_table_fits(make_napari_viewer, qtbot, tmp_path):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1280, 800)
    widget = OpenWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Open precomputed...")
    make_volume(tmp_path / "net", encoding="kempressed", size=(1001, 1000, 7), levels=2)
    widget.url.setCurrentText(str(tmp_path / "net"))
    widget.look()
    qtbot.waitUntil(lambda: widget.scales.rowCount() == 2)
    qtbot.wait(50)
    assert widget.scales.horizontalScrollBar().maximum() == 0
    assert widget.scales.verticalScrollBar().maximum() == 0
