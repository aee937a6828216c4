"""Where in a volume the canvas and the cursor are, in voxels."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_kemp.plugin.channel_layers import ChannelLayers
from napari_kemp.plugin.field_of_view import layer_units_in_world

if TYPE_CHECKING:
    from napari.components import ViewerModel

Point = tuple[float, float, float]


def voxel_at(viewer: "ViewerModel", affinities: ChannelLayers, world: Sequence[float]) -> Point:
    """Return absolute voxel coordinates (x, y, z) of a point of the viewer's world.

    Voxel 3 reaches from 2.5 to 3.5, as napari draws it.
    """
    layer = affinities.layer
    z, y, x = (
        world[axis] * layer_units_in_world(viewer, layer, axis) / layer.scale[axis]
        for axis in (-3, -2, -1)
    )
    return x, y, z


def world_at(viewer: "ViewerModel", affinities: ChannelLayers, voxel_xyz: Point) -> Point:
    """Return the point of the viewer's world (z, y, x) at which a voxel is drawn."""
    layer = affinities.layer
    z, y, x = (
        voxel_xyz[-1 - axis] * layer.scale[axis] / layer_units_in_world(viewer, layer, axis)
        for axis in (-3, -2, -1)
    )
    return z, y, x


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
