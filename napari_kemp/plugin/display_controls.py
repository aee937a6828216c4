"""The page of the inspector that says how affinities are shown."""

from collections.abc import Callable
from functools import partial

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QLabel
from superqt import QDoubleRangeSlider

from napari_kemp.errors import KempError
from napari_kemp.plugin import layouts
from napari_kemp.plugin.channel_layers import ChannelLayers, Region
from napari_kemp.plugin.controls import button, choice, form, message, page, row, with_tooltip
from napari_kemp.plugin.display import MODES, OWN_LAYERS, Display, Limits, Look
from napari_kemp.plugin.histogram_view import HistogramView, count
from napari_kemp.plugin.latest import Abandoned, Latest
from napari_kemp.plugin.subject import Subject

_TEXTS = {
    "RGB": "RGB composite",
    "x": "x only",
    "y": "y only",
    "z": "z only",
    "boundary": "boundary map (1 − min)",
    "mean": "mean of the channels",
    "maximum": "maximum of the channels",
    OWN_LAYERS: "their own layers",
}
# A canvas has a few million pixels.
_HISTOGRAM_VOXELS = 8_000_000
# So that the slider keeps its length while it is dragged.
_LIMITS_WIDTH = 80

_Counts = dict[str, NDArray[np.int64]]


class DisplayControls:
    """Mode, brightness, histogram and layout.

    Parameters
    ----------
    subject
        What is inspected.

    Attributes
    ----------
    changing
        Emitted before the affinities are shown in another way, or others are.
    limits_changed
        Emitted with the values that are drawn darkest and brightest, after they were changed.
    """

    changing = Signal()
    limits_changed = Signal(object)

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._display = Display(subject.viewer)
        self._limits: dict[bool, Limits] = {}
        self.widget, layout = page()
        self.mode = choice(
            [(_TEXTS[mode], mode) for mode in (*MODES, OWN_LAYERS)],
            "How the affinities are shown (D and Shift+D go through these).\n"
            "All are computed for what is on the canvas only.",
        )
        self.brightness = with_tooltip(
            QDoubleRangeSlider(Qt.Orientation.Horizontal),
            "The values that are drawn darkest and brightest.",
        )
        self._limits_told = with_tooltip(QLabel(), self.brightness.toolTip())
        self._limits_told.setMinimumWidth(_LIMITS_WIDTH)
        self.histogram = with_tooltip(
            HistogramView(),
            "How the values in the field of view are distributed (logarithmic counts):\n"
            "x red, y green, z blue; grey: the range of brightness; dashed: the threshold.",
        )
        self.overlay_button = button(
            "Overlay", "Show the affinities over the image, and segments over both."
        )
        self.side_button = button(
            "Side by side",
            "Show the image on the left and the affinities on the right, with one camera\n"
            "(Shift+G).",
        )
        self.scale_bar = with_tooltip(
            QCheckBox("scale bar"), "Show the scale bar, in nm or µm of the volume."
        )
        self.scale_bar.setChecked(subject.viewer.canvas.overlays.scale_bar.visible)
        self.result = message("Why something could not be shown.")
        slider = row(self.brightness, self._limits_told)
        slider.setToolTip(self.brightness.toolTip())
        layout.addLayout(form(("show", self.mode), ("brightness", slider)))
        layout.addWidget(self.histogram)
        layout.addWidget(row(self.overlay_button, self.side_button, self.scale_bar))
        layout.addWidget(self.result)
        layout.addStretch()

        self._histogram_job = Latest(self._on_counts, self._on_error)
        self.mode.currentIndexChanged.connect(self.show)
        self.brightness.valueChanged.connect(self._on_brightness)
        self.overlay_button.clicked.connect(self.overlay)
        self.side_button.clicked.connect(self.side_by_side)
        self.scale_bar.toggled.connect(self._on_scale_bar)
        subject.chosen.connect(self._on_chosen)
        subject.convention_changed.connect(self.show)
        subject.convention_changed.connect(self._count)
        subject.view_moved.connect(self._count)

    @property
    def busy(self) -> bool:
        """Whether values are being counted."""
        return self._histogram_job.busy

    @property
    def look(self) -> Look:
        """How the affinities are shown."""
        low, high = self.brightness.value()
        return Look(self.mode.currentData(), self._subject.convention, (float(low), float(high)))

    def show(self) -> None:
        """Show the affinities as chosen."""
        self.changing.emit()
        affinities, mode = self._subject.affinities, self.mode.currentData()
        self.result.setText("")
        if affinities is None:
            self._display.remove()
            return
        if mode == OWN_LAYERS:
            self._display.remove()
            return
        limits = self._limits.get(mode == "boundary", self._range(affinities))
        self._display.show(affinities, mode, self._subject.convention, limits)
        self._set_slider(limits)

    def cycle(self, step: int) -> None:
        """Go to another mode: 1 for the next, -1 for the one before."""
        self.mode.setCurrentIndex((self.mode.currentIndex() + step) % self.mode.count())

    def overlay(self) -> None:
        """Lay affinities over the image."""
        self._arrange(layouts.overlay)

    def side_by_side(self) -> None:
        """Show the image and the affinities beside each other."""
        self._arrange(layouts.side_by_side)

    def toggle_layout(self) -> None:
        """Change from one layout to the other."""
        if self._subject.viewer.canvas.grid.enabled:
            self.overlay()
        else:
            self.side_by_side()

    def refresh_layout(self) -> None:
        """Give a layer that was added its place in the layout."""
        if self._subject.viewer.canvas.grid.enabled:
            self.side_by_side()

    def close(self) -> None:
        """Stop to count."""
        self.changing.disconnect()
        self.limits_changed.disconnect()
        self._histogram_job.drop()

    def _arrange(self, arrange: Callable[[ViewerModel, Layer], object]) -> None:
        if self._subject.affinities is None:
            self.result.setText("Open affinities first.")
            return
        if not self._display.shown:
            if self.mode.currentData() == OWN_LAYERS:
                self.mode.setCurrentIndex(0)
            else:
                self.show()
        viewer = self._subject.viewer
        arrange(viewer, self._display.layer)
        found = layouts.find_image(viewer) is not None
        self.result.setText("" if found else "There is no image to show with the affinities.")

    def _range(self, affinities: ChannelLayers) -> Limits:
        low, high = affinities.layer.contrast_limits
        return float(low), float(high)

    def _on_chosen(self) -> None:
        affinities = self._subject.affinities
        self._limits = {}
        self._histogram_job.drop()
        self.histogram.set_counts({}, 0, 1)
        if affinities is not None:
            low, high = (float(each) for each in affinities.layer.contrast_limits_range)
            self.brightness.blockSignals(True)
            self.brightness.setRange(low, high)
            self.brightness.blockSignals(False)
        self.show()
        self._count()

    def _set_slider(self, limits: Limits) -> None:
        self.brightness.blockSignals(True)
        self.brightness.setValue(limits)
        self.brightness.blockSignals(False)
        self._tell_limits(limits)

    def _tell_limits(self, limits: Limits) -> None:
        self.histogram.set_limits(limits)
        self._limits_told.setText("{:.3g} – {:.3g}".format(*limits))

    def _on_brightness(self, limits: Limits) -> None:
        low, high = (float(each) for each in limits)
        # What spans nothing cannot be drawn.
        high = max(high, low + 1e-3 * (self.brightness.maximum() - self.brightness.minimum()))
        mode = self.mode.currentData()
        self._limits[mode == "boundary"] = (low, high)
        self._tell_limits((low, high))
        affinities = self._subject.affinities
        if mode == OWN_LAYERS and affinities is not None:
            for layer in affinities.layers:
                layer.contrast_limits = (low, high)
        else:
            self._display.limits = (low, high)
        self.limits_changed.emit((low, high))

    def _on_scale_bar(self, visible: bool) -> None:
        self._subject.viewer.canvas.overlays.scale_bar.visible = visible

    def _count(self) -> None:
        affinities = self._subject.affinities
        if affinities is None:
            return
        try:
            region = affinities.region_in_view(self._subject.viewer, limit_voxels=_HISTOGRAM_VOXELS)
        except KempError:
            self.histogram.set_counts({}, *self._counted_range())
            return
        low, high = self._counted_range()
        convention = self._subject.convention
        self._histogram_job.ask(
            partial(_count_channels, affinities, region, convention.order, low, high)
        )

    def _counted_range(self) -> Limits:
        return float(self.brightness.minimum()), float(self.brightness.maximum())

    def _on_counts(self, counts: _Counts) -> None:
        self.histogram.set_counts(counts, *self._counted_range())

    def _on_error(self, error: Exception) -> None:
        self.result.setText(str(error))


def _count_channels(
    affinities: ChannelLayers,
    region: Region,
    order: str,
    low: float,
    high: float,
    abandoned: Abandoned,
) -> _Counts:
    values = affinities.read(region, abandoned)
    counts = {axis: count(values[order.index(axis)], low, high) for axis in "xyz"}
    return counts
