"""The public codec: fpzip and kempressed streams to and from numpy arrays."""

from napari_kemp.codec import fpzip, kempressed
from napari_kemp.codec.fpzip import Header

__all__ = ["Header", "fpzip", "kempressed"]
