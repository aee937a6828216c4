"""Where two volumes lie on each other, voxel by voxel."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_kemp.errors import KempError
from napari_kemp.plugin.channel_layers import ChannelLayers, Triple
from napari_kemp.plugin.turned import same_affine


class CompareError(KempError):
    """Two layers cannot be compared; says why."""


@dataclass(frozen=True, eq=False)
class CommonBox:
    """What two volumes have in common.

    Attributes
    ----------
    one, other
        The volumes.
    levels
        Of each level that both have, finest first, the channels of the one, and those of the
        other: arrays (z, y, x) of the same shape.
    start_zyx
        The first common voxel, counted from the first voxel of ``one``'s layer.
    """

    one: ChannelLayers
    other: ChannelLayers
    levels: list[tuple[list[Any], list[Any]]]
    start_zyx: Triple

    @property
    def shape_zyx(self) -> Triple:
        """Extent in voxels of the finest level."""
        z, y, x = self.levels[0][0][0].shape
        return z, y, x

    @property
    def place(self) -> dict[str, Any]:
        """Describe a layer that lies there."""
        place = self.one.place()
        return {**place, "translate": place["translate"] + place["scale"] * self.start_zyx}


def common_box(one: ChannelLayers, other: ChannelLayers) -> CommonBox:
    """Find the box of voxels that two volumes share.

    Raises
    ------
    CompareError
        If their voxels differ in size, they are turned differently, have other numbers of channels,
        or nothing is common.
    """
    first, second = one.sources[0], other.sources[0]
    if first.resolution_xyz != second.resolution_xyz:
        raise CompareError(
            f"{one.name} has voxels of {_times(first.resolution_xyz)} nm, {other.name} of "
            f"{_times(second.resolution_xyz)} nm: only volumes of the same resolution are compared"
        )
    if not same_affine(one.affine, other.affine):
        raise CompareError(
            f"{one.name} and {other.name} are turned differently: give them the same rotation, "
            "shear and affine transform"
        )
    channels = len(one.levels[0]), len(other.levels[0])
    if channels[0] != channels[1]:
        raise CompareError(
            f"{one.name} has {channels[0]} channels, {other.name} {channels[1]}: "
            "compare volumes with the same number of channels"
        )
    # Only what the volumes hold, and not the background that a layer may show around them.
    starts, stops, origins = [], [], []
    for source in (first, second):
        offset = np.array(source.voxel_offset_xyz[::-1])
        starts.append(offset)
        stops.append(offset + source.shape_zyx)
        origins.append(offset - source.padding_zyx)
    start, stop = np.maximum(*starts), np.minimum(*stops)
    if not (stop > start).all():
        raise CompareError(f"{one.name} and {other.name} have no voxel in common")
    levels = []
    for level_one, level_other, factor in _shared_levels(one, other):
        # A level whose voxels do not begin and end with the box cannot be drawn in its place.
        if all(
            not ((edge - origin) % factor).any() for edge in (start, stop) for origin in origins
        ):
            levels.append(
                (
                    _cut(level_one, start - origins[0], stop - origins[0], factor),
                    _cut(level_other, start - origins[1], stop - origins[1], factor),
                )
            )
    z, y, x = (int(each) for each in start - origins[0])
    return CommonBox(one, other, levels, (z, y, x))


def _shared_levels(
    one: ChannelLayers, other: ChannelLayers
) -> list[tuple[list[Any], list[Any], Any]]:
    """Pair the levels that have the same factor, which is whole."""
    shared = []
    factors = {tuple(other.factor_zyx(n).tolist()): n for n in range(len(other.levels))}
    for number, level in enumerate(one.levels):
        factor = one.factor_zyx(number)
        match = factors.get(tuple(factor.tolist()))
        if match is not None and (factor == np.rint(factor)).all():
            shared.append((level, other.levels[match], factor.astype(int)))
    return shared


def _cut(channels: list[Any], start: Any, stop: Any, factor: Any) -> list[Any]:
    box = tuple(slice(int(a), int(b)) for a, b in zip(start // factor, stop // factor, strict=True))
    return [channel[box] for channel in channels]


def _times(numbers: tuple[float, ...]) -> str:
    return " × ".join(f"{number:g}" for number in numbers)
