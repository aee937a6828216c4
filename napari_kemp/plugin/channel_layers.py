"""Layers of a viewer as channels of one volume, which can be read in pieces."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray

from napari_kemp.errors import ExportError, KempError
from napari_kemp.plugin.channel_groups import group_channels, group_name
from napari_kemp.plugin.field_of_view import field_of_view
from napari_kemp.plugin.layer_source import LayerSource, refuse_mixed
from napari_kemp.plugin.level_view import LevelView
from napari_kemp.plugin.turned import Affine, along_own_axes, same_affine, section_axis
from napari_kemp.precomputed.reader import AbandonedError, ReadOptions

if TYPE_CHECKING:
    from napari.components import ViewerModel

VIEW_KEY = "napari_kemp_view"
"""In the metadata of layers that are computed from others: what they show."""

Triple = tuple[int, int, int]

# As many chunks as are asked for at once, at most: when a read is given up, none are in the queue.
_PIECE_CHUNKS = 32
# Of arrays without chunks, or whose chunks the layer does not begin with.
_PIECE_ZYX = (16, 512, 512)


class ViewError(KempError):
    """What the canvas shows cannot be inspected; says what to do about it."""


@dataclass(frozen=True)
class Region:
    """A box of voxels of one level of a layer, counted from the level's first voxel."""

    level: int
    start_zyx: Triple
    stop_zyx: Triple

    @property
    def shape_zyx(self) -> Triple:
        """Extent in voxels."""
        z, y, x = (b - a for a, b in zip(self.start_zyx, self.stop_zyx, strict=True))
        return z, y, x

    @property
    def voxels(self) -> int:
        """How many voxels there are."""
        return int(np.prod(self.shape_zyx, dtype=object))


