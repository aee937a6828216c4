"""What can be saved of a layer: its finest voxels, and where they lie in a volume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.utils.transforms import CompositeAffine
from numpy.typing import NDArray

from napari_kemp.errors import ExportError
from napari_kemp.export.parts import Transposed
from napari_kemp.plugin.origin import Origin, origin_of
from napari_kemp.precomputed.grid import Triple

Steps = tuple[float, float, float]

# A tilt that moves no voxel by more than this part of itself is noise of floating point.
_TILT_MOST = 1e-3


class TurnedError(ExportError):
    """A layer does not lie along the axes of the world."""


@dataclass(frozen=True, eq=False)
class LayerSource:
    """The finest level of a layer, without padding, and its place.

    Attributes
    ----------
    name
        Name of the layer.
    layer_type
        "image" or "labels".
    data
        The voxels, (z, y, x) or (c, z, y, x); as lazy as the layer's own data.
    padding_zyx
        Voxels before the first one of ``data`` that the layer shows as well.
    resolution_xyz
        Nanometres a voxel; of a layer without units its scale, taken as nanometres.
    voxel_offset_xyz
        Place of the first voxel, rounded to whole voxels.
    off_grid
        Largest part of a voxel by which rounding moves it.
    has_units
        Whether the layer says what unit its scale is in.
    contrast_limits
        Of an image, the values drawn darkest and brightest.
    origin
        The volume that the layer was opened from.
    order
        Which axes of the layer's own data those of ``data`` are.
    world_axes_zyx
        Along which axes of the viewer's world z, y and x lie, counted from the last: -3, -2, -1.
    scale_zyx
        What a voxel spans there, in the layer's units.
    translate_zyx
        Where the first voxel of the layer lies there, padding included, in the layer's units.
    """

    name: str
    layer_type: str
    data: Any
    padding_zyx: Triple
    resolution_xyz: Steps
    voxel_offset_xyz: Triple
    off_grid: float
    has_units: bool
    contrast_limits: tuple[float, float] | None
    origin: Origin | None
    order: tuple[int, ...]
    world_axes_zyx: Triple
    scale_zyx: Steps
    translate_zyx: Steps

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        dtype: np.dtype[Any] = np.dtype(self.data.dtype)
        return dtype

    @property
    def shape_zyx(self) -> Triple:
        """Voxels along z, y and x."""
        z, y, x = self.data.shape[-3:]
        return int(z), int(y), int(x)

    @property
    def num_channels(self) -> int:
        """Channels: the extent of the first of four axes, else 1."""
        return int(self.data.shape[0]) if len(self.data.shape) == 4 else 1


def layer_source(data: Any, attributes: Mapping[str, Any], layer_type: str) -> LayerSource:
    """Find out what can be saved of a layer.

    Scale, translation and affine transform count as far as they scale, move and permute the axes.
    The world's last three axes are z, y and x, unless ``axis_labels`` name them otherwise.

    Parameters
    ----------
    data, attributes, layer_type
        The layer, as ``layer.as_layer_data_tuple()`` describes it.

    Raises
    ------
    TurnedError
        If the layer is rotated, sheared or mirrored.
    ExportError
        If something else keeps it from being told in a precomputed volume: it is no image and no
        labels, has not three or four axes, or is RGB.
    """
    name = str(attributes.get("name", layer_type))
    if layer_type not in ("image", "labels"):
        raise ExportError(
            f"{name!r} is a {layer_type} layer, and a precomputed volume holds images and "
            "segmentations: leave it out of the selection"
        )
    if attributes.get("rgb"):
        raise ExportError(f"{name!r} is an RGB image: split it into channels first")
    finest = data[0] if attributes.get("multiscale") else data
    ndim = len(finest.shape)
    if ndim != 3 and (ndim != 4 or layer_type == "labels"):
        raise ExportError(
            f"{name!r} has {ndim} axes; a volume has z, y and x, and an image may have channels in "
            "front: give the layer as many axes"
        )
    to_world = data_to_world(attributes, ndim)
    world_of = _axes_in_world(name, to_world, finest.shape)
    order = _order(world_of, attributes.get("axis_labels") or ())
    world_axes = [world_of[axis] for axis in order[-3:]]
    scale = to_world[world_axes, order[-3:]]
    translate = to_world[world_axes, -1]
    nanometres, has_units = _nanometres(attributes.get("units"), world_axes, ndim)

    origin = origin_of(attributes.get("metadata") or {})
    padding = [(0, 0)] * (ndim - 3) + [*_padding(origin, finest.shape[-3:])]
    if any(before or after for before, after in padding):
        finest = finest[
            tuple(
                slice(before, n - after)
                for n, (before, after) in zip(finest.shape, padding, strict=True)
            )
        ]
    if order != tuple(range(ndim)):
        finest = Transposed(finest, order)
    before = np.array([padding[axis][0] for axis in order[-3:]])
    place = translate / scale + before
    limits = attributes.get("contrast_limits")
    return LayerSource(
        name=name,
        layer_type=layer_type,
        data=finest,
        padding_zyx=_triple(before),
        resolution_xyz=_steps((scale * nanometres)[::-1]),
        voxel_offset_xyz=_triple(np.rint(place)[::-1]),
        off_grid=float(np.abs(place - np.rint(place)).max()),
        has_units=has_units,
        contrast_limits=None if limits is None else (float(limits[0]), float(limits[1])),
        origin=origin,
        order=order,
        world_axes_zyx=_triple(axis - ndim for axis in world_axes),
        scale_zyx=_floats(scale),
        translate_zyx=_floats(translate),
    )


def refuse_mixed(sources: Sequence[LayerSource]) -> None:
    """Make sure that layers can be channels of one volume.

    Raises
    ------
    ExportError
        If one of them has channels of its own, or shape, type, resolution or place differ.
    """
    first = sources[0]
    for source in sources if len(sources) > 1 else ():
        if source.num_channels > 1 or len(source.data.shape) == 4:
            raise ExportError(
                f"{source.name!r} has channels of its own: save it alone, or choose layers with "
                "three axes"
            )
        for what, one, other in (
            ("shape (z, y, x)", first.shape_zyx, source.shape_zyx),
            ("data type", first.dtype, source.dtype),
            ("resolution (nm)", first.resolution_xyz, source.resolution_xyz),
            ("voxel offset", first.voxel_offset_xyz, source.voxel_offset_xyz),
        ):
            if one != other:
                raise ExportError(
                    f"{first.name!r} and {source.name!r} cannot be channels of one volume: their "
                    f"{what} differs, {one} and {other}"
                )


def data_to_world(attributes: Mapping[str, Any], ndim: int) -> NDArray[np.float64]:
    """Compose the transforms of a layer, as napari does, to one matrix (ndim + 1, ndim + 1)."""
    inner = CompositeAffine(
        scale=attributes.get("scale", np.ones(ndim)),
        translate=attributes.get("translate", np.zeros(ndim)),
        rotate=attributes.get("rotate"),
        shear=attributes.get("shear"),
        ndim=ndim,
    )
    affine = np.asarray(attributes.get("affine", np.eye(ndim + 1)), float)
    matrix: NDArray[np.float64] = affine @ inner.affine_matrix
    return matrix


def _axes_in_world(
    name: str, to_world: NDArray[np.float64], shape: Sequence[int]
) -> tuple[int, ...]:
    """Find the axis of the world that each axis of the data runs along."""
    linear = to_world[:-1, :-1]
    world_of = tuple(int(axis) for axis in np.abs(linear).argmax(axis=0))
    along = np.zeros(linear.shape, bool)
    along[world_of, range(len(world_of))] = True
    steps = np.abs(np.where(along, linear, 0)).max(axis=1, keepdims=True)
    aside = np.where(along, 0, np.abs(linear)) * np.asarray(shape, float)
    if len({*world_of}) < len(world_of) or (aside > _TILT_MOST * steps).any():
        raise TurnedError(
            f"{name!r} is rotated, sheared or has an affine transform that turns it, which a "
            "precomputed volume cannot express: resample the layer along z, y and x, or reset the "
            "transform"
        )
    if not (linear[along] > 0).all():
        raise TurnedError(
            f"{name!r} is mirrored or flat: its scale and affine transform must be above 0 on each "
            "axis"
        )
    return world_of


def _order(world_of: tuple[int, ...], axis_labels: Sequence[str]) -> tuple[int, ...]:
    """Order the axes of the data as (z, y, x), or (c, z, y, x).

    A transform that permutes axes says that the data have another order than the world. Labels
    would then name either, and are not asked.
    """
    axes = tuple(range(len(world_of)))
    if world_of != axes:
        return tuple(world_of.index(axis) for axis in axes)
    labels = [str(label).lower() for label in axis_labels]
    if any(labels.count(axis) != 1 for axis in "zyx"):
        return axes
    zyx = tuple(labels.index(axis) for axis in "zyx")
    return (*(axis for axis in axes if axis not in zyx), *zyx)


def _padding(origin: Origin | None, shape_zyx: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Background around the volume, if the layer still shows what it was opened with."""
    none = ((0, 0), (0, 0), (0, 0))
    if origin is None:
        return none
    padding = tuple((int(before), int(after)) for before, after in origin["padding"])
    padded = tuple(
        size + before + after
        for size, (before, after) in zip(origin["size"][::-1], padding, strict=True)
    )
    return padding if padded == tuple(shape_zyx) else none


def _nanometres(
    units: Any, world_axes: Sequence[int], ndim: int
) -> tuple[NDArray[np.float64], bool]:
    """Nanometres in one unit along axes of the world, and whether all of the units are lengths."""
    import pint

    if units is None or isinstance(units, str):
        units = (units or "pixel",) * ndim
    factors = []
    for axis in world_axes:
        try:
            factors.append(float(pint.Quantity(1, str(units[axis])).to("nm").magnitude))
        except pint.PintError:
            return np.ones(3), False
    return np.array(factors), True


def _triple(values: Any) -> Triple:
    a, b, c = (int(v) for v in values)
    return a, b, c


def _floats(values: Any) -> Steps:
    a, b, c = (float(v) for v in values)
    return a, b, c


def _steps(values: Any) -> Steps:
    # Changing units leaves 3.4999999999999996 nm; nobody measures that finely.
    return _floats(f"{v:.9g}" for v in values)
