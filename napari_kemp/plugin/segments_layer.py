"""A layer that shows segments where they were found."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_kemp.affinity import Segments
from napari_kemp.plugin.channel_layers import VIEW_KEY, ChannelLayers, Region

if TYPE_CHECKING:
    from napari.components import ViewerModel

_OPACITY = 0.5


@dataclass(frozen=True, eq=False)
class Found:
    """Segments of a region.

    Attributes
    ----------
    affinities
        In what they were found.
    region
        Where.
    segments
        What was found.
    labels
        The same, numbered as they are to be shown, (z, y, x).
    """

    affinities: ChannelLayers
    region: Region
    segments: Segments
    labels: NDArray[Any]

    @property
    def told(self) -> str:
        """How many there are, and how large the largest is."""
        segments, level = self.segments, self.region.level
        share = 100 * segments.largest_voxels / max(1, segments.labels.size)
        factor = self.affinities.factor_zyx(level)[2]
        coarse = f" (voxels {factor:.3g} × coarser, as on screen)" if level else ""
        return (
            f"{segments.count:,} segment{'' if segments.count == 1 else 's'}, "
            f"the largest of {segments.largest_voxels:,} voxels "
            f"({share:.1f}\N{NO-BREAK SPACE}%){coarse}"
        )


class SegmentsLayer:
    """One layer for segments, the same each time while it is there.

    Parameters
    ----------
    viewer
        The viewer.
    what
        What it shows, for its name.
    """

    def __init__(self, viewer: "ViewerModel", what: str) -> None:
        self._viewer = viewer
        self._what = what
        self._found: Found | None = None
        self.layer: Labels | None = None

    @property
    def shown(self) -> Found | None:
        """What is visible in the viewer."""
        layer = self.layer
        there = layer is not None and layer in self._viewer.layers and layer.visible
        return self._found if there else None

    def show(self, found: Found) -> bool:
        """Show segments, and return whether a layer was added for them."""
        place = found.affinities.place(found.region)
        name = f"{found.affinities.name} {self._what}"
        self._found = found
        layer, layers = self.layer, self._viewer.layers
        if layer is not None and layer in layers:
            layer.name = name
            layer.data = found.labels
            layer.scale, layer.translate = place["scale"], place["translate"]
            if not np.array_equal(layer.affine.affine_matrix, place["affine"]):
                layer.affine = place["affine"]
            layer.visible = True
            return False
        self.layer = Labels(
            found.labels, name=name, opacity=_OPACITY, metadata={VIEW_KEY: self._what}, **place
        )
        selected = set(layers.selection)
        self._viewer.add_layer(self.layer)
        layers.selection = selected or {self.layer}
        return True

    def hide(self) -> None:
        """Hide the layer, if there is one."""
        if self.layer is not None:
            self.layer.visible = False