@dataclass(frozen=True, eq=False)
class ChannelLayers:
    """Channels of one volume: as many layers, or one layer with four axes.

    Attributes
    ----------
    name
        What the layers have in common.
    layers
        The layers, in the order of the channels.
    sources
        What there is to read of each.
    affine
        How the axes of the sources lie in the world: along its own, unless the layers are turned.
    most_channels
        How many channels to take of one layer with four axes, the first ones.
    """

    name: str
    layers: tuple[Layer, ...]
    sources: tuple[LayerSource, ...]
    affine: Affine
    most_channels: int = 3

    @property
    def layer(self) -> Layer:
        """The layer that says where the voxels lie."""
        return self.layers[0]

    @cached_property
    def levels(self) -> list[list[Any]]:
        """Of each level, finest first, the channels: arrays (z, y, x) that are indexed for free."""
        per_layer = [[*layer.data] if layer.multiscale else [layer.data] for layer in self.layers]
        if self.layer.ndim == 3:
            return [
                [indexed_for_free(array) for array in level]
                for level in zip(*per_layer, strict=True)
            ]
        channels = min(self.most_channels, self.sources[0].num_channels)
        return [
            [indexed_for_free(array, channel) for channel in range(channels)]
            for array in per_layer[0]
        ]

    def factor_zyx(self, level: int) -> NDArray[np.float64]:
        """Voxels of the finest level in one of another, along z, y and x."""
        finest, shape = self.levels[0][0].shape, self.levels[level][0].shape
        factor: NDArray[np.float64] = np.divide(finest, shape)
        return factor

    def read(self, region: Region, abandoned: Callable[[], bool] = lambda: False) -> NDArray[Any]:
        """Read a region of all channels, as (c, z, y, x).

        Parameters
        ----------
        region
            What to read.
        abandoned
            Whether nobody wants the values any more; asked every now and then.

        Raises
        ------
        AbandonedError
            If so; nothing more is asked of the volume then.
        """
        channels = self.levels[region.level]
        options = ReadOptions(abandoned=abandoned)
        values = np.empty((len(channels), *region.shape_zyx), self.sources[0].dtype)
        for box in _pieces(region, getattr(channels[0], "chunks", None)):
            inside = tuple(
                slice(each.start - start, each.stop - start)
                for each, start in zip(box, region.start_zyx, strict=True)
            )
            for number, channel in enumerate(channels):
                if abandoned():
                    raise AbandonedError(f"{self.name}: nobody wants this region any more")
                part = channel[box]
                lazy = isinstance(part, LevelView)
                values[number][inside] = part.read(options) if lazy else np.asarray(part)
        return values

    def place(self, region: Region | None = None) -> dict[str, Any]:
        """Describe a layer that lies where the volume does, or where a region of it does."""
        layer, source = self.layer, self.sources[0]
        scale, translate = np.array(source.scale_zyx), np.array(source.translate_zyx)
        if region is not None:
            factor = self.factor_zyx(region.level)
            # A voxel is drawn around its coordinate, so that a coarse one lies in the middle of
            # the fine ones that it stands for.
            translate = translate + scale * (np.array(region.start_zyx) * factor + (factor - 1) / 2)
            scale = scale * factor
        return {
            "scale": scale,
            "translate": translate,
            "affine": self.affine,
            "units": layer.units[-3:],
            "axis_labels": layer.axis_labels[-3:],
        }

    def finest_in_view(self, viewer: "ViewerModel", *, this_section: bool) -> tuple[Triple, Triple]:
        """Find what the canvas shows, in voxels of the layer's finest level.

        Raises
        ------
        ViewError
            If nothing of the volume is on the canvas, or the viewer is in 3D.
        """
        if viewer.dims.ndisplay != 2:
            raise ViewError("Switch the viewer to 2D first.")
        source = self.sources[0]
        self.section_axis(viewer)
        try:
            box = field_of_view(
                viewer, self.layer, source, this_section=this_section, affine=self.affine
            )
        except ExportError:
            raise ViewError(f"Nothing of {self.name} is in the field of view.") from None
        start, stop = (np.array(corner[::-1]) + source.padding_zyx for corner in box)
        return _triple(start), _triple(stop)

    def section_axis(self, viewer: "ViewerModel") -> int:
        """Find the axis of the volume, 0, 1, 2 for z, y, x, of which the canvas shows one section.

        Raises
        ------
        ViewError
            If there is none.
        """
        displayed = [axis - (viewer.dims.ndim - 3) for axis in viewer.dims.displayed]
        axis = section_axis(self.affine, displayed) if min(displayed) >= 0 else None
        if axis is None:
            raise ViewError(
                f"The canvas cuts {self.name} at an angle to its sections: show another plane of "
                "it, or reset the transform of its layers."
            )
        return axis

    def region_in_view(
        self, viewer: "ViewerModel", *, sections: int = 1, limit_voxels: int
    ) -> Region:
        """Find what the canvas shows, at the level that suits its pixels.

        Parameters
        ----------
        viewer
            A viewer in 2D.
        sections
            How many sections to take, the current one in the middle.
        limit_voxels
            The most voxels to take; a coarser level is taken before that is exceeded.

        Raises
        ------
        ViewError
            If nothing of the volume is on the canvas, or too much is; or the viewer is in 3D.
        """
        finest_start, finest_stop = (
            np.array(corner) for corner in self.finest_in_view(viewer, this_section=True)
        )
        depth = self.section_axis(viewer)
        for level in range(self.level_in_view(viewer), len(self.levels)):
            shape = np.array(self.levels[level][0].shape)
            factor = self.factor_zyx(level)
            low = np.floor(finest_start / factor + 1e-6).astype(int)
            high = np.ceil(finest_stop / factor - 1e-6).astype(int)
            low[depth] = max(0, min(low[depth] - (sections - 1) // 2, shape[depth] - sections))
            high[depth] = min(low[depth] + sections, shape[depth])
            high = np.minimum(high, shape)
            region = Region(level, _triple(low), _triple(high))
            if region.voxels <= limit_voxels:
                return region
        z, y, x = region.shape_zyx
        raise ViewError(
            f"{x} × {y} × {z} voxels are in the field of view, more than the "
            f"{limit_voxels // 10**6} million that are taken at a time: zoom in"
            + (", or take fewer sections." if sections > 1 else ".")
        )

    def level_in_view(self, viewer: "ViewerModel") -> int:
        """Find the coarsest level whose voxels are not drawn larger than a pixel.

        Raises
        ------
        ViewError
            If the canvas cuts the volume at an angle.
        """
        displayed = [axis for axis in range(3) if axis != self.section_axis(viewer)]
        zoom = viewer.scene.camera.zoom
        suitable = 0
        for level in range(len(self.levels)):
            pixels = np.array(self.sources[0].scale_zyx) * self.factor_zyx(level) * zoom
            if max(pixels[axis] for axis in displayed) <= 1:
                suitable = level
        return suitable


def find_affinities(layers: Iterable[Layer], *, all_channels: bool = False) -> list[ChannelLayers]:
    """Find the volumes of three channels, or more, among layers, in the order of the layer list.

    Of those with more channels, the first three are taken, unless ``all_channels`` is true.
    """
    layer_of: dict[int, Layer] = {}
    readable = []
    for layer in layers:
        if isinstance(layer, Image) and VIEW_KEY not in layer.metadata:
            with suppress(KempError):
                source, _ = along_own_axes(layer)
                layer_of[id(source)] = layer
                readable.append(source)
    found = []
    for group in group_channels(readable):
        if len(group) == 3 or (len(group) == 1 and group[0].num_channels >= 3):
            with suppress(KempError):
                channels = channels_of([layer_of[id(source)] for source in group])
                most = group[0].num_channels if all_channels else channels.most_channels
                found.append(replace(channels, most_channels=most))
    return found


def channels_of(layers: Sequence[Layer]) -> ChannelLayers:
    """Take layers for the channels of one volume.

    Raises
    ------
    ExportError
        If they do not lie on each other, voxel by voxel.
    """
    sources, affines = zip(*map(along_own_axes, layers), strict=True)
    refuse_mixed(sources)
    for source, layer, affine in zip(sources, layers, affines, strict=True):
        if source.order != tuple(range(layer.ndim)):
            raise ExportError(
                f"{source.name!r} has its axes in another order than z, y, x: save it, and look at "
                "what was saved"
            )
        if not same_affine(affine, affines[0]):
            raise ExportError(
                f"{sources[0].name!r} and {source.name!r} are turned differently: give them the "
                "same rotation, shear and affine transform"
            )
    shapes = {
        tuple(tuple(level.shape) for level in layer.data) if layer.multiscale else ()
        for layer in layers
    }
    if len(shapes) > 1:
        raise ExportError("their levels differ, so that they cannot be looked at together")
    return ChannelLayers(group_name(sources), tuple(layers), sources, affines[0])


def indexed_for_free(array: Any, channel: int | None = None) -> Any:
    """View an array (z, y, x), or a channel of one (c, z, y, x), so that indexing reads nothing."""
    if isinstance(array, np.ndarray | da.Array | LevelView):
        return array if channel is None else array[channel]
    return LevelView(_FourAxes(array), channel or 0)


class _FourAxes:
    """An array of any library, with the axes (c, z, y, x) and chunks that LevelView asks for."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self._lacking = 4 - len(array.shape)
        self.shape = (1,) * self._lacking + tuple(array.shape)
        self.dtype = array.dtype
        chunks = getattr(array, "chunks", None)
        if chunks is None or not all(isinstance(chunk, int) for chunk in chunks):
            chunks = array.shape
        self.chunks = (1,) * self._lacking + tuple(chunks)

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        part = np.asarray(self._array[key[self._lacking :]])
        return part[np.newaxis] if self._lacking else part

    def read(self, key: tuple[slice, ...], options: ReadOptions) -> NDArray[Any]:
        """Read values; other libraries know no options, and cannot be stopped."""
        return self[key]

    def prefetch(self, key: tuple[int | slice, ...], options: ReadOptions) -> None:
        """Do nothing: what is read would not be kept."""


def _pieces(region: Region, chunks: Any) -> Iterator[tuple[slice, ...]]:
    """Cut a region into boxes of whole chunks, in the order in which the chunks lie."""
    whole = isinstance(chunks, tuple) and all(isinstance(chunk, int) for chunk in chunks)
    step = np.array(chunks if whole else _PIECE_ZYX)
    first = np.array(region.start_zyx) // step
    number = -(-np.array(region.stop_zyx) // step) - first
    taken: list[int] = []
    # Along x first: chunks that lie beside each other are read together.
    for extent in number[::-1]:
        room = _PIECE_CHUNKS // int(np.prod(taken or [1]))
        taken.insert(0, int(min(extent, max(1, room))))
    edges = [
        range(int(a * each), int(b), int(each * chunk_count))
        for a, b, each, chunk_count in zip(first, region.stop_zyx, step, taken, strict=True)
    ]
    for corner in product(*edges):
        yield tuple(
            slice(max(at, start), min(at + each.step, stop))
            for at, each, start, stop in zip(
                corner, edges, region.start_zyx, region.stop_zyx, strict=True
            )
        )


def _triple(values: Iterable[Any]) -> Triple:
    z, y, x = (int(value) for value in values)
    return z, y, x
