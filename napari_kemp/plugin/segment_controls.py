"""The page of the inspector that cuts affinities into segments at a threshold."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QSpinBox
from superqt import QLabeledDoubleSlider

from napari_kemp.affinity import MAPS, Convention, Segments, find_segments
from napari_kemp.errors import KempError
from napari_kemp.plugin.channel_layers import VIEW_KEY, ChannelLayers, Region
from napari_kemp.plugin.controls import button, choice, form, message, page, row, with_tooltip
from napari_kemp.plugin.latest import Latest
from napari_kemp.plugin.subject import Subject

_SECTION_VOXELS = 8_000_000
_REGION_VOXELS = 32_000_000
_DEFAULT_THRESHOLD = 0.5
_STEP = 0.01
_OPACITY = 0.5
_ATTENUATION = 0.2
_OBLIQUE = (-20, 25, 120)


@dataclass(frozen=True, eq=False)
class _Found:
    affinities: ChannelLayers
    region: Region
    segments: Segments
    labels: NDArray[Any]


class SegmentControls:
    """Threshold, the segments of the section on screen, and those of a region in depth.

    Parameters
    ----------
    subject
        What is inspected.
    added
        Called after a layer of segments was added to the viewer.
    """

    def __init__(self, subject: Subject, added: Callable[[], None]) -> None:
        self._subject = subject
        self._added = added
        self._last_read: tuple[ChannelLayers, Region, NDArray[Any]] | None = None
        self._section_layer: Labels | None = None
        self._region_layer: Labels | None = None
        self._hidden_in_3d: list[Layer] = []
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
        self.sections = with_tooltip(
            QSpinBox(),
            "How many sections the region has, the current one in the middle; in the plane, it is\n"
            "the field of view.",
        )
        self.sections.setRange(2, 1024)
        self.sections.setValue(16)
        self.region_button = button(
            "Find segments", "Find the segments of the region, through its sections."
        )
        self.show_3d_button = button(
            "Show in 3D",
            "Draw the region in 3D: the segments that were found in it, or else its boundary map.\n"
            "Everything else is hidden until the viewer is back in 2D.",
        )
        self.region_result = message("What the threshold leaves connected in the region.")
        layout.addLayout(form(("threshold", self.threshold), ("method", self.method)))
        layout.addWidget(self.live)
        layout.addWidget(self.result)
        layout.addSpacing(8)
        layout.addLayout(form(("sections", self.sections)))
        layout.addWidget(row(self.region_button, self.show_3d_button))
        layout.addWidget(self.region_result)
        layout.addStretch()

        self._section_job = Latest(self._on_section, partial(self._fail, self.result))
        self._region_job = Latest(self._on_region, partial(self._fail, self.region_result))
        self._volume_job = Latest(self._on_volume, partial(self._fail, self.region_result))
        self.threshold.valueChanged.connect(self._ask)
        self.live.toggled.connect(self._ask)
        self.method.currentIndexChanged.connect(self._ask)
        self.region_button.clicked.connect(self.find_in_region)
        self.show_3d_button.clicked.connect(self.show_in_3d)
        subject.view_moved.connect(self._ask)
        subject.convention_changed.connect(self._ask)
        subject.chosen.connect(self._on_chosen)
        subject.viewer.dims.events.ndisplay.connect(self._on_ndisplay)

    @property
    def busy(self) -> bool:
        """Whether something is being computed."""
        return self._section_job.busy or self._region_job.busy or self._volume_job.busy

    def change_threshold(self, steps: int) -> None:
        """Move the threshold by so many hundredths of the range of values."""
        slider = self.threshold
        slider.setValue(slider.value() + steps * slider.singleStep())
        if not self.live.isChecked():
            self.live.setChecked(True)

    def find_in_region(self) -> None:
        """Find the segments of the region, in a thread."""
        affinities, region = self._bounded_region()
        if affinities is None or region is None:
            return
        self.region_button.setEnabled(False)
        self.region_result.setText(f"Reading {_extent(region)} voxels…")
        self._region_job.ask(partial(_segment, affinities, region, *self._how()))

    def show_in_3d(self) -> None:
        """Read the region and show it in 3D."""
        affinities, region = self._bounded_region()
        if affinities is None or region is None:
            return
        self.show_3d_button.setEnabled(False)
        self.region_result.setText(f"Reading {_extent(region)} voxels…")
        self._volume_job.ask(partial(_boundary_map, affinities, region))

    def close(self) -> None:
        """Forget what is being computed."""
        for job in (self._section_job, self._region_job, self._volume_job):
            job.drop()
        self._subject.viewer.dims.events.ndisplay.disconnect(self._on_ndisplay)

    def _how(self) -> tuple[float, Convention, bool]:
        """Return the threshold, the convention, and whether to do a mutex watershed."""
        mutex: bool = self.method.currentData()
        return float(self.threshold.value()), self._subject.convention, mutex

    def _bounded_region(self) -> tuple[ChannelLayers | None, Region | None]:
        affinities = self._subject.affinities
        if affinities is None:
            self.region_result.setText("Open affinities first.")
            return None, None
        try:
            return affinities, affinities.region_in_view(
                self._subject.viewer,
                sections=self.sections.value(),
                limit_voxels=_REGION_VOXELS,
            )
        except KempError as error:
            self.region_result.setText(str(error))
            return None, None

    def _on_chosen(self) -> None:
        self._last_read = None
        self._section_job.drop()
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
        if self.live.isChecked() and self._region_layer is not None:
            self._region_layer.visible = False
        if not self.live.isChecked() or affinities is None:
            self._section_job.drop()
            self.result.setText("")
            return
        try:
            region = affinities.region_in_view(self._subject.viewer, limit_voxels=_SECTION_VOXELS)
        except KempError as error:
            self.result.setText(str(error))
            return
        self._section_job.ask(
            partial(
                self._segment_section,
                affinities,
                region,
                *self._how(),
            )
        )

    def _segment_section(
        self,
        affinities: ChannelLayers,
        region: Region,
        threshold: float,
        convention: Convention,
        mutex: bool,
    ) -> _Found:
        """Segment a section, in a thread; while the threshold is dragged it is read once."""
        last = self._last_read
        if last is None or last[:2] != (affinities, region):
            last = self._last_read = affinities, region, affinities.read(region)
        segments = find_segments(last[2], threshold, convention, mutex=mutex)
        labels = segments.steady_labels(region.start_zyx, affinities.levels[region.level][0].shape)
        return _Found(affinities, region, segments, labels)

    def _on_section(self, found: _Found) -> None:
        self.result.setText(_describe(found))
        self._section_layer = self._put(self._section_layer, found, "segments")

    def _on_region(self, found: _Found) -> None:
        self.region_button.setEnabled(True)
        self.region_result.setText(f"{_extent(found.region)} voxels: {_describe(found)}")
        self.live.setChecked(False)
        if self._section_layer is not None:
            self._section_layer.visible = False
        self._region_layer = self._put(self._region_layer, found, "segments in 3D")

    def _on_volume(self, outcome: tuple[ChannelLayers, Region, NDArray[Any]]) -> None:
        affinities, region, values = outcome
        self.show_3d_button.setEnabled(True)
        self.region_result.setText(f"{_extent(region)} voxels in 3D.")
        viewer = self._subject.viewer
        self._hidden_in_3d = [layer for layer in viewer.layers if layer.visible]
        for layer in self._hidden_in_3d:
            layer.visible = layer is self._region_layer
        segments = self._region_layer if self._region_layer in self._hidden_in_3d else None
        if segments is not None:
            segments.opacity = 1
        boundaries = viewer.add_layer(
            Image(
                values,
                name=f"{affinities.name} (boundary, 3D)",
                colormap="gray",
                contrast_limits=(0, 1),
                # Membranes are everywhere: without attenuation, one sees nothing but white.
                rendering="attenuated_mip",
                attenuation=_ATTENUATION,
                visible=segments is None,
                metadata={VIEW_KEY: "3D"},
                **affinities.place(region),
            )
        )
        viewer.layers.selection = {segments or boundaries}
        viewer.dims.ndisplay = 3
        viewer.scene.camera.angles = _OBLIQUE
        viewer.reset_view(reset_camera_angle=False)

    def _on_ndisplay(self, *_: Any) -> None:
        viewer = self._subject.viewer
        if viewer.dims.ndisplay != 2 or not self._hidden_in_3d:
            return
        for layer in [each for each in viewer.layers if each.metadata.get(VIEW_KEY) == "3D"]:
            viewer.layers.remove(layer)
        for layer in self._hidden_in_3d:
            layer.visible = True
        self._hidden_in_3d = []
        if self._region_layer is not None:
            self._region_layer.opacity = _OPACITY

    def _fail(self, label: Any, error: Exception) -> None:
        self.region_button.setEnabled(True)
        self.show_3d_button.setEnabled(True)
        label.setText(str(error))

    def _put(self, layer: Labels | None, found: _Found, what: str) -> Labels:
        """Show segments in a layer, the one from before if it is still there."""
        place = found.affinities.place(found.region)
        viewer = self._subject.viewer
        if layer is None or layer not in viewer.layers:
            layer = Labels(
                found.labels,
                name=f"{found.affinities.name} {what}",
                opacity=_OPACITY,
                metadata={VIEW_KEY: what},
                **place,
            )
            selected = set(viewer.layers.selection)
            viewer.add_layer(layer)
            viewer.layers.selection = selected or {layer}
            self._added()
            return layer
        layer.name = f"{found.affinities.name} {what}"
        layer.data = found.labels
        layer.scale, layer.translate = place["scale"], place["translate"]
        layer.visible = True
        return layer


def _segment(
    affinities: ChannelLayers,
    region: Region,
    threshold: float,
    convention: Convention,
    mutex: bool,
) -> _Found:
    segments = find_segments(affinities.read(region), threshold, convention, mutex=mutex)
    return _Found(affinities, region, segments, segments.labels)


def _boundary_map(
    affinities: ChannelLayers, region: Region
) -> tuple[ChannelLayers, Region, NDArray[Any]]:
    values = MAPS["boundary"](*affinities.read(region))
    return affinities, region, np.asarray(values, np.float32)


def _extent(region: Region) -> str:
    z, y, x = region.shape_zyx
    return f"{x} × {y} × {z}"


def _describe(found: _Found) -> str:
    segments = found.segments
    share = 100 * segments.largest_voxels / max(1, segments.labels.size)
    scale = found.affinities.factor_zyx(found.region.level)
    coarse = "" if found.region.level == 0 else f" (voxels {scale[2]:.3g} × coarser, as on screen)"
    return (
        f"{segments.count:,} segment{'' if segments.count == 1 else 's'}, "
        f"the largest of {segments.largest_voxels:,} voxels "
        f"({share:.1f}\N{NO-BREAK SPACE}%){coarse}"
    )
