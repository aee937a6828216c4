"""Recognise precomputed volumes among the paths that napari offers, and open them."""

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from napari_kemp.plugin.layers import LayerData, volume_layers
from napari_kemp.plugin.origin import origin_of
from napari_kemp.precomputed import transport
from napari_kemp.precomputed.volume import INFO_LIMIT_BYTES

_PREFIX = "precomputed://"
_REMOTE = ("http://", "https://", "gs://", "s3://")
_NAMES = tuple(f"info{suffix}" for suffix in transport.SUFFIXES)

PathOrPaths = str | os.PathLike[str] | list[str] | list[os.PathLike[str]]
ReaderFunction = Callable[[PathOrPaths], list[LayerData]]


def get_reader(path: PathOrPaths) -> ReaderFunction | None:
    """Offer to open a path, if it is a precomputed volume.

    Ours are a folder with a precomputed ``info``, such an ``info`` file itself, any URL that begins
    with ``precomputed://`` (for napari, a scheme has to follow: ``precomputed://file:///folder``),
    and other URLs that end in ``/info``. All else is declined at once:
    nothing is requested from a network, and of a local file at most an ``info`` is read.

    Parameters
    ----------
    path
        A path or URL, or a list of them.

    Returns
    -------
    callable or None
        Opens the volumes, one set of layers each; None unless all paths are ours.
    """
    paths = path if isinstance(path, list) else [path]
    urls = [_volume_url(os.fspath(one)) for one in paths]
    if not urls or None in urls:
        return None
    return partial(_read, [url for url in urls if url is not None])


def open_layers(urls: Sequence[str]) -> list[LayerData]:
    """Open volumes, and describe the layers that show them: images lie below all else.

    Of remote volumes the window stays alive meanwhile, and slicing is moved to the background.
    Where coarse levels are samples, that is said.
    """
    from napari_kemp.plugin.session import (
        say_what_is_sampled,
        slice_in_background,
        take_napari_settings,
        with_the_window_alive,
    )
    from napari_kemp.precomputed import open_volume

    def layers() -> list[LayerData]:
        return [layer for url in urls for layer in volume_layers(open_volume(url))]

    take_napari_settings()
    if any(url.removeprefix(_PREFIX).startswith(_REMOTE) for url in urls):
        slice_in_background()
        opened = with_the_window_alive(layers)
    else:
        opened = layers()
    say_what_is_sampled(opened)
    # Of volumes of one place that lie on each other, the image would cover what is below it.
    return sorted(opened, key=lambda layer: not _is_plain_image(layer))


def _is_plain_image(layer: LayerData) -> bool:
    _, arguments, layer_type = layer
    origin = origin_of(arguments["metadata"])
    return layer_type == "image" and origin is not None and origin["num_channels"] == 1


def _read(urls: list[str], path: PathOrPaths) -> list[LayerData]:
    # napari hands over once more what `get_reader` has already looked at.
    del path
    return open_layers(urls)


def _volume_url(path: str) -> str | None:
    """Reduce a path to the volume that it stands for; None if it is none of ours."""
    if path.startswith(_PREFIX):
        return _without_info(path)
    if path.startswith(_REMOTE):
        return _without_info(path) if path.endswith("/info") else None
    try:
        if path.startswith("file://"):
            path = url2pathname(urlsplit(path).path)
        place = Path(path)
        if place.is_dir():
            return path if any(_is_info(place / name) for name in _NAMES) else None
        return str(place.parent) if place.name in _NAMES and _is_info(place) else None
    except (OSError, ValueError):
        # A path that cannot be looked at (no permission, a null byte) is nobody's volume.
        return None


def _without_info(url: str) -> str:
    return url.rstrip("/").removesuffix("/info")


def _is_info(file: Path) -> bool:
    """Tell whether a file, possibly missing, describes a precomputed volume of voxels."""
    try:
        if not file.is_file():
            return False
        with file.open("rb") as raw:
            stored = raw.read(INFO_LIMIT_BYTES)
        info = json.loads(
            transport.unwrap(stored, file.name.removeprefix("info"), INFO_LIMIT_BYTES)
        )
    except Exception:
        # Whatever is wrong with it, it is no `info` of ours; napari asks other readers.
        return False
    return (
        isinstance(info, dict)
        and isinstance(info.get("scales"), list)
        and info.get("type") in ("image", "segmentation")
    )
