"""Open, inspect and save fpzip and kempressed affinity volumes.

The public names are loaded when they are first used, so that ``import napari_kemp`` costs next to
nothing on a cluster worker or in a napari that never opens a volume.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_kemp.errors import ChunkError, CodecError, ExportError, InfoError, KempError
    from napari_kemp.export import export
    from napari_kemp.precomputed import Volume, create_volume, open_volume

__version__ = "0.1.0"

_HOMES = {
    "ChunkError": "napari_kemp.errors",
    "CodecError": "napari_kemp.errors",
    "ExportError": "napari_kemp.errors",
    "InfoError": "napari_kemp.errors",
    "KempError": "napari_kemp.errors",
    "Volume": "napari_kemp.precomputed",
    "create_volume": "napari_kemp.precomputed",
    "export": "napari_kemp.export",
    "open_volume": "napari_kemp.precomputed",
}

__all__ = [
    "ChunkError",
    "CodecError",
    "ExportError",
    "InfoError",
    "KempError",
    "Volume",
    "create_volume",
    "export",
    "open_volume",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
