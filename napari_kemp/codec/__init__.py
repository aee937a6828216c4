"""The public codec: fpzip and kempressed streams to and from numpy arrays."""

from napari_kemp.codec import fpzip, kempressed
from napari_kemp.codec._streams import FieldStarts, Header
from napari_kemp.codec.section_table import Section, SectionTable

__all__ = ["FieldStarts", "Header", "Section", "SectionTable", "fpzip", "kempressed"]
