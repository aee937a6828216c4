"""The public codec: fpzip and kempressed streams to and from numpy arrays."""

from napari_kemp.codec import fpzip, kempressed
from napari_kemp.codec._streams import FieldStarts, Header
from napari_kemp.codec.parts import Part, decode_parts
from napari_kemp.codec.section_table import Section, SectionTable

__all__ = [
    "FieldStarts",
    "Header",
    "Part",
    "Section",
    "SectionTable",
    "decode_parts",
    "fpzip",
    "kempressed",
]
