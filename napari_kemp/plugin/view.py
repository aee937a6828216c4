"""Volumes in a napari window, from the command line."""

from collections.abc import Sequence
from typing import Any

import napari
from napari.layers import Layer

from napari_kemp.plugin.reader import open_layers


def view(urls: Sequence[str]) -> None:
    """Open volumes in a new window and return once it is closed.

    Raises
    ------
    InfoError
        If one of them is not a volume; no window is opened then.
    """
    viewer_of(urls)
    napari.run()


def viewer_of(urls: Sequence[str]) -> Any:
    """Open volumes in a new viewer, at their middle section, with a scale bar."""
    layers = [Layer.create(*layer_data) for layer_data in open_layers(urls)]
    viewer = napari.Viewer()
    for layer in layers:
        viewer.add_layer(layer)
    viewer.reset_view()
    viewer.canvas.overlays.scale_bar.visible = True
    return viewer
