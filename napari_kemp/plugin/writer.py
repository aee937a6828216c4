"""File > Save Selected Layers: layers as precomputed folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_warning

from napari_kemp.errors import ExportError
from napari_kemp.export import export
from napari_kemp.plugin.channel_groups import group_channels, group_name
from napari_kemp.plugin.destination import refuse_occupied
from napari_kemp.plugin.layer_source import LayerSource, layer_source, refuse_mixed
from napari_kemp.precomputed import volume_exists

# Half a step of float32 between 2 and 4, where kempressed moves affinities.
_AFFINITY_ERROR = 2.0**-23


def write_volume(path: str, layers: list[tuple[Any, Mapping[str, Any], str]]) -> list[str]:
    """Write layers as a precomputed volume, or as several.

    Layers named alike but for a last x, y and z, or that are the channels of the volume they were
    opened from, become the channels of one volume. If all layers make one volume, the folder is
    that volume; if they make several, each gets a folder in it, named after its layers.
    Affinities are kempressed, other floating-point images are stored with fpzip, images of
    integers raw, and Labels as a segmentation.

    Parameters
    ----------
    path
        The folder; must not exist, or be empty.
    layers
        What ``layer.as_layer_data_tuple()`` returns. Of multiscale data, the finest level is saved.

    Returns
    -------
    list of str
        The folders of the volumes.

    Raises
    ------
    ExportError
        If there is something at the path already, or a layer cannot be told in a volume. Nothing
        has been written then. Also if a chunk cannot be read or written.
    """
    groups = group_channels([layer_source(*layer) for layer in layers])
    names = _distinct([group_name(group) for group in groups])
    folders = [path] if len(groups) == 1 else [str(Path(path, name)) for name in names]
    for group, folder in zip(groups, folders, strict=True):
        refuse_mixed(group)
        if volume_exists(folder):
            raise ExportError(
                f"{folder}: there is a volume already; save under another name, or remove it first"
            )
        refuse_occupied(folder, group)
    for group, folder in zip(groups, folders, strict=True):
        report = export(
            group[0].data if len(group) == 1 else [source.data for source in group],
            folder,
            encoding=_encoding(group[0]),
            resolution=group[0].resolution_xyz,
            voxel_offset=group[0].voxel_offset_xyz,
        )
        if report.encoding == "kempressed" and report.max_abs_error > _AFFINITY_ERROR:
            show_warning(
                f"{folder}: the values go beyond the 0 to 1 of affinities, so kempressing changed "
                f"them by up to {report.max_abs_error:.2g}. To keep every bit, save with Layers > "
                "Data > Save as kempressed and the encoding fpzip."
            )
    return folders


def _encoding(source: LayerSource) -> str:
    if source.layer_type == "labels":
        return "compressed_segmentation"
    if source.dtype.kind != "f":
        return "raw"
    if source.origin is not None and source.origin["encoding"] in ("kempressed", "fpzip"):
        return source.origin["encoding"]
    # What a layer is drawn with tells affinities apart without reading all of it; where it was
    # wrong, the report says so.
    low, high = source.contrast_limits or (0, 1)
    return "kempressed" if low >= 0 and high <= 1 and source.dtype.itemsize <= 4 else "fpzip"


def _distinct(names: list[str]) -> list[str]:
    """Make names of folders of layer names, no two of them the same."""
    distinct: list[str] = []
    for name in names:
        plain = "".join(c if c.isalnum() or c in " ._-+[]" else "_" for c in name).strip(" .")
        plain = plain or "volume"
        number, unique = 1, plain
        while unique.casefold() in (other.casefold() for other in distinct):
            number += 1
            unique = f"{plain} {number}"
        distinct.append(unique)
    return distinct
