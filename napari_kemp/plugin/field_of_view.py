"""Which voxels of a layer can be seen."""

from typing import TYPE_CHECKING

import numpy as np
import pint

from napari_kemp.errors import ExportError
from napari_kemp.plugin.layer_source import LayerSource
from napari_kemp.plugin.turned import Affine, Span, spans_along
from napari_kemp.precomputed.grid import Triple

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


def field_of_view(
    viewer: "ViewerModel",
    layer: "Layer",
    source: LayerSource,
    *,
    this_section: bool,
    affine: Affine | None = None,
) -> tuple[Triple, Triple]:
    """Find the box of voxels that the canvas shows of a layer.

    The layer's own ``corner_pixels`` would not do: of a multiscale layer they are what has been
    loaded, whole chunks, and stay so when one zooms in.

    Parameters
    ----------
    viewer
        A viewer in 2D.
    layer
        The layer.
    source
        What is saved of it.
    this_section
        Whether to take the one section on screen only; else all of them along the third axis.
    affine
        How the axes of ``source`` lie in the world, if not along its own.

    Returns
    -------
    start, stop
        In voxels of ``source.data``, x, y, z; from 0, ``stop`` beyond the last voxel.

    Raises
    ------
    ExportError
        If the viewer is in 3D, or nothing of the layer is on the canvas.
    """
    if viewer.dims.ndisplay != 2:
        raise ExportError(
            "the field of view can be saved in 2D only: switch the viewer back to 2D, or choose "
            "the whole layer as the region"
        )
    camera = viewer.scene.camera
    # In a grid each cell shows the same place, and is what one sees of it.
    half = np.array(viewer.canvas.viewbox_size(viewer.layers)) / camera.zoom / 2
    displayed = viewer.dims.displayed
    spans: list[Span] = []
    for world_axis in source.world_axes_zyx:
        viewer_axis = viewer.dims.ndim + world_axis
        if viewer_axis in displayed:
            at = displayed.index(viewer_axis)
            world = camera.center[1 + at] + half[at] * np.array([-1, 1])
        elif this_section:
            world = np.array([viewer.dims.point[viewer_axis]] * 2)
        else:
            spans.append(None)
            continue
        spans.append(world * layer_units_in_world(viewer, layer, world_axis))
    if affine is not None:
        spans = spans_along(affine, spans)
    start, stop = [0, 0, 0], list(source.shape_zyx)
    for axis, span in enumerate(spans):
        if span is None:
            continue
        # A voxel is drawn around its coordinate: voxel 3 from 2.5 to 3.5.
        voxels = (span - source.translate_zyx[axis]) / source.scale_zyx[axis]
        first, last = np.floor(voxels + 0.5).astype(int)
        first, last = first - source.padding_zyx[axis], last - source.padding_zyx[axis]
        start[axis], stop[axis] = max(start[axis], int(first)), min(stop[axis], int(last) + 1)
        if start[axis] >= stop[axis]:
            raise ExportError(
                f"nothing of {source.name!r} is in the field of view: move it into view, or choose "
                "the whole layer as the region"
            )
    return (start[2], start[1], start[0]), (stop[2], stop[1], stop[0])


def layer_units_in_world(viewer: "ViewerModel", layer: "Layer", axis: int) -> float:
    """Units of the layer that one unit of the canvas spans, along an axis counted from the last."""
    units = viewer.layers.extent.units
    if units is None:
        return 1.0
    try:
        one = pint.Quantity(1, str(units[axis]))
        return float(one.to(str(layer.units[axis])).magnitude)
    except pint.PintError:
        # A layer in pixels among layers in nanometres: napari draws one as the other.
        return 1.0
