"""Some scales, or a box, of a volume as layers."""

from collections.abc import Iterable, Sequence

import numpy as np

from napari_kemp.errors import InfoError
from napari_kemp.plugin.layers import LayerData, Show, volume_layers
from napari_kemp.precomputed import Box, Volume


def excerpt_layers(
    volume: Volume, show: Show = "auto", scales: Sequence[int] | None = None, box: Box | None = None
) -> list[LayerData]:
    """Describe the layers that show a part of a volume; nothing of it is read.

    Parameters
    ----------
    volume
        An open volume.
    show
        How to show it.
    scales
        Numbers of the scales to show; None for all.
    box
        The part to show, in absolute voxels of the finest of these scales. It is widened to whole
        voxels of the coarsest one. None for all.

    Raises
    ------
    InfoError
        If no scale is chosen, or nothing lies in the box.
    """
    numbers = sorted(set(range(len(volume.scales)) if scales is None else scales))
    if not numbers:
        raise InfoError(f"{volume.url}: choose at least one scale")
    if len(numbers) < len(volume.scales):
        chosen = [volume.info.scales[number] for number in numbers]
        volume = Volume(volume.location, volume.info.model_copy(update={"scales": chosen}))
    layers = volume_layers(volume, show)
    if box is None:
        return layers
    bounds = volume.scales[0].grid.bounds
    clipped = Box(
        _triple(map(max, box.start_xyz, bounds.start_xyz)),
        _triple(map(min, box.stop_xyz, bounds.stop_xyz)),
    )
    if not all(clipped.shape_xyz):
        raise InfoError(
            f"{volume.url}: nothing lies in {_told(box)}; the volume reaches over {_told(bounds)}"
        )
    return [_cropped(layer, clipped) for layer in layers]


def _cropped(layer: LayerData, box: Box) -> LayerData:
    data, arguments, layer_type = layer
    levels = data if arguments["multiscale"] else [data]
    scale, translate = np.array(arguments["scale"]), np.array(arguments["translate"])
    finest = np.array(levels[0].shape[-3:])
    coarsest = finest // np.array(levels[-1].shape[-3:])
    # Voxels of the layer, which may show background before the volume's first one.
    first = np.rint(translate[-3:] / scale[-3:]).astype(int)
    start = (np.array(box.start_xyz[::-1]) - first) // coarsest * coarsest
    stop = -(-(np.array(box.stop_xyz[::-1]) - first) // coarsest) * coarsest
    cropped = []
    for level in levels:
        factor = finest // np.array(level.shape[-3:])
        box_zyx = (slice(a, b) for a, b in zip(start // factor, stop // factor, strict=True))
        cropped.append(level[(..., *box_zyx)])
    translate[-3:] += start * scale[-3:]
    return (
        cropped if arguments["multiscale"] else cropped[0],
        {**arguments, "translate": [float(each) for each in translate]},
        layer_type,
    )


def _told(box: Box) -> str:
    start, stop = (", ".join(map(str, corner)) for corner in box)
    return f"{start} to {stop} (x, y, z)"


def _triple(values: Iterable[int]) -> tuple[int, int, int]:
    x, y, z = values
    return x, y, z
