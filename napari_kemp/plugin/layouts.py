"""Arrangements of layers on the canvas: side by side, or one over the other."""

from typing import TYPE_CHECKING

from napari.layers import Image, Labels, Layer

from napari_kemp.plugin.channel_layers import VIEW_KEY, find_affinities

if TYPE_CHECKING:
    from napari.components import ViewerModel

_OVERLAY_OPACITY = 0.6


def find_image(viewer: "ViewerModel") -> Layer | None:
    """Find the image that affinities were predicted from: the lowest that is no channel of any."""
    channels = {layer for found in find_affinities(viewer.layers) for layer in found.layers}
    for layer in viewer.layers:
        if (
            isinstance(layer, Image)
            and not layer.rgb
            and layer.ndim == 3
            and layer not in channels
            and VIEW_KEY not in layer.metadata
        ):
            return layer
    return None


def side_by_side(viewer: "ViewerModel", shown: Layer) -> Layer | None:
    """Show the image on the left, under the visible segmentations, and affinities on the right.

    This is napari's grid, in which all cells share one camera.

    Parameters
    ----------
    viewer
        The viewer.
    shown
        The layer that shows affinities.

    Returns
    -------
    Layer or None
        The image; None if there is none, and then nothing has changed.
    """
    image = find_image(viewer)
    if image is None:
        return None
    left = [image, *_visible_segmentations(viewer)]
    _bring_to_front(viewer, [*left, shown])
    image.visible = shown.visible = True
    shown.opacity = 1
    # The grid fills its cells with so many layers each, in the order of the list, and leaves out
    # cells in which nothing is visible.
    grid = viewer.canvas.grid
    grid.stride = len(left)
    grid.shape = (1, -1)
    grid.enabled = True
    return image


def overlay(viewer: "ViewerModel", shown: Layer) -> None:
    """Show affinities over the image, and visible segmentations over both."""
    viewer.canvas.grid.enabled = False
    image = find_image(viewer)
    segmentations = _visible_segmentations(viewer)
    below = [image] if image is not None else []
    rest = [one for one in viewer.layers if one not in (*below, shown, *segmentations)]
    _bring_to_front(viewer, [*below, *rest, shown, *segmentations])
    shown.visible = True
    shown.opacity = 1
    if image is not None:
        image.visible = True
        shown.opacity = _OVERLAY_OPACITY


def _visible_segmentations(viewer: "ViewerModel") -> list[Layer]:
    return [layer for layer in viewer.layers if isinstance(layer, Labels) and layer.visible]


def _bring_to_front(viewer: "ViewerModel", layers: list[Layer]) -> None:
    """Let the list of layers begin with these; the lowest comes first."""
    for at, layer in enumerate(layers):
        viewer.layers.move(viewer.layers.index(layer), at)
