"""What affinities mean: boundary maps, segments and differences, without a window."""

from napari_kemp.affinity.convention import Convention
from napari_kemp.affinity.difference import Difference, largest_difference, measure_difference
from napari_kemp.affinity.lazy_map import LazyMap
from napari_kemp.affinity.maps import MAPS
from napari_kemp.affinity.segments import Segments, find_segments

__all__ = [
    "MAPS",
    "Convention",
    "Difference",
    "LazyMap",
    "Segments",
    "find_segments",
    "largest_difference",
    "measure_difference",
]
