"""The dock widget that shows affinities, their segments, and where one is."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Layer
from qtpy.QtWidgets import QComboBox, QTabWidget, QVBoxLayout, QWidget

from napari_kemp.affinity import Convention
from napari_kemp.errors import KempError
from napari_kemp.plugin.channel_layers import (
    VIEW_KEY,
    ChannelLayers,
    channels_of,
    find_affinities,
)
from napari_kemp.plugin.controls import choice, form, message, row, with_tooltip
from napari_kemp.plugin.display_controls import DisplayControls
from napari_kemp.plugin.dock_widget import DockWidget
from napari_kemp.plugin.position_controls import PositionControls
from napari_kemp.plugin.segment_controls import SegmentControls
from napari_kemp.plugin.shortcuts import SHORTCUTS, bind, unbind
from napari_kemp.plugin.subject import Subject

if TYPE_CHECKING:
    from napari.viewer import Viewer

# So that no text is cut off.
_WIDTH = 330
_THREE_LAYERS = "three layers…"


class AffinityInspector(DockWidget):
    """Look at affinities: composed, by channel, as boundaries, as segments, and value by value.

    Parameters
    ----------
    napari_viewer
        The viewer that shows the affinities.
    """

    def __init__(self, napari_viewer: "Viewer") -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._found: list[ChannelLayers] = []
        self._settling = False
        self.subject = Subject(napari_viewer)
        self.volume = choice([], "The affinities to look at: three layers, or one with channels.")
        self.channels = [
            choice([], f"The layer that holds the {ordinal} channel.")
            for ordinal in ("first", "second", "third")
        ]
        self.order = choice(
            [("x, y, z", "xyz"), ("z, y, x", "zyx")],
            "Along which axes the neighbours of the first, second and third channel lie.",
        )
        self.offset = choice(
            [("before (−1)", -1), ("after (+1)", 1)],
            "Which neighbour an affinity speaks of: the voxel before, or the one after.",
        )
        convention = with_tooltip(
            row(self.order, self.offset),
            "How the network's channels are to be read; segments look torn if this is wrong.",
        )
        self.problem = message("Why there is nothing to look at.")
        self.display = DisplayControls(self.subject)
        self.segments = SegmentControls(
            self.subject, lambda: self.display.look, self.display.refresh_layout
        )
        self.where = PositionControls(self.subject)
        self.display.changing.connect(self.segments.region.view.leave)
        self.display.limits_changed.connect(self.segments.region.view.draw_with)
        self.segments.threshold.valueChanged.connect(self._mark_threshold)
        self.segments.live.toggled.connect(self._mark_threshold)

        self.tabs = QTabWidget()
        for number, (controls, title, tooltip) in enumerate(
            (
                (self.display.widget, "Display", "How the affinities are shown."),
                (self.segments.widget, "Segments", "What a threshold leaves connected."),
            )
        ):
            self.tabs.addTab(controls, title)
            self.tabs.setTabToolTip(number, tooltip)
        self._channel_form = QWidget()
        self._channel_form.setLayout(
            form(*((f"channel {n}", combo) for n, combo in enumerate(self.channels, start=1)))
        )
        self.setMinimumWidth(_WIDTH)
        layout = QVBoxLayout(self)
        layout.addLayout(form(("affinities", self.volume), ("channels", convention)))
        layout.addWidget(self._channel_form)
        layout.addWidget(self.problem)
        layout.addWidget(self.tabs)
        layout.addWidget(self.where.widget)
        layout.addStretch()

        self._actions: dict[str, Callable[[], None]] = {
            ".": partial(self.segments.change_threshold, 1),
            ",": partial(self.segments.change_threshold, -1),
            "D": partial(self.display.cycle, 1),
            "Shift-D": partial(self.display.cycle, -1),
            "PageDown": partial(self.where.go_to_data, 1),
            "PageUp": partial(self.where.go_to_data, -1),
            "Shift-C": self.where.copy_cursor,
            "Shift-G": self.display.toggle_layout,
        }
        assert self._actions.keys() == SHORTCUTS.keys()
        bind(napari_viewer, self._actions)
        self.volume.currentIndexChanged.connect(self._choose)
        for combo in (self.order, self.offset):
            combo.currentIndexChanged.connect(self._read_convention)
        for combo in self.channels:
            combo.currentIndexChanged.connect(self._choose)
        layers = napari_viewer.layers.events
        for events in (layers.inserted, layers.removed, layers.reordered):
            events.connect(self._on_layers)
            self.at_the_end(partial(events.disconnect, self._on_layers))
        self.at_the_end(
            self.subject.close,
            self.display.close,
            self.segments.close,
            self.where.close,
            partial(unbind, napari_viewer, self._actions),
        )
        self._watched: list[Any] = []
        self.at_the_end(self._unwatch)
        self.subject.chosen.connect(self._watch)
        self._on_layers()

    @property
    def busy(self) -> bool:
        """Whether something is being read or computed."""
        return self.display.busy or self.segments.busy or self.where.busy

    def _on_layers(self, *_: Any) -> None:
        """Offer what can be inspected now, keeping what is chosen while it is there."""
        before = self.subject.affinities
        had_choice = bool(self._found)
        self._found = find_affinities(self._viewer.layers)
        images = [
            layer
            for layer in self._viewer.layers
            if isinstance(layer, Image)
            and not layer.rgb
            and layer.ndim == 3
            and VIEW_KEY not in layer.metadata
        ]
        self._settling = True
        chosen = self.volume.currentText()
        self.volume.clear()
        for found in self._found:
            self.volume.addItem(found.name)
        if len(images) >= 3:
            self.volume.addItem(_THREE_LAYERS, None)
        for number, combo in enumerate(self.channels):
            kept = combo.currentData() if chosen == _THREE_LAYERS else None
            _offer(combo, images, kept, number)
        # Where there was nothing else to choose, affinities that come along are what is meant.
        if chosen == _THREE_LAYERS and (had_choice or not self._found):
            self.volume.setCurrentIndex(max(0, self.volume.findText(_THREE_LAYERS)))
        else:
            self.volume.setCurrentIndex(self._index_of(before))
        self._settling = False
        self._choose()

    def _index_of(self, before: ChannelLayers | None) -> int:
        """Stay with what was chosen, or begin with what is selected in the layer list."""
        selected = self._viewer.layers.selection
        for number, found in enumerate(self._found):
            if found.layers == before.layers if before else selected & set(found.layers):
                return number
        return 0

    def _choose(self, *_: Any) -> None:
        if self._settling:
            return
        custom = self.volume.currentText() == _THREE_LAYERS
        if custom and self._channel_form.isHidden():
            self._take_over()
        self._channel_form.setVisible(custom)
        affinities = None
        problem = ""
        if custom:
            try:
                affinities = channels_of([combo.currentData() for combo in self.channels])
            except KempError as error:
                problem = str(error)
        elif self._found:
            affinities = self._found[max(0, self.volume.currentIndex())]
        else:
            problem = self._refusal() or (
                "Open affinities first: a volume of three channels, or three layers."
            )
        self.problem.setText(problem)
        self.problem.setVisible(bool(problem))
        self.tabs.setEnabled(affinities is not None)
        self.where.widget.setEnabled(affinities is not None)
        self.subject.affinities = affinities

    def _refusal(self) -> str:
        """Say why a layer with channels cannot be looked at, if there is one."""
        for layer in self._viewer.layers:
            if isinstance(layer, Image) and layer.ndim == 4:
                try:
                    channels_of([layer])
                except KempError as error:
                    return str(error)
        return ""

    def _take_over(self) -> None:
        """Begin with the layers that are looked at already."""
        affinities = self.subject.affinities
        if affinities is None or len(affinities.layers) != len(self.channels):
            return
        numbers = [self.channels[0].findText(layer.name) for layer in affinities.layers]
        if -1 in numbers:
            return
        self._settling = True
        for combo, number in zip(self.channels, numbers, strict=True):
            combo.setCurrentIndex(number)
        self._settling = False

    def _watch(self) -> None:
        """Notice when somebody changes the layers that are looked at."""
        self._unwatch()
        affinities = self.subject.affinities
        for layer in affinities.layers if affinities is not None else ():
            events = layer.events
            self._watched += [events.data, events.scale, events.translate, events.units]
            self._watched += [events.rotate, events.shear, events.affine]
        for event in self._watched:
            event.connect(self._on_edited)

    def _unwatch(self) -> None:
        for event in self._watched:
            event.disconnect(self._on_edited)
        self._watched = []

    def _on_edited(self, *_: Any) -> None:
        affinities = self.subject.affinities
        if affinities is not None:
            with suppress(KempError):
                self.subject.reload(channels_of(affinities.layers))

    def _read_convention(self, *_: Any) -> None:
        self.subject.convention = Convention(self.order.currentData(), self.offset.currentData())

    def _mark_threshold(self, *_: Any) -> None:
        live = self.segments.live.isChecked()
        self.display.histogram.set_threshold(self.segments.threshold.value() if live else None)


def _offer(combo: QComboBox, layers: list[Layer], kept: Layer | None, default: int) -> None:
    combo.clear()
    for layer in layers:
        combo.addItem(layer.name, layer)
    index = layers.index(kept) if kept in layers else min(default, len(layers) - 1)
    combo.setCurrentIndex(index)
