"""How controls of this plugin are put together, so that they all look alike."""

from collections.abc import Sequence
from typing import TypeVar

from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

Control = TypeVar("Control", bound=QWidget)


def with_tooltip(control: Control, tooltip: str) -> Control:
    """Give a control its tooltip, and return it."""
    control.setToolTip(tooltip)
    return control


def button(text: str, tooltip: str) -> QPushButton:
    """Make a button."""
    return with_tooltip(QPushButton(text), tooltip)


def choice(choices: Sequence[tuple[str, object]], tooltip: str) -> QComboBox:
    """Make a drop-down of texts and what they stand for; it may be narrower than its texts."""
    combo = QComboBox()
    for text, value in choices:
        combo.addItem(text, value)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(6)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return with_tooltip(combo, tooltip)


def message(tooltip: str) -> QLabel:
    """Make a place for text that wraps instead of widening the dock."""
    label = flush(QLabel())
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return with_tooltip(label, tooltip)


def flush(label: QLabel) -> QLabel:
    """Let a label's text begin where buttons below it do; by itself it is indented half an x."""
    label.setIndent(0)
    return label


def row(*controls: QWidget) -> QWidget:
    """Put controls beside each other."""
    widget = QWidget()
    layout = QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for control in controls:
        layout.addWidget(control)
    return widget


def form(*rows: tuple[str, QWidget]) -> QFormLayout:
    """Lay controls out under each other, with aligned labels that share their tooltips."""
    layout = QFormLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    for text, control in rows:
        label = flush(QLabel(text))
        label.setToolTip(control.toolTip())
        layout.addRow(label, control)
    return layout


def page() -> tuple[QWidget, QVBoxLayout]:
    """Make a widget whose controls lie under each other."""
    widget = QWidget()
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(6, 6, 6, 6)
    return widget, layout
