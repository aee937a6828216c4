"""Open, inspect and save fpzip and kempressed affinity volumes.

Importing this package loads neither napari nor TensorStore nor Dask; they are loaded when they are
first needed.
"""

from napari_kemp.errors import ChunkError, CodecError, ExportError, InfoError, KempError
from napari_kemp.precomputed import Volume, create_volume, open_volume

# Last, and by this name: the function stands in for the subpackage that it comes from, whose own
# names remain importable from `napari_kemp.export`.
from napari_kemp.export import export  # isort: skip

__version__ = "0.1.0"

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
