"""The dock widget that shows how two volumes, or two layers, differ."""

import math
import threading
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.experimental import link_layers, unlink_layers
from napari.layers import Image, Layer
from napari.qt.threading import GeneratorWorker, create_worker
from qtpy.QtWidgets import QCheckBox, QProgressBar, QVBoxLayout

from napari_kemp.affinity import Difference, largest_difference, measure_difference
from napari_kemp.errors import KempError
from napari_kemp.plugin.channel_layers import (
    VIEW_KEY,
    ChannelLayers,
    Triple,
    channels_of,
    find_affinities,
)
from napari_kemp.plugin.common_box import CommonBox, common_box
from napari_kemp.plugin.controls import button, choice, form, message, row, with_tooltip
from napari_kemp.plugin.dock_widget import DockWidget
from napari_kemp.plugin.map_view import MapView
from napari_kemp.plugin.position import as_text, go_to

if TYPE_CHECKING:
    from napari.viewer import Viewer

_SECTION = "in view, this section"
_SECTIONS = "in view, all sections"
_ALL = "everything"

# So that no text is cut off.
_WIDTH = 330


@dataclass(frozen=True)
class _Failure:
    message: str


class CompareWidget(DockWidget):
    """Compare an original and its kempressed copy, or what two networks predicted.

    Parameters
    ----------
    napari_viewer
        Whose layers are compared.
    """

    def __init__(self, napari_viewer: "Viewer") -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._offers: list[ChannelLayers] = []
        self._common: CommonBox | None = None
        self._layer: Image | None = None
        self._shown: CommonBox | None = None
        self._linked: list[list[Layer]] = []
        self._worker: GeneratorWorker | None = None
        self._cancelled = threading.Event()
        self._largest: tuple[CommonBox, Triple] | None = None
        self.one = choice([], "A volume, or a single layer.")
        self.other = choice([], "What to compare it with.")
        self.problem = message("Why the two cannot be compared.")
        self.show_button = button(
            "Show the difference",
            "Add a layer of absolute differences, the largest of the channels.\n"
            "It is computed for what is on the canvas only.",
        )
        self.link = with_tooltip(
            QCheckBox("same contrast"),
            "Draw both with the same contrast limits and gamma.",
        )
        self.scope = choice(
            [(text, text) for text in (_SECTION, _SECTIONS, _ALL)],
            "Which voxels to measure, of the finest scale.",
        )
        self.measure_button = button("Measure", "Find the largest and the mean difference.")
        self.cancel_button = button("Cancel", "Stop; what was measured so far is told.")
        self.cancel_button.setEnabled(False)
        self.progress = with_tooltip(QProgressBar(), "Blocks of voxels that were compared.")
        self.progress.hide()
        self.result = message("What was measured.")
        self.go_button = button(
            "Go to the largest difference", "Put the voxel that differs most into the middle."
        )
        self.go_button.hide()
        layout = QVBoxLayout(self)
        layout.addLayout(form(("compare", self.one), ("with", self.other)))
        layout.addWidget(self.problem)
        layout.addWidget(row(self.show_button, self.link))
        layout.addLayout(form(("measure", self.scope)))
        layout.addWidget(row(self.measure_button, self.cancel_button))
        layout.addWidget(self.progress)
        layout.addWidget(self.result)
        layout.addWidget(self.go_button)
        layout.addStretch()

        self.one.currentIndexChanged.connect(self._choose)
        self.other.currentIndexChanged.connect(self._choose)
        self.show_button.clicked.connect(self.show_difference)
        self.link.toggled.connect(self._on_link)
        self.measure_button.clicked.connect(self.measure)
        self.cancel_button.clicked.connect(self.cancel)
        self.go_button.clicked.connect(self.go_to_largest)
        for events in (napari_viewer.layers.events.inserted, napari_viewer.layers.events.removed):
            events.connect(self._on_layers)
            self.at_the_end(partial(events.disconnect, self._on_layers))
        self.at_the_end(lambda: self._cancelled.set(), self._unlink)
        self.setMinimumWidth(_WIDTH)
        self._on_layers()

    @property
    def measuring(self) -> bool:
        """Whether differences are being measured."""
        return self._worker is not None

    def show_difference(self) -> None:
        """Add the layer of differences, in place of the one from before."""
        common = self._common
        if common is None:
            return
        if self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        levels = [MapView(largest_difference, [*a, *b]) for a, b in common.levels]
        largest = 1.0
        limits = common.one.layer.contrast_limits_range
        if limits is not None:
            largest = float(limits[1]) - float(limits[0])
        self._layer = Image(
            levels if len(levels) > 1 else levels[0],
            name=f"|{common.one.name} − {common.other.name}|",
            multiscale=len(levels) > 1,
            colormap="inferno",
            contrast_limits=(0, largest),
            metadata={VIEW_KEY: "difference"},
            **common.place,
        )
        self._shown = common
        self._viewer.add_layer(self._layer)
        # Differences may be far too small to be seen in the range of the values.
        self.measure()

    def measure(self) -> None:
        """Start to measure, in a thread."""
        common = self._common
        if common is None or self.measuring:
            return
        try:
            start, stop = self._scope_of(common)
        except KempError as error:
            self.result.setText(str(error))
            return
        self._cancelled = threading.Event()
        self._worker = create_worker(_measure, common, start, stop, self._cancelled)
        self._worker.yielded.connect(self._on_step)
        self._worker.returned.connect(lambda end: self._on_end(common, end))
        self._worker.aborted.connect(self._on_aborted)
        self._set_running(True)
        self._worker.start()

    def cancel(self) -> None:
        """Stop to measure, after the block in hand."""
        self._cancelled.set()
        self.cancel_button.setEnabled(False)

    def go_to_largest(self) -> None:
        """Put the voxel that differs most into the middle of the canvas."""
        if self._largest is not None:
            common, at = self._largest
            go_to(self._viewer, common.one, _absolute_xyz(common, at))

    def _scope_of(self, common: CommonBox) -> tuple[Triple, Triple]:
        """Find the box to measure, in voxels of the common box."""
        shape = common.shape_zyx
        if self.scope.currentData() == _ALL:
            return (0, 0, 0), shape
        start, stop = common.one.finest_in_view(
            self._viewer, this_section=self.scope.currentData() == _SECTION
        )
        low = [max(0, a - c) for a, c in zip(start, common.start_zyx, strict=True)]
        high = [min(n, b - c) for n, b, c in zip(shape, stop, common.start_zyx, strict=True)]
        if not all(b > a for a, b in zip(low, high, strict=True)):
            raise KempError("Nothing that the two have in common is in the field of view.")
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def _on_layers(self, *_: Any) -> None:
        """Offer volumes, and single images, keeping what is chosen while it is there."""
        before = [self._chosen(combo) for combo in (self.one, self.other)]
        self._offers = find_affinities(self._viewer.layers, all_channels=True)
        for layer in self._viewer.layers:
            if isinstance(layer, Image) and not layer.rgb and VIEW_KEY not in layer.metadata:
                with suppress(KempError):
                    if layer.ndim == 3:
                        self._offers.append(channels_of([layer]))
        for number, (combo, chosen) in enumerate(zip((self.one, self.other), before, strict=True)):
            combo.blockSignals(True)
            combo.clear()
            for offer in self._offers:
                combo.addItem(offer.name)
            layers = [offer.layers for offer in self._offers]
            default = min(number, len(layers) - 1)
            same = chosen is not None and chosen.layers in layers
            combo.setCurrentIndex(layers.index(chosen.layers) if chosen and same else default)
            combo.blockSignals(False)
        self._choose()

    def _chosen(self, combo: Any) -> ChannelLayers | None:
        index = combo.currentIndex()
        return self._offers[index] if 0 <= index < len(self._offers) else None

    def _choose(self, *_: Any) -> None:
        one, other = self._chosen(self.one), self._chosen(self.other)
        kept, self._common = self._common, None
        problem = "Open two volumes, or two images, first."
        if one is not None and other is not None and one is not other:
            problem = ""
            try:
                self._common = common_box(one, other)
            except KempError as error:
                problem = str(error)
            # Other layers come and go; what is shown and measured of these two stays the same.
            if kept is not None and (kept.one.layers, kept.other.layers) == (
                one.layers,
                other.layers,
            ):
                self._common = kept
        elif one is not None and len(self._offers) > 1:
            problem = "Choose two that differ."
        self.problem.setText(problem)
        self.problem.setVisible(bool(problem))
        for control in (self.show_button, self.link, self.scope):
            control.setEnabled(self._common is not None)
        self.measure_button.setEnabled(self._common is not None and not self.measuring)
        self._on_link()

    def _on_link(self, *_: Any) -> None:
        self._unlink()
        if not self.link.isChecked() or self._common is None:
            return
        for pair in zip(self._common.one.layers, self._common.other.layers, strict=False):
            if pair[0] is not pair[1]:
                pair[1].contrast_limits_range = pair[0].contrast_limits_range
                pair[1].contrast_limits = pair[0].contrast_limits
                link_layers(pair, ("contrast_limits", "gamma"))
                self._linked.append(list(pair))

    def _unlink(self) -> None:
        for pair in self._linked:
            unlink_layers(pair, ("contrast_limits", "gamma"))
        self._linked = []

    def _on_step(self, step: Difference) -> None:
        if not self.closed and self.measuring:
            self.progress.setRange(0, step.total)
            self.progress.setValue(step.done)
            self.result.setText(_tell(step))

    def _on_end(self, common: CommonBox, end: Difference | _Failure) -> None:
        self._worker = None
        if self.closed:
            return
        self._set_running(False)
        if isinstance(end, _Failure):
            self.result.setText(end.message)
            return
        text = _tell(end)
        if end.at_zyx is not None:
            self._largest = common, end.at_zyx
            self.go_button.show()
            self._brighten(common, end.largest)
            text += f"\nLargest at voxel {as_text(_absolute_xyz(common, end.at_zyx))}."
        if end.done < end.total:
            text += f"\nStopped after {end.done} of {end.total} blocks."
        self.result.setText(text)

    def _brighten(self, common: CommonBox, largest: float) -> None:
        """Draw the largest difference brightest, in the layer of the same two."""
        layer = self._layer
        if layer is not None and self._shown is common and 0 < largest < math.inf:
            layer.contrast_limits_range = (0, max(largest, layer.contrast_limits_range[1]))
            layer.contrast_limits = (0, largest)

    def _on_aborted(self) -> None:
        self._worker = None

    def _set_running(self, running: bool) -> None:
        self.measure_button.setEnabled(not running and self._common is not None)
        self.cancel_button.setEnabled(running)
        self.progress.setVisible(running)
        self.progress.setValue(0)
        if running:
            self.go_button.hide()
            self.result.setText("Measuring…")


def _measure(
    common: CommonBox, start: Triple, stop: Triple, cancelled: threading.Event
) -> Generator[Difference, None, Difference | _Failure]:
    """Measure, in a thread; failures are returned, so that none is taken for a closed window."""
    one, other = common.levels[0]
    found = Difference(0.0, None, 0.0, 0, 0, 0)
    try:
        for found in measure_difference(one, other, start, stop):
            if cancelled.is_set():
                break
            yield found
    except Exception as error:
        return _Failure(str(error))
    return found


def _absolute_xyz(common: CommonBox, at_zyx: Triple) -> tuple[float, float, float]:
    source = common.one.sources[0]
    z, y, x = (
        at + start - padding + offset
        for at, start, padding, offset in zip(
            at_zyx,
            common.start_zyx,
            source.padding_zyx,
            source.voxel_offset_xyz[::-1],
            strict=True,
        )
    )
    return x, y, z


def _tell(difference: Difference) -> str:
    return (
        f"Largest difference {difference.largest:.3g}, mean {difference.mean:.3g}, "
        f"of {difference.values:,} values."
    )
