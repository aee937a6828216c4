"""Where in a volume the canvas and the cursor are, in voxels."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.plugin.channel_layers import ChannelLayers
from napari_kemp.plugin.field_of_view import layer_units_in_world
from napari_kemp.plugin.layer_source import LayerSource

if TYPE_CHECKING:
    from napari.components import ViewerModel

Point = tuple[float, float, float]


def voxel_at(viewer: "ViewerModel", affinities: ChannelLayers, world: Sequence[float]) -> Point:
    """Return absolute voxel coordinates (x, y, z) of a point of the viewer's world.

    Voxel 3 reaches from 2.5 to 3.5, as napari draws it.
    """
    layer, source = affinities.layer, affinities.sources[0]
    point = [world[axis] * layer_units_in_world(viewer, layer, axis) for axis in (-3, -2, -1)]
    own = np.linalg.inv(affinities.affine)[:3] @ (*point, 1.0)
    z, y, x = (own - source.translate_zyx) / source.scale_zyx + _first_voxel(source)
    return float(x), float(y), float(z)


def world_at(viewer: "ViewerModel", affinities: ChannelLayers, voxel_xyz: Point) -> Point:
    """Return the point of the viewer's world (z, y, x) at which a voxel is drawn."""
    layer, source = affinities.layer, affinities.sources[0]
    voxels = np.array(voxel_xyz[::-1]) - _first_voxel(source)
    own = voxels * source.scale_zyx + source.translate_zyx
    z, y, x = (
        float(at) / layer_units_in_world(viewer, layer, axis)
        for at, axis in zip(affinities.affine[:3] @ (*own, 1.0), (-3, -2, -1), strict=True)
    )
    return z, y, x


def _first_voxel(source: LayerSource) -> NDArray[Any]:
    """Return the absolute voxel (z, y, x) that the layer begins with."""
    return np.array(source.voxel_offset_xyz[::-1]) - source.padding_zyx


def view_centre(viewer: "ViewerModel", affinities: ChannelLayers) -> Point:
    """Return the absolute voxel coordinates (x, y, z) of the middle of the canvas."""
    world = list(viewer.dims.point[-3:])
    displayed = viewer.dims.displayed
    for at, axis in enumerate(displayed):
        world[axis - viewer.dims.ndim] = viewer.scene.camera.center[at + 3 - len(displayed)]
    return voxel_at(viewer, affinities, world)


def go_to(viewer: "ViewerModel", affinities: ChannelLayers, voxel_xyz: Point) -> None:
    """Put a voxel, in absolute coordinates, into the middle of the canvas."""
    world = world_at(viewer, affinities, voxel_xyz)
    displayed = viewer.dims.displayed
    centre = list(viewer.scene.camera.center)
    for at, axis in enumerate(displayed):
        centre[at + len(centre) - len(displayed)] = world[axis - viewer.dims.ndim]
    viewer.scene.camera.center = tuple(centre)
    for axis in range(viewer.dims.ndim - 3, viewer.dims.ndim):
        if axis not in displayed:
            viewer.dims.set_point(axis, world[axis - viewer.dims.ndim])


def whole(voxel_xyz: Point) -> tuple[int, int, int]:
    """Return the voxel that a point lies in."""
    x, y, z = (math.floor(each + 0.5) for each in voxel_xyz)
    return x, y, z


def as_text(voxel_xyz: Point) -> str:
    """Write a position as Neuroglancer does, "x, y, z"."""
    return ", ".join(str(each) for each in whole(voxel_xyz))
