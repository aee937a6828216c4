"""The page of the inspector that cuts affinities into segments at a threshold."""

from collections.abc import Callable
from functools import partial
from typing import Any

from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox
from superqt import QLabeledDoubleSlider

from napari_kemp.affinity import Convention, find_segments
from napari_kemp.errors import KempError
from napari_kemp.plugin.channel_layers import ChannelLayers, Region
from napari_kemp.plugin.controls import choice, form, message, page, with_tooltip
from napari_kemp.plugin.display import Look
from napari_kemp.plugin.latest import Abandoned, Latest
from napari_kemp.plugin.region_controls import RegionControls
from napari_kemp.plugin.segments_layer import Found, SegmentsLayer
from napari_kemp.plugin.subject import Subject

_SECTION_VOXELS = 8_000_000
_DEFAULT_THRESHOLD = 0.5
_STEP = 0.01


class SegmentControls:
    """Threshold, the segments of the section on screen, and those of a region in depth.

    Parameters
    ----------
    subject
        What is inspected.
    look
        Returns how the affinities are shown.
    added
        Called after a layer of segments was added to the viewer.
    """

    def __init__(
        self, subject: Subject, look: Callable[[], Look], added: Callable[[], None]
    ) -> None:
        self._subject = subject
        self._added = added
        self._last_read: tuple[ChannelLayers, Region, NDArray[Any]] | None = None
        self._layer = SegmentsLayer(subject.viewer, "segments")
        self.widget, layout = page()
        self.threshold = with_tooltip(
            QLabeledDoubleSlider(Qt.Orientation.Horizontal),
            "The smallest affinity that joins two voxels (. and , change it by 0.01).",
        )
        self.threshold.setRange(0, 1)
        self.threshold.setDecimals(3)
        self.threshold.setSingleStep(_STEP)
        self.threshold.setPageStep(10 * _STEP)
        self.threshold.setValue(_DEFAULT_THRESHOLD)
        self.method = choice(
            [("connected components", False), ("mutex watershed", True)],
            "Connected components: all that the threshold joins is one segment.\n"
            "Mutex watershed: what lies far below the threshold keeps segments apart, so that one\n"
            "gap in a membrane does not join two cells; takes longer.",
        )
        self.live = with_tooltip(
            QCheckBox("segments of this section, live"),
            "Join neighbouring voxels whose affinity reaches the threshold, in the section and\n"
            "field of view on screen, and follow the threshold and the view.",
        )
        self.result = message("What the threshold leaves connected in this section.")
        self.region = RegionControls(subject, look, self._how, self._on_region)
        layout.addLayout(form(("threshold", self.threshold), ("method", self.method)))
        layout.addWidget(self.live)
        layout.addWidget(self.result)
        layout.addSpacing(8)
        layout.addWidget(self.region.widget)
        layout.addStretch()

        self._job = Latest(self._on_section, self._fail)
        self.threshold.valueChanged.connect(self._ask)
        self.live.toggled.connect(self._ask)
        self.method.currentIndexChanged.connect(self._ask)
        subject.view_moved.connect(self._ask)
        subject.convention_changed.connect(self._ask)
        subject.chosen.connect(self._on_chosen)

    @property
    def busy(self) -> bool:
        """Whether something is being computed."""
        return self._job.busy or self.region.busy

    def change_threshold(self, steps: int) -> None:
        """Move the threshold by so many hundredths of the range of values."""
        slider = self.threshold
        slider.setValue(slider.value() + steps * slider.singleStep())
        if not self.live.isChecked():
            self.live.setChecked(True)

    def close(self) -> None:
        """Stop what is being computed."""
        self._job.drop()
        self.region.close()

    def _how(self) -> tuple[float, Convention, bool]:
        """Return the threshold, the convention, and whether to do a mutex watershed."""
        mutex: bool = self.method.currentData()
        return float(self.threshold.value()), self._subject.convention, mutex

    def _on_chosen(self) -> None:
        self._last_read = None
        self._job.drop()
        affinities = self._subject.affinities
        if affinities is not None:
            low, high = (float(each) for each in affinities.layer.contrast_limits_range)
            self.threshold.blockSignals(True)
            self.threshold.setRange(low, high)
            self.threshold.setSingleStep(_STEP * (high - low))
            self.threshold.setValue(low + _DEFAULT_THRESHOLD * (high - low))
            self.threshold.blockSignals(False)
        self._ask()

    def _ask(self, *_: Any) -> None:
        affinities = self._subject.affinities
        if self.live.isChecked():
            self.region.hide_segments()
        if not self.live.isChecked() or affinities is None:
            self._job.drop()
            self.result.setText("")
            return
        try:
            region = affinities.region_in_view(self._subject.viewer, limit_voxels=_SECTION_VOXELS)
        except KempError as error:
            self.result.setText(str(error))
            return
        self._job.ask(partial(self._segment_section, affinities, region, *self._how()))

    def _segment_section(
        self,
        affinities: ChannelLayers,
        region: Region,
        threshold: float,
        convention: Convention,
        mutex: bool,
        abandoned: Abandoned,
    ) -> Found:
        """Segment a section, in a thread; while the threshold is dragged it is read once."""
        last = self._last_read
        if last is None or last[:2] != (affinities, region):
            last = self._last_read = affinities, region, affinities.read(region, abandoned)
        segments = find_segments(last[2], threshold, convention, mutex=mutex)
        labels = segments.steady_labels(region.start_zyx, affinities.levels[region.level][0].shape)
        return Found(affinities, region, segments, labels)

    def _on_section(self, found: Found) -> None:
        self.result.setText(found.told)
        if self._layer.show(found):
            self._added()

    def _on_region(self, added: bool) -> None:
        self.live.setChecked(False)
        self._layer.hide()
        if added:
            self._added()

    def _fail(self, error: Exception) -> None:
        self.result.setText(str(error))
