"""The section table: where each field of a stream starts, so that it can be decoded alone.

A field of an fpzip stream (a z section of a kempressed chunk, a channel of an fpzip chunk) begins
with a fresh model; all that passes into it is the state of the range coder. Sixteen bytes of state
and a checksum a field make a stream seekable. The table is kept as a trailer behind the stream,
where other decoders never look. ``docs/section-table.md`` describes the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from napari_kemp.codec import _core
from napari_kemp.errors import CodecError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Entry", "Section", "SectionTable"]

MAGIC = b"fpzSEEK1"
_ENTRY = struct.Struct("<QIII")  # offset, low, range, crc
_FOOTER = struct.Struct("<QIIHHI8s")  # length, nf, crc of the entries, version, flags, 0, magic
_LOOK_AHEAD = 4  # bytes that the coder reads beyond a field's end
_DAMAGED = "damaged section table or trailing bytes"


@dataclass(frozen=True, slots=True)
class Entry:
    """The state of the coder at the start of a field, and the checksum of the field's bytes.

    Attributes
    ----------
    offset
        Bytes of the stream in front of the field's own.
    low, range
        State of the range coder, 32 bits each.
    crc
        CRC-32C of all bytes that decoding the field looks at, `SectionTable.span` of it.
    """

    offset: int
    low: int
    range: int
    crc: int


@dataclass(frozen=True, slots=True)
class Section:
    """The bytes of one field, cut out of its stream, and what is needed to decode them alone."""

    data: memoryview
    entry: Entry
    start: int  # where in `data` the entry's offset is; not 0 only for a stream's first field

    def check(self) -> None:
        """Raise CodecError unless the bytes are those that the table was made of."""
        if _core.checksum(self.data) != self.entry.crc:
            raise CodecError("a section's checksum is wrong: its bytes are damaged")


@dataclass(frozen=True)
class SectionTable:
    """Where the fields of a stream start.

    Attributes
    ----------
    length
        Length of the stream in bytes, without the table behind it.
    entries
        One for each field: each z section of a kempressed stream, each c of an fpzip stream.
    """

    length: int
    entries: Sequence[Entry]

    @staticmethod
    def size(fields: int) -> int:
        """Return the length in bytes of the table of a stream of `fields` fields.

        Whoever knows the number of fields can fetch the table of an object with one suffix range.
        """
        return _ENTRY.size * fields + _FOOTER.size

    @classmethod
    def read(cls, data: Buffer) -> SectionTable:
        """Read the table at the end of `data`: a whole seekable stream, or its last bytes.

        Raises
        ------
        CodecError
            If there is no table at the end, or it is damaged.
        """
        table = cls.find(data)
        if table is None:
            raise CodecError("these bytes do not end in a section table")
        return table

    @classmethod
    def find(cls, data: Buffer, whole: bool = False) -> SectionTable | None:
        """Read the table at the end of `data`, or return None where nothing looks like one.

        `whole` says that `data` hold the whole stream, whose length must then agree.
        """
        view = memoryview(data).cast("B")
        if bytes(view[-len(MAGIC) :]) != MAGIC or len(view) < _FOOTER.size:
            return None
        footer = len(view) - _FOOTER.size
        length, fields, crc, version, flags, reserved, _ = _FOOTER.unpack_from(view, footer)
        start = footer - _ENTRY.size * fields
        if (version, flags, reserved) != (1, 0, 0) or start < 0 or (whole and start != length):
            raise CodecError(_DAMAGED)
        if _core.checksum(view[start:footer]) != crc:
            raise CodecError(_DAMAGED)
        entries = tuple(
            Entry(*_ENTRY.unpack_from(view, start + _ENTRY.size * i)) for i in range(fields)
        )
        offsets = [entry.offset for entry in entries] + [length - _LOOK_AHEAD]
        if offsets[0] < 0 or any(b < a for a, b in pairwise(offsets)):
            raise CodecError(_DAMAGED)
        return cls(length, entries)

    @classmethod
    def of_stream(cls, stream: Buffer, states: Sequence[tuple[int, int, int]]) -> SectionTable:
        """Make the table of a stream from the coder's states at the start of each field."""
        view = memoryview(stream).cast("B")
        blank = [Entry(*state, 0) for state in states]
        spans = cls(len(view), blank)
        entries = (
            Entry(entry.offset, entry.low, entry.range, _core.checksum(view[spans.span(i)]))
            for i, entry in enumerate(blank)
        )
        return cls(len(view), tuple(entries))

    def to_bytes(self) -> bytes:
        """Return the table as the bytes that follow the stream."""
        entries = b"".join(_ENTRY.pack(e.offset, e.low, e.range, e.crc) for e in self.entries)
        crc = _core.checksum(entries)
        return entries + _FOOTER.pack(self.length, len(self.entries), crc, 1, 0, 0, MAGIC)

    def span(self, field: int, last: int | None = None) -> slice:
        """Return the range of bytes that hold `field`, or the fields from it up to `last`.

        This is what has to be fetched to decode them. It covers the stream's header where the
        first field is among them, and the four bytes that the coder reads ahead.
        """
        last = field if last is None else last
        start = self.entries[field].offset if field > 0 else 0
        if last + 1 < len(self.entries):
            return slice(start, self.entries[last + 1].offset + _LOOK_AHEAD)
        return slice(start, self.length)

    def cut(self, field: int, data: Buffer, at: int = 0) -> Section:
        """Cut the bytes of one field out of `data`, which begin at byte `at` of the object.

        Raises
        ------
        CodecError
            If `data` do not reach over the field's whole `span`.
        """
        view = memoryview(data).cast("B")
        span = self.span(field)
        if span.start < at or span.stop > at + len(view):
            raise CodecError(
                f"bytes {at} to {at + len(view)} do not hold field {field}, which is bytes "
                f"{span.start} to {span.stop}"
            )
        entry = self.entries[field]
        return Section(view[span.start - at : span.stop - at], entry, entry.offset - span.start)
