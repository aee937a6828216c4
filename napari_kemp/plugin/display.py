"""The one layer that shows affinities in the way that was asked for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_kemp.affinity import MAPS, Convention
from napari_kemp.plugin.channel_layers import VIEW_KEY, ChannelLayers
from napari_kemp.plugin.map_view import MapView

if TYPE_CHECKING:
    from napari.components import ViewerModel

Limits = tuple[float, float]

MODES = ("RGB", "x", "y", "z", *MAPS)
"""Ways to show affinities: composed, one channel, or one map of them."""

OWN_LAYERS = "own layers"
"""The way that their own layers show them."""


@dataclass(frozen=True)
class Look:
    """How affinities are shown.

    Attributes
    ----------
    mode
        One of `MODES`, or `OWN_LAYERS`.
    convention
        Which channel is which.
    limits
        The values that are drawn darkest and brightest.
    """

    mode: str
    convention: Convention
    limits: Limits


class Composite:
    """Affinities in x, y and z as red, green and blue.

    Attributes
    ----------
    limits
        The values that are drawn black, and with full colour.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def __call__(self, *channels: NDArray[Any]) -> NDArray[np.float32]:
        """Compose colours, with an axis for them behind the others."""
        low, high = self.limits
        colours = np.stack(channels, axis=-1).astype(np.float32)
        colours -= low
        colours /= max(high - low, 1e-9)
        # What is not a number is drawn black.
        return np.nan_to_num(np.clip(colours, 0, 1), copy=False)


def _same(channel: NDArray[Any]) -> NDArray[Any]:
    return channel


class Display:
    """Shows affinities in a viewer; their own layers are hidden.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: "ViewerModel") -> None:
        self._viewer = viewer
        self._composite: Composite | None = None
        self._affinities: ChannelLayers | None = None
        self.layer: Image | None = None

    @property
    def limits(self) -> Limits:
        """The values that are drawn darkest and brightest."""
        if self._composite is not None:
            return self._composite.limits
        if self.layer is not None:
            low, high = self.layer.contrast_limits
            return float(low), float(high)
        return 0.0, 1.0

    @limits.setter
    def limits(self, limits: Limits) -> None:
        if self.layer is None or limits == self.limits:
            return
        if self._composite is None:
            self.layer.contrast_limits = limits
        else:
            self._composite.limits = limits
            self.layer.refresh()

    @property
    def shown(self) -> bool:
        """Whether the layer is there still."""
        return self.layer is not None and self.layer in self._viewer.layers

    def show(
        self, affinities: ChannelLayers, mode: str, convention: Convention, limits: Limits
    ) -> None:
        """Show affinities in a way; nothing is computed but what is on the canvas.

        Parameters
        ----------
        affinities
            What to show.
        mode
            One of `MODES`.
        convention
            Which channel is which.
        limits
            The values to draw darkest and brightest.
        """
        before = self.layer if self.shown else None
        same = self._affinities is affinities
        levels = self._levels(affinities, mode, convention, limits)
        if (
            before is not None
            and same
            and before.rgb == (mode == "RGB")
            and before.dtype == levels[0].dtype
        ):
            # Inserting a layer and removing another blocks the window, for longer than this.
            layer = before
            layer.data = _data(levels)
            layer.metadata = {VIEW_KEY: mode}
        else:
            layer = Image(
                _data(levels),
                rgb=mode == "RGB",
                metadata={VIEW_KEY: mode},
                multiscale=len(levels) > 1,
                **({} if mode == "RGB" else {"contrast_limits": limits, "colormap": "gray"}),
                **affinities.place(),
            )
            self._insert(layer, affinities, before, same)
        # Only now: beside the one before, it would have got a number.
        layer.name = f"{affinities.name} ({mode})"
        own_range = affinities.layer.contrast_limits_range
        if mode != "RGB" and own_range is not None:
            low, high = (float(each) for each in own_range)
            layer.contrast_limits_range = (min(low, limits[0]), max(high, limits[1]))
            layer.contrast_limits = limits
        for own in affinities.layers:
            own.visible = False

    def remove(self) -> None:
        """Take the layer away, and bring back what was hidden for it."""
        if self.shown:
            self._viewer.layers.remove(self.layer)
        for own in self._affinities.layers if self._affinities is not None else ():
            own.visible = True
        self.layer = self._composite = self._affinities = None

    def _insert(
        self, layer: Image, affinities: ChannelLayers, before: Image | None, same: bool
    ) -> None:
        """Put a layer where the one before was, if that showed the same; else over its channels."""
        layers = self._viewer.layers
        if before is not None and same:
            layer.opacity, layer.visible = before.opacity, before.visible
            at = layers.index(before)
        else:
            at = 1 + max(layers.index(own) for own in affinities.layers)
        layers.insert(at, layer)
        self.layer, self._affinities = layer, affinities
        if before is not None:
            layers.remove(before)
        layers.selection = {layer}

    def _levels(
        self, affinities: ChannelLayers, mode: str, convention: Convention, limits: Limits
    ) -> list[MapView]:
        self._composite = None
        if mode == "RGB":
            self._composite = Composite(limits)
            order = [convention.channel_of(axis) for axis in ("x", "y", "z")]
            return [
                MapView(self._composite, [level[channel] for channel in order], components=3)
                for level in affinities.levels
            ]
        if mode in MAPS:
            dtype = np.result_type(affinities.sources[0].dtype, np.float32)
            return [MapView(MAPS[mode], level, dtype) for level in affinities.levels]
        channel = convention.order.index(mode)
        dtype = affinities.sources[0].dtype
        return [MapView(_same, [level[channel]], dtype) for level in affinities.levels]


def _data(levels: list[MapView]) -> MapView | list[MapView]:
    return levels if len(levels) > 1 else levels[0]
