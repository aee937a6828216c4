"""What the dock widgets look like: nothing clipped, all of it explained, aligned and legible."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QRect
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QProgressBar,
    QTabBar,
    QTableWidget,
    QTabWidget,
)
from superqt.utils import qimage_to_array
from volumes import create_layers, make_volume

from napari_kemp.plugin.compare_widget import CompareWidget
from napari_kemp.plugin.histogram_view import HistogramView
from napari_kemp.plugin.inspector import AffinityInspector
from napari_kemp.plugin.open_widget import OpenWidget
from napari_kemp.plugin.save_widget import SaveWidget

CONTROLS = (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    HistogramView,
    QLabel,
    QLineEdit,
    QProgressBar,
    QTableWidget,
)
# The W3C's recommendation for text, WCAG 2 AA.
CONTRAST = 4.5


@pytest.fixture
def widgets(make_napari_viewer, tmp_path, qtbot):
    """Every dock widget with something to tell, in one window."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1280, 880)
    for name in ("net", "other net"):
        for layer in create_layers(make_volume(tmp_path / name, levels=2)):
            viewer.add_layer(layer)
    docked = [kind(viewer) for kind in (OpenWidget, AffinityInspector, CompareWidget, SaveWidget)]
    for widget in docked:
        viewer.window.add_dock_widget(widget, name=type(widget).__name__, tabify=True)
    opener, inspector, compare, save = docked
    opener.url.setCurrentText(str(tmp_path / "net"))
    opener.look()
    inspector.segments.live.setChecked(True)
    inspector.where.position.setText("1, 2")
    inspector.where.go()
    inspector.volume.setCurrentText("three layers…")
    compare.measure()
    save.estimate()
    qtbot.wait(120)
    qtbot.waitUntil(
        lambda: not (opener.busy or inspector.busy or compare.measuring or save._estimating),
        timeout=20_000,
    )
    opener.only_box.setChecked(True)
    yield viewer, [getattr(widget, "native", widget) for widget in docked]
    for widget in (opener, inspector, compare):
        widget.let_go()


def parts(widget):
    """The pages of a widget, one after the other, with what surrounds them; as one sees them."""
    tabs = widget.findChildren(QTabWidget)
    for each in tabs:
        for number in range(each.count()):
            each.setCurrentIndex(number)
            QApplication.processEvents()
            yield each.widget(number), visible(each.widget(number))
    own = [one for one in visible(widget) if not any(each.isAncestorOf(one) for each in tabs)]
    yield widget, own


def controls(page):
    """The controls, without the parts that they are made of."""
    found = [each for kind in CONTROLS for each in page.findChildren(kind)]
    return [
        each
        for each in found
        if not isinstance(each.parentWidget(), QTabBar)
        and not any(other is not each and other.isAncestorOf(each) for other in found)
    ]


def visible(page):
    return [each for each in controls(page) if each.isVisible()]


def is_explained(control, page):
    """Whether a control has a tooltip, or is part of one that has."""
    while not control.toolTip():
        control = control.parentWidget()
        if control is page:
            return False
    return True


def fits(control, page):
    """Whether all of the text of a control can be seen."""
    if not page.rect().contains(place(control, page)):
        return False
    if isinstance(control, QLabel) and control.wordWrap():
        return control.heightForWidth(control.width()) <= control.height()
    if isinstance(control, QLabel | QAbstractButton):
        needed = control.sizeHint()
        return needed.width() <= control.width() and needed.height() <= control.height() + 1
    if isinstance(control, QComboBox) and not control.isEditable():
        arrow = control.height()
        text = control.fontMetrics().horizontalAdvance(control.currentText())
        return text + arrow <= control.width()
    return True


def left(control, page):
    """Where a control begins to be drawn."""
    x = place(control, page).left()
    if isinstance(control, QLabel):
        drawn = pixels(control)
        x += int((drawn != drawn[0, 0]).any(axis=(0, 2)).argmax())
    return x


def begins_a_row(control, found, page):
    """Whether there is nothing on the left of a control, or of a group that it is part of."""
    group = control
    while group is not page:
        rect = place(group, page)
        for other in found:
            beside = place(other, page)
            level = rect.top() <= beside.center().y() <= rect.bottom()
            if level and beside.left() < rect.left() and not group.isAncestorOf(other):
                return False
        group = group.parentWidget()
    return not isinstance(control, QLabel) or bool(control.text())


def place(control, page):
    return QRect(control.mapTo(page, QPoint(0, 0)), control.size())


def contrast(control):
    """Contrast of the text and what is behind it, as WCAG 2 defines it."""
    share = pixels(control).reshape(-1, 3) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    brightness = linear @ (0.2126, 0.7152, 0.0722)
    values, counts = np.unique(brightness, return_counts=True)
    behind = values[counts.argmax()]
    return max(
        (max(text, behind) + 0.05) / (min(text, behind) + 0.05) for text in (values[0], values[-1])
    )


def pixels(control):
    return qimage_to_array(control.grab().toImage())[..., :3]


def named(control):
    text = control.text() if hasattr(control, "text") else control.objectName()
    return f"{type(control).__name__} {text!r}"


def test_controls_are_explained_whole_aligned_and_legible(widgets):
    viewer, docked = widgets
    complaints = []
    seen = 0
    for theme in ("dark", "light"):
        viewer.theme = theme
        for widget in docked:
            for control in controls(widget):
                if not is_explained(control, widget):
                    complaints.append(f"{type(widget).__name__}: {named(control)} has no tooltip")
            widget.parentWidget().raise_()
            QApplication.processEvents()
            for page, found in parts(widget):
                seen += len(found)
                for control in found:
                    about = f"{theme}: {type(widget).__name__}: {named(control)}"
                    if not fits(control, page):
                        complaints.append(f"{about} is clipped")
                    text = isinstance(control, QLabel | QAbstractButton) and control.text()
                    if text and control.isEnabled() and contrast(control) < CONTRAST:
                        complaints.append(f"{about} can hardly be read")
                first = [each for each in found if begins_a_row(each, found, page)]
                edges = {named(each): left(each, page) for each in first}
                if edges and max(edges.values()) - min(edges.values()) > 2:
                    complaints.append(f"{theme}: not aligned: {edges}")
            for bar in widget.findChildren(QTabBar):
                assert all(bar.tabToolTip(number) for number in range(bar.count()))
            for table in widget.findChildren(QTableWidget):
                columns = range(table.columnCount())
                assert all(table.horizontalHeaderItem(number).toolTip() for number in columns)
    assert "\n".join(complaints) == ""
    assert seen > 100
