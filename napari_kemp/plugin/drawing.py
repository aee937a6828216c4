"""How a volume is drawn: what napari asks of it, as against what people and programs ask.

Whoever indexes a layer's data gets complete, true values or an error. Only napari's own slicing, of
which the result goes nowhere but on the canvas, is given a picture of what can be read, and may be
given up once the user has scrolled on.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock, current_thread, main_thread
from types import FrameType
from typing import Any

from napari_kemp.errors import ChunkError
from napari_kemp.precomputed.reader import AbandonedError, ReadOptions

# Long enough for the layers of one volume to be drawn one after the other.
_MISSING_SECONDS = 2.0

_SLICING = "napari.layers._scalar_field._slice"


def drawing_options(caller: FrameType, source: Hashable) -> ReadOptions | None:
    """Return how to read for napari's slicing; None if it is somebody else who asks.

    Parameters
    ----------
    caller
        Where ``numpy.asarray`` was called: napari has no other way to say what it wants data for.
    source
        What all parts of a layer's data have in common.
    """
    if caller.f_globals.get("__name__") != _SLICING:
        return None
    request = caller.f_locals.get("self")
    abandoned = _superseded(request, source)
    return ReadOptions(_report, abandoned, missing_seconds=_MISSING_SECONDS)


def quiet_abandoned() -> None:
    """Keep napari from telling of slices that were given up: newer ones are on their way."""
    from napari.utils.notifications import notification_manager

    notification_manager.notification_ready.disconnect(_block_abandoned)
    notification_manager.notification_ready.connect(_block_abandoned, position="first")


def _block_abandoned(event: Any) -> None:
    event.blocked = isinstance(getattr(event, "exception", None), AbandonedError)


_reported: set[str] = set()
_reporting = Lock()


def _report(error: ChunkError) -> None:
    """Tell of a chunk that could not be drawn, once in a session."""
    from napari.utils.notifications import show_warning

    message = str(error)
    with _reporting:
        known = message in _reported
        _reported.add(message)
    if not known:
        show_warning(f"Drawn as background: {message}")


def _superseded(request: Any, source: Hashable) -> Callable[[], bool] | None:
    """Return whether the user has scrolled on, for slices that are made in the background."""
    number = getattr(request, "id", None)
    found = _layer_of(source) if current_thread() is not main_thread() else None
    if number is None or found is None:
        return None
    viewer, layer = found
    start = viewer.dims.current_step

    def abandoned() -> bool:
        # Both: a newer slice of this layer is on its way, and so it is for all that move along.
        newest = getattr(layer._slicing_state, "_last_slice_id", number)
        return bool(newest != number and viewer.dims.current_step != start)

    return abandoned


def _layer_of(source: Hashable) -> Any:
    import napari

    viewer = napari.current_viewer()
    for layer in viewer.layers if viewer is not None else ():
        levels = layer.data if getattr(layer, "multiscale", False) else [layer.data]
        if getattr(levels[0], "source", None) is source:
            return viewer, layer
    return None
