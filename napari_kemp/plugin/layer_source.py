"""What can be saved of a layer: its finest voxels, and where they lie in a volume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_kemp.errors import ExportError
from napari_kemp.plugin.origin import Origin, origin_of
from napari_kemp.precomputed.grid import Triple

Steps = tuple[float, float, float]


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

    Parameters
    ----------
    data, attributes, layer_type
        The layer, as ``layer.as_layer_data_tuple()`` describes it.

    Raises
    ------
    ExportError
        If the layer cannot be told in a precomputed volume: it is no image and no labels, has not
        three or four axes, is RGB, is rotated, sheared or mirrored, or has its axes in another
        order than z, y, x.
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
    _refuse_other_axes(name, attributes, ndim)
    scale = np.asarray(attributes.get("scale", np.ones(ndim)), float)[-3:]
    translate = np.asarray(attributes.get("translate", np.zeros(ndim)), float)[-3:]
    nanometres, has_units = _nanometres(attributes.get("units"))
    if not (scale > 0).all():
        raise ExportError(f"{name!r} is mirrored or flat: its scale must be above 0 on each axis")

    origin = origin_of(attributes.get("metadata") or {})
    padding = _padding(origin, finest.shape[-3:])
    if any(before or after for before, after in padding):
        inner = tuple(
            slice(before, n - after)
            for n, (before, after) in zip(finest.shape[-3:], padding, strict=True)
        )
        finest = finest[(..., *inner)]
    before = np.array([before for before, _ in padding])
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


def _refuse_other_axes(name: str, attributes: Mapping[str, Any], ndim: int) -> None:
    identity = np.eye(ndim)
    rotate = np.asarray(attributes.get("rotate", identity), float)
    shear = np.asarray(attributes.get("shear", 0), float)
    affine = np.asarray(attributes.get("affine", np.eye(ndim + 1)), float)
    turned = rotate.shape == identity.shape and not np.allclose(rotate, identity)
    sheared = not np.allclose(shear, identity if shear.ndim == 2 else 0)
    if turned or sheared or not np.allclose(affine, np.eye(len(affine))):
        raise ExportError(
            f"{name!r} is rotated, sheared or has an affine transform, which a precomputed volume "
            "cannot express: resample the layer along z, y and x, or reset the transform"
        )
    labels = tuple(attributes.get("axis_labels") or ())[-3:]
    if sorted(labels) == ["x", "y", "z"] and labels != ("z", "y", "x"):
        raise ExportError(
            f"{name!r} has its axes in the order {', '.join(labels)}: transpose its data to "
            "z, y, x first"
        )


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


def _nanometres(units: Any) -> tuple[np.ndarray[Any, np.dtype[np.float64]], bool]:
    """Nanometres in one unit along z, y and x, and whether all of the units are lengths."""
    import pint

    if units is None or isinstance(units, str):
        units = (units or "pixel",) * 3
    factors = []
    for unit in tuple(units)[-3:]:
        try:
            factors.append(float(pint.Quantity(1, str(unit)).to("nm").magnitude))
        except pint.PintError:
            return np.ones(3), False
    return np.array(factors), True


def _triple(values: Any) -> Triple:
    a, b, c = (int(v) for v in values)
    return a, b, c


def _steps(values: Any) -> Steps:
    # Changing units leaves 3.4999999999999996 nm; nobody measures that finely.
    a, b, c = (float(f"{v:.9g}") for v in values)
    return a, b, c
