"""A region in 3D, drawn as the affinities are shown in 2D."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_kemp.affinity import MAPS
from napari_kemp.plugin.channel_layers import VIEW_KEY, ChannelLayers, Region
from napari_kemp.plugin.display import OWN_LAYERS, Limits, Look

if TYPE_CHECKING:
    from napari.components import ViewerModel

# High affinities are everywhere, and so are membranes: without attenuation, one sees only white.
_RENDERING = {"rendering": "attenuated_mip", "attenuation": 0.2}
_COLORMAPS: dict[Literal["x", "y", "z"], str] = {"x": "red", "y": "green", "z": "blue"}
_OBLIQUE = (-20, 25, 120)


@dataclass(frozen=True, eq=False)
class Volume3D:
    """One of the layers that draw a region.

    Attributes
    ----------
    values
        (z, y, x) float32.
    what
        What they are: the name of a channel, or of a map.
    colormap
        Colours of the values.
    """

    values: NDArray[np.float32]
    what: str
    colormap: str


def compose(affinities_czyx: NDArray[Any], look: Look) -> list[Volume3D]:
    """Make of affinities (c, z, y, x) what is to be drawn; takes as long as there are voxels.

    napari draws no RGB volumes: three that add up stand for one.
    """
    mode, convention = look.mode, look.convention
    if mode in MAPS:
        return [Volume3D(np.asarray(MAPS[mode](*affinities_czyx), np.float32), mode, "gray")]
    single = mode not in ("RGB", OWN_LAYERS)
    return [
        Volume3D(
            np.ascontiguousarray(affinities_czyx[convention.channel_of(axis)], np.float32),
            axis,
            "gray" if single else _COLORMAPS[axis],
        )
        for axis in _COLORMAPS
        if not single or axis == mode
    ]


class View3D:
    """Draws a region in 3D and hides all else, until the viewer is back in 2D.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: "ViewerModel") -> None:
        self._viewer = viewer
        self._layers: list[Layer] = []
        self._segments: tuple[Labels, float] | None = None
        self._hidden: list[Layer] = []
        self._selected: set[Layer] = set()
        self._camera: dict[str, Any] = {}
        self._point: tuple[float, ...] = ()
        viewer.dims.events.ndisplay.connect(self._on_ndisplay, position="last")

    @property
    def shown(self) -> bool:
        """Whether a region is drawn."""
        return bool(self._layers)

    def show(
        self,
        affinities: ChannelLayers,
        region: Region,
        volumes: Sequence[Volume3D],
        look: Look,
        segments: Labels | None = None,
    ) -> None:
        """Draw a region.

        Parameters
        ----------
        affinities
            What the region is of.
        region
            Where it lies.
        volumes
            What to draw, as `compose` has made it.
        look
            How the affinities are shown: the values that are drawn darkest and brightest.
        segments
            A layer that shows the region's segments; the rest is hidden for it.
        """
        viewer = self._viewer
        camera = viewer.scene.camera
        self._camera = {"center": camera.center, "zoom": camera.zoom}
        self._point = viewer.dims.point
        self._selected = set(viewer.layers.selection)
        self._hidden = [layer for layer in viewer.layers if layer.visible]
        for layer in self._hidden:
            layer.visible = layer is segments
        if segments is not None:
            self._segments = segments, segments.opacity
            segments.opacity = 1
        self._layers = [
            Image(
                volume.values,
                name=f"{affinities.name} ({volume.what}, 3D)",
                colormap=volume.colormap,
                contrast_limits=look.limits,
                blending="additive" if len(volumes) > 1 else "translucent",
                visible=segments is None,
                metadata={VIEW_KEY: "3D"},
                **_RENDERING,
                **affinities.place(region),
            )
            for volume in volumes
        ]
        # Only now: nothing is drawn twice, as a section and as a volume.
        viewer.dims.ndisplay = 3
        for layer in self._layers:
            viewer.add_layer(layer)
        viewer.layers.selection = {segments or self._layers[0]}
        camera.angles = _OBLIQUE
        viewer.reset_view(reset_camera_angle=False)

    def draw_with(self, limits: Limits) -> None:
        """Draw what is drawn with other values darkest and brightest."""
        for layer in self._layers:
            layer.contrast_limits = limits

    def leave(self) -> None:
        """Bring the viewer back to 2D, and all as it was."""
        if self.shown:
            self._viewer.dims.ndisplay = 2

    def close(self) -> None:
        """Leave, and let go of the viewer."""
        self.leave()
        self._viewer.dims.events.ndisplay.disconnect(self._on_ndisplay)

    def _on_ndisplay(self, *_: Any) -> None:
        viewer = self._viewer
        if viewer.dims.ndisplay != 2 or not self.shown:
            return
        drawn, self._layers = self._layers, []
        for layer in drawn:
            if layer in viewer.layers:
                viewer.layers.remove(layer)
        for layer in self._hidden:
            layer.visible = True
        self._hidden = []
        if self._segments is not None:
            layer, layer.opacity = self._segments
            self._segments = None
        viewer.layers.selection = {each for each in self._selected if each in viewer.layers}
        if len(self._point) == viewer.dims.ndim:
            viewer.dims.point = self._point
        viewer.scene.camera.center = self._camera["center"]
        viewer.scene.camera.zoom = self._camera["zoom"]
