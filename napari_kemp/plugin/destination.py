"""Where a volume may be saved without harm to what is there."""

from collections.abc import Iterable
from pathlib import Path

from napari_kemp.errors import ExportError
from napari_kemp.plugin.layer_source import LayerSource
from napari_kemp.plugin.sample import is_sample
from napari_kemp.precomputed import volume_exists
from napari_kemp.precomputed.location import Location


def suggest_destination(name: str, sources: Iterable[LayerSource]) -> str:
    """Propose a folder that does not exist yet, beside the volume the layers were opened from.

    Parameters
    ----------
    name
        What the layers show; part of the folder's name.
    sources
        The layers; without a volume on a local disk among them (the sample is one, but goes with
        the session), the home folder serves.
    """
    beside = Path.home()
    for source in sources:
        if source.origin is None:
            continue
        volume = Location.parse(source.origin["url"])
        if volume.is_local and not is_sample(volume.path):
            beside = Path(volume.path).parent
            break
    plain = "".join(c if c.isalnum() or c in " ._-+" else "_" for c in name).strip() or "volume"
    folder = beside / f"{plain}-saved"
    number = 1
    while folder.exists():
        number += 1
        folder = beside / f"{plain}-saved-{number}"
    return str(folder)


def refuse_occupied(destination: str, sources: Iterable[LayerSource]) -> None:
    """Make sure that a volume can be written to a place, or replaced in it.

    Raises
    ------
    ExportError
        If layers are still being read from there, or it is a file or a folder with other files.
    """
    place = Location.parse(destination)
    for source in sources:
        if source.origin is None:
            continue
        volume = Location.parse(source.origin["url"])
        if place.contains(volume) or volume.contains(place):
            raise ExportError(
                f"{place.url}: {source.name!r} is being read from there: choose another folder"
            )
    if not place.is_local:
        return
    folder = Path(place.path)
    if folder.is_file():
        raise ExportError(f"{folder} is a file, and a volume is a folder: choose another name")
    if folder.is_dir() and any(folder.iterdir()) and not volume_exists(destination):
        raise ExportError(
            f"{folder} holds other files: choose the name of a new folder, for instance "
            f"{folder / 'volume'}"
        )
