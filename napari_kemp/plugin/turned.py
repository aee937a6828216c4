"""Layers that are rotated, sheared or mirrored: along their own axes, volumes like any other."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray

from napari_kemp.plugin.layer_source import (
    LayerSource,
    TurnedError,
    data_to_world,
    layer_source,
)

Affine = NDArray[np.float64]
"""(4, 4): takes coordinates (z, y, x, 1) along a layer's own axes to those of the world."""

Span = NDArray[np.float64] | None
"""From where to where along an axis; None for all of it."""

_TURNING = ("rotate", "shear", "affine")
# Where directions of length 1 are compared.
_NOISE = 1e-6


def along_own_axes(layer: Layer) -> tuple[LayerSource, Affine]:
    """Describe a layer along its own axes, and how those lie in the world.

    Most layers lie along the axes of the world, and are described there.

    Raises
    ------
    ExportError
        If the layer is none that can be read as a volume.
    """
    data, attributes, layer_type = layer.as_layer_data_tuple()
    try:
        return layer_source(data, attributes, layer_type), np.eye(4)
    except TurnedError:
        ndim = layer.ndim
        to_world = data_to_world(attributes, ndim)
        steps = np.linalg.norm(to_world[:-1, :-1], axis=0)
        aside = np.abs(to_world[: ndim - 3, ndim - 3 :]), np.abs(to_world[ndim - 3 :, : ndim - 3])
        if not steps.all() or any(each.any() for each in aside):
            raise
    first_voxel = np.array(attributes["translate"]) / np.abs(attributes["scale"])
    unturned = {
        **{name: value for name, value in attributes.items() if name not in _TURNING},
        "scale": steps,
        "translate": first_voxel * steps,
    }
    affine = to_world @ np.linalg.inv(data_to_world(unturned, ndim))
    return layer_source(data, unturned, layer_type), affine[ndim - 3 :, ndim - 3 :]


def same_affine(one: Affine, other: Affine) -> bool:
    """Whether two layers are turned likewise."""
    return np.allclose(one, other, rtol=_NOISE, atol=_NOISE)


def section_axis(affine: Affine, displayed: Sequence[int]) -> int | None:
    """Find the axis of which a canvas shows one section.

    Parameters
    ----------
    affine
        How the axes of a layer lie in the world.
    displayed
        Two axes of the world, of 0, 1 and 2 for z, y and x.

    Returns
    -------
    int or None
        An axis of the layer; None if the canvas cuts it at an angle.
    """
    from_world = np.abs(np.linalg.inv(affine)[:3, :3])
    in_plane = from_world[:, list(displayed)].max(axis=1)
    axis = int(in_plane.argmin())
    (depth,) = {0, 1, 2} - set(displayed)
    others = [other for other in range(3) if other != axis]
    if in_plane[axis] > _NOISE or from_world[others, depth].max() > _NOISE:
        return None
    return axis


def spans_along(affine: Affine, world_spans: Sequence[Span]) -> list[Span]:
    """Find the box, along a layer's own axes, that holds a box of the world.

    Parameters
    ----------
    affine
        How the axes of the layer lie in the world.
    world_spans
        From where to where along z, y and x; None for all, of one axis of the world that one axis
        of the layer lies along, at most.
    """
    from_world = np.linalg.inv(affine)
    corners = product(*((0.0,) if span is None else span for span in world_spans))
    own = np.array([from_world[:3] @ (*corner, 1.0) for corner in corners])
    unbounded = [axis for axis, span in enumerate(world_spans) if span is None]
    all_of_it = np.abs(from_world[:3, unbounded]).max(axis=1, initial=0) > _NOISE
    return [
        None if whole else np.array([low, high])
        for whole, low, high in zip(all_of_it, own.min(axis=0), own.max(axis=0), strict=True)
    ]
