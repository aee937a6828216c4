"""The part of the inspector that looks at a region through its sections."""

from collections.abc import Callable
from functools import partial
from typing import Any

from napari.layers import Labels
from qtpy.QtWidgets import QPushButton, QSpinBox

from napari_kemp.affinity import Convention, find_segments
from napari_kemp.errors import KempError
from napari_kemp.plugin.channel_layers import ChannelLayers, Region
from napari_kemp.plugin.controls import button, form, message, page, row, with_tooltip
from napari_kemp.plugin.display import Look
from napari_kemp.plugin.latest import Abandoned, Latest
from napari_kemp.plugin.segments_layer import Found, SegmentsLayer
from napari_kemp.plugin.subject import Subject
from napari_kemp.plugin.view_3d import View3D, Volume3D, compose

_REGION_VOXELS = 32_000_000


class RegionControls:
    """The segments of a region in depth, and its picture in 3D.

    Parameters
    ----------
    subject
        What is inspected.
    look
        Returns how the affinities are shown.
    how
        Returns the threshold, the convention, and whether to do a mutex watershed.
    found
        Called after segments were found, with whether a layer was added for them.
    """

    def __init__(
        self,
        subject: Subject,
        look: Callable[[], Look],
        how: Callable[[], tuple[float, Convention, bool]],
        found: Callable[[bool], None],
    ) -> None:
        self._subject = subject
        self._look = look
        self._how = how
        self._found = found
        self._layer = SegmentsLayer(subject.viewer, "segments in 3D")
        self.view = View3D(subject.viewer)
        self.widget, layout = page()
        layout.setContentsMargins(0, 0, 0, 0)
        self.sections = with_tooltip(
            QSpinBox(),
            "How many sections the region has, the current one in the middle; in the plane, it is\n"
            "the field of view.",
        )
        self.sections.setRange(2, 1024)
        self.sections.setValue(16)
        self.find_button = button(
            "Find segments", "Find the segments of the region, through its sections."
        )
        self.show_button = button(
            "Show in 3D",
            "Draw the region in 3D: the segments that were found in it, or else the affinities as\n"
            "they are shown. Everything else is hidden until the viewer is back in 2D.",
        )
        self._texts = {each: each.text() for each in (self.find_button, self.show_button)}
        self._tooltips = {each: each.toolTip() for each in self._texts}
        self.result = message("What the threshold leaves connected in the region.")
        layout.addLayout(form(("sections", self.sections)))
        layout.addWidget(row(self.find_button, self.show_button))
        layout.addWidget(self.result)

        self._find_job = Latest(self._on_segments, self._fail)
        self._show_job = Latest(self._on_volumes, self._fail)
        self.find_button.clicked.connect(lambda: self._toggle(self.find_segments))
        self.show_button.clicked.connect(lambda: self._toggle(self.show_in_3d))
        subject.chosen.connect(self.cancel)

    @property
    def busy(self) -> bool:
        """Whether a region is being read."""
        return self._find_job.busy or self._show_job.busy

    def find_segments(self) -> None:
        """Find the segments of the region, in a thread."""
        self._begin(self.find_button, self._find_job, partial(_segment, how=self._how()))

    def show_in_3d(self) -> None:
        """Read the region and show it in 3D."""
        self._begin(self.show_button, self._show_job, partial(_draw, look=self._look()))

    def cancel(self) -> None:
        """Stop to read the region."""
        if self.busy:
            self._drop()
            self._set_running(None)
            self.result.setText("Cancelled.")

    def hide_segments(self) -> None:
        """Hide the segments of the region: those of the section are shown."""
        self._layer.hide()

    def close(self) -> None:
        """Stop to read, and bring back what is hidden for the picture in 3D."""
        self._drop()
        self.view.close()

    def _drop(self) -> None:
        self._find_job.drop()
        self._show_job.drop()

    def _toggle(self, begin: Callable[[], None]) -> None:
        if self.busy:
            self.cancel()
        else:
            begin()

    def _begin(self, pressed: QPushButton, job: Latest, work: Callable[..., Any]) -> None:
        affinities = self._subject.affinities
        if affinities is None:
            self.result.setText("Open affinities first.")
            return
        try:
            region = affinities.region_in_view(
                self._subject.viewer, sections=self.sections.value(), limit_voxels=_REGION_VOXELS
            )
        except KempError as error:
            self.result.setText(str(error))
            return
        self.cancel()
        self._set_running(pressed)
        self.result.setText(f"Reading {_extent(region)} voxels…")
        job.ask(partial(work, affinities, region))

    def _set_running(self, pressed: QPushButton | None) -> None:
        """Let the button that was pressed cancel, and the other one wait."""
        for each, text in self._texts.items():
            each.setText("Cancel" if each is pressed else text)
            each.setToolTip("Stop to read the region." if each is pressed else self._tooltips[each])
            each.setEnabled(pressed is None or each is pressed)

    def _on_segments(self, found: Found) -> None:
        self._set_running(None)
        self.result.setText(f"{_extent(found.region)} voxels: {found.told}")
        self._found(self._layer.show(found))

    def _on_volumes(self, outcome: tuple[ChannelLayers, Region, list[Volume3D], Look]) -> None:
        affinities, region, volumes, look = outcome
        self._set_running(None)
        self.result.setText(f"{_extent(region)} voxels in 3D.")
        self.view.show(affinities, region, volumes, look, self._segments_of(affinities, region))

    def _segments_of(self, affinities: ChannelLayers, region: Region) -> Labels | None:
        shown = self._layer.shown
        if shown is None or (shown.affinities.layers, shown.region) != (affinities.layers, region):
            return None
        return self._layer.layer

    def _fail(self, error: Exception) -> None:
        self._set_running(None)
        self.result.setText(str(error))


def _segment(
    affinities: ChannelLayers,
    region: Region,
    abandoned: Abandoned,
    *,
    how: tuple[float, Convention, bool],
) -> Found:
    threshold, convention, mutex = how
    values = affinities.read(region, abandoned)
    segments = find_segments(values, threshold, convention, mutex=mutex)
    return Found(affinities, region, segments, segments.labels)


def _draw(
    affinities: ChannelLayers, region: Region, abandoned: Abandoned, *, look: Look
) -> tuple[ChannelLayers, Region, list[Volume3D], Look]:
    return affinities, region, compose(affinities.read(region, abandoned), look), look


def _extent(region: Region) -> str:
    z, y, x = region.shape_zyx
    return f"{x} × {y} × {z}"
