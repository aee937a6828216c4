"""A widget that knows when its dock, or the whole window, is closed for good."""

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QWidget


class DockWidget(QWidget):  # type: ignore[misc]
    """A widget for napari's docks, which lets go of the viewer in time.

    Attributes
    ----------
    closed
        Whether it was closed for good; its controls may be gone then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self._at_the_end: list[Callable[[], Any]] = []
        # Not a method of this object: those are not called any more by then.
        self.destroyed.connect(lambda *_: _close(self))

    def at_the_end(self, *actions: Callable[[], Any]) -> None:
        """Have something done when the widget is closed; it must not touch any control."""
        self._at_the_end += actions

    def let_go(self) -> None:
        """Do what is to be done at the end."""
        _close(self)

    def event(self, event: Any) -> bool:  # noqa: D102
        # napari takes the widget out of its dock when that is closed for good.
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            _close(self)
        return bool(super().event(event))


def _close(widget: DockWidget) -> None:
    if not widget.closed:
        widget.closed = True
        for action in widget._at_the_end:
            action()
