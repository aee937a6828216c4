"""What is being inspected, for all controls that inspect it."""

from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_kemp.affinity import Convention
from napari_kemp.plugin.channel_layers import ChannelLayers

if TYPE_CHECKING:
    from napari.viewer import Viewer

# Panning comes in bursts; what is computed from the field of view follows when they pause.
_PAUSE_MS = 60


class Subject:
    """The affinities that were chosen, how they are to be read, and when the view of them changes.

    Parameters
    ----------
    viewer
        The viewer that shows them.

    Attributes
    ----------
    chosen
        Emitted after other affinities, or none, were chosen.
    convention_changed
        Emitted after the convention has changed.
    view_moved
        Emitted once the field of view, or the section, has come to rest at another place.
    cursor_moved
        Emitted when the mouse moves over the canvas.
    """

    chosen = Signal()
    convention_changed = Signal()
    view_moved = Signal()
    cursor_moved = Signal()

    def __init__(self, viewer: "Viewer") -> None:
        self.viewer = viewer
        self._affinities: ChannelLayers | None = None
        self._convention = Convention()
        self.closed = False
        self._pause = QTimer()
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self._on_rest)
        self._moves = (
            viewer.scene.camera.events,
            viewer.canvas.events.size,
            viewer.canvas.grid.events,
            viewer.dims.events.point,
            viewer.dims.events.ndisplay,
            viewer.dims.events.order,
        )
        for events in self._moves:
            events.connect(self._on_moved)
        viewer.cursor.events.position.connect(self._on_cursor)

    @property
    def affinities(self) -> ChannelLayers | None:
        """The affinities; None if there are none."""
        return self._affinities

    @affinities.setter
    def affinities(self, affinities: ChannelLayers | None) -> None:
        before = self._affinities
        same = before is affinities or (
            before is not None and affinities is not None and before.layers == affinities.layers
        )
        if not same:
            self._affinities = affinities
            self.chosen.emit()

    def reload(self, affinities: ChannelLayers) -> None:
        """Look at the same layers anew, after their data or their place has changed."""
        self._affinities = affinities
        self.chosen.emit()

    @property
    def convention(self) -> Convention:
        """How the channels are to be read."""
        return self._convention

    @convention.setter
    def convention(self, convention: Convention) -> None:
        if convention != self._convention:
            self._convention = convention
            self.convention_changed.emit()

    def close(self) -> None:
        """Let go of the viewer; nothing is emitted any more."""
        if self.closed:
            return
        self.closed = True
        for events in self._moves:
            events.disconnect(self._on_moved)
        self.viewer.cursor.events.position.disconnect(self._on_cursor)
        for signal in (self.chosen, self.convention_changed, self.view_moved, self.cursor_moved):
            signal.disconnect()

    def _on_moved(self, *_: Any) -> None:
        self._pause.start()

    def _on_rest(self) -> None:
        if not self.closed:
            self.view_moved.emit()

    def _on_cursor(self, *_: Any) -> None:
        self.cursor_moved.emit()
