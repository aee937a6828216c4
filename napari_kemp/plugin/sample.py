"""File > Open Sample: a volume that is made on the spot, written and opened as any other."""

import tempfile
from functools import cache
from pathlib import Path

from napari_kemp.plugin.layers import LayerData
from napari_kemp.plugin.reader import get_reader
from napari_kemp.precomputed import create_volume
from napari_kemp.sample import RESOLUTION_XYZ, make_neurites

_CHUNK_XYZ = (64, 64, 16)
_FOLDER_PREFIX = "napari-kemp-sample-"


def open_sample() -> list[LayerData]:
    """Make the sample, as three volumes on disk, and open them.

    Returns
    -------
    list of (data, keyword arguments, layer type)
        Image and segmentation, hidden, and on top of them the affinities in x, y and z.
    """
    folder = sample_volume().parent
    volumes = [str(folder / name) for name in ("image", "segmentation", "affinities")]
    read = get_reader(volumes)
    if read is None:
        raise FileNotFoundError(f"the sample in {folder} is gone: restart napari to make it anew")
    layers = read(volumes)
    for _, arguments, _ in layers[:2]:
        arguments["visible"] = False
    return layers


def sample_volume() -> Path:
    """Write the sample, and return the folder of its affinities, which goes with the session."""
    return Path(_written_sample().name, "affinities")


def is_sample(path: str) -> bool:
    """Tell whether a path is that of a volume of the sample."""
    return Path(path).parent.name.startswith(_FOLDER_PREFIX)


@cache
def _written_sample() -> "tempfile.TemporaryDirectory[str]":
    folder = tempfile.TemporaryDirectory(prefix=_FOLDER_PREFIX)
    neurites = make_neurites()
    for name, array, encoding, layer_type in (
        ("image", neurites.image, "raw", "image"),
        ("segmentation", neurites.segmentation, "compressed_segmentation", "segmentation"),
        ("affinities", neurites.affinities, "kempressed", "image"),
    ):
        volume = create_volume(
            Path(folder.name, name),
            size=array.shape[:-4:-1],
            resolution=RESOLUTION_XYZ,
            chunk_size=_CHUNK_XYZ,
            encoding=encoding,
            data_type=array.dtype.name,
            num_channels=len(array) if array.ndim == 4 else 1,
            layer_type=layer_type,
        )
        volume.scales[0].write(array, (0, 0, 0))
    return folder
