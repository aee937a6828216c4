"""Seekable streams: single sections decoded from their own bytes, and damage found for certain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_kemp.codec import FieldStarts, SectionTable, _core, fpzip, kempressed
from napari_kemp.errors import CodecError

Array = NDArray[np.float32]


def chunk(shape: tuple[int, ...] = (33, 9, 7, 3), seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return np.clip(np.cumsum(rng.normal(0, 0.03, shape), axis=0) + 0.5, 0, 1).astype(np.float32)


def stored(array: Array) -> Array:
    """What kempressing leaves of an array."""
    return (array + np.float32(2)) - np.float32(2)


@pytest.fixture(scope="module")
def seekable() -> bytes:
    return kempressed.encode(chunk(), seekable=True)


@pytest.fixture(scope="module")
def plain() -> bytes:
    return kempressed.encode(chunk())


def test_the_stream_in_front_of_the_table_is_the_plain_one(seekable: bytes, plain: bytes) -> None:
    table = SectionTable.read(seekable)
    assert seekable == plain + table.to_bytes()
    assert table.length == len(plain)
    assert len(seekable) - len(plain) == SectionTable.size(7) == 7 * 20 + 32
    assert seekable[-8:] == b"fpzSEEK1"


def test_a_table_made_by_a_scan_is_the_one_an_encoder_writes(seekable: bytes, plain: bytes) -> None:
    assert fpzip.scan(plain) == fpzip.scan(seekable) == SectionTable.read(seekable)


def test_the_reference_reads_seekable_streams(seekable: bytes) -> None:
    reference = pytest.importorskip("fpzip")
    decoded = reference.decompress(seekable, order="F").transpose(0, 1, 3, 2) - np.float32(2)
    assert np.array_equal(decoded, stored(chunk()))


def test_cloudvolume_reads_seekable_streams(seekable: bytes) -> None:
    kempressed_of_cloudvolume = pytest.importorskip("cloudvolume.chunks")
    decoded = kempressed_of_cloudvolume.decode(
        seekable, "kempressed", shape=chunk().shape, dtype="float32"
    )
    assert np.array_equal(decoded, stored(chunk()))


@pytest.mark.parametrize(
    "sections",
    [slice(None), slice(2, 3), slice(6, 7), slice(0, 5, 2), slice(None, None, -1), slice(3, 3)],
)
@pytest.mark.parametrize("kind", ["seekable", "plain"])
def test_some_sections(kind: str, sections: slice, request: pytest.FixtureRequest) -> None:
    data = request.getfixturevalue(kind)
    assert np.array_equal(
        kempressed.decode(data, sections=sections), stored(chunk())[:, :, sections]
    )


@pytest.mark.parametrize("seek", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("precision", [0, 8, 24])
def test_some_fields(seek: bool, dtype: Any, precision: int) -> None:
    data = fpzip.encode(chunk().astype(dtype), precision, seekable=seek)
    whole = fpzip.decode(data)
    for fields in (slice(1, 2), slice(0, 2), slice(None, None, -2)):
        assert np.array_equal(fpzip.decode(data, fields=fields), whole[..., fields])


def test_a_plain_stream_is_decoded_no_further_than_asked_for(plain: bytes) -> None:
    table = fpzip.scan(plain)
    span = table.span(3)
    cut = plain[: span.stop]
    assert np.array_equal(kempressed.decode(cut, sections=slice(3, 4)), stored(chunk())[:, :, 3:4])
    with pytest.raises(CodecError):
        kempressed.decode(cut, sections=slice(4, 5))


def test_starts_that_were_passed_are_kept(plain: bytes) -> None:
    starts = FieldStarts()
    expected = stored(chunk())
    for z in (2, 0, 5, 4, 6):
        section = kempressed.decode(plain, sections=slice(z, z + 1), starts=starts)
        assert np.array_equal(section, expected[:, :, z : z + 1])
    table = fpzip.scan(plain)
    assert starts.states[:7] == [(e.offset, e.low, e.range) for e in table.entries]
    # Section 5 is decoded from its start: bytes in front of it no longer matter.
    begin = table.entries[5].offset
    blind = plain[:60] + bytes(begin - 60) + plain[begin:]
    section = kempressed.decode(blind, sections=slice(5, 6), starts=starts)
    assert np.array_equal(section, expected[:, :, 5:6])


def test_sections_from_byte_ranges_of_many_chunks(seekable: bytes) -> None:
    arrays = [chunk(seed=seed) for seed in range(5)]
    sections, expected = [], []
    for array, data in zip(arrays, kempressed.encode_many(arrays, seekable=True), strict=True):
        table = SectionTable.read(data[-SectionTable.size(7) :])
        for z in (0, 3, 6):
            span = table.span(z)
            sections.append(table.cut(z, data[span], at=span.start))
            expected.append(stored(array)[:, :, z])
    canvas = np.zeros((len(sections), 3, 9, 33), np.float32)
    outs = [plane.transpose(2, 1, 0) for plane in canvas]
    assert kempressed.decode_sections(sections, outs) == [None] * 15
    assert all(np.array_equal(out, want) for out, want in zip(outs, expected, strict=True))


def test_spare_bytes_around_a_span_do_no_harm(seekable: bytes) -> None:
    table = SectionTable.read(seekable)
    span = table.span(2, 4)
    fetched = seekable[span.start - 10 : span.stop + 10]
    outs = [np.empty((33, 9, 3), np.float32) for _ in range(3)]
    sections = [table.cut(z, fetched, at=span.start - 10) for z in (2, 3, 4)]
    assert kempressed.decode_sections(sections, outs) == [None] * 3
    assert np.array_equal(np.stack(outs, 2), stored(chunk())[:, :, 2:5])


def test_bytes_that_do_not_hold_a_section_are_refused(seekable: bytes) -> None:
    table = SectionTable.read(seekable)
    span = table.span(2)
    with pytest.raises(CodecError, match="do not hold field 2"):
        table.cut(2, seekable[span.start : span.stop - 1], at=span.start)


@pytest.mark.parametrize("path", _core.paths())
def test_a_damaged_section_is_an_error_for_that_section_alone(seekable: bytes, path: str) -> None:
    _core.set_path(path)
    table = SectionTable.read(seekable)
    expected = stored(chunk())
    for z in range(7):
        for position in (table.entries[z].offset + 4, table.span(z).stop - 5):
            data = bytearray(seekable)
            data[position] ^= 1
            # A section's first four bytes are also looked at by the one in front.
            outs = [np.empty((33, 9, 3), np.float32) for _ in range(7)]
            errors = kempressed.decode_sections([table.cut(i, data) for i in range(7)], outs)
            assert [i for i, error in enumerate(errors) if error is not None] == [z]
            for i in set(range(7)) - {z}:
                assert np.array_equal(outs[i], expected[:, :, i])
                one = kempressed.decode(data, sections=slice(i, i + 1))
                assert np.array_equal(one[:, :, 0], expected[:, :, i])
            with pytest.raises(CodecError, match="checksum"):
                kempressed.decode(data)
    data = bytearray(seekable)
    data[table.length - 1] ^= 0x80
    with pytest.raises(CodecError):
        kempressed.decode(data, sections=slice(6, 7))
    _core.set_path(_core.paths()[-1])


def test_every_byte_of_the_table_matters() -> None:
    data = kempressed.encode(chunk((9, 5, 3, 2)), seekable=True)
    length = SectionTable.read(data).length
    for position in range(length, len(data)):
        for bit in (0x01, 0x80):
            flipped = bytearray(data)
            flipped[position] ^= bit
            with pytest.raises(CodecError, match="damaged section table or trailing bytes"):
                kempressed.decode(flipped)
    for end in range(length + 1, len(data)):
        with pytest.raises(CodecError, match="damaged section table or trailing bytes"):
            kempressed.decode(data[:end])
        with pytest.raises(CodecError, match="damaged section table or trailing bytes"):
            kempressed.decode(data[:length] + data[end:])


def test_every_byte_of_a_seekable_stream_matters() -> None:
    array = chunk((9, 5, 3, 2))
    data = kempressed.encode(array, seekable=True)
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        with pytest.raises(CodecError):
            kempressed.decode(flipped)


def test_a_table_of_another_stream_is_refused(seekable: bytes) -> None:
    other = kempressed.encode(chunk(seed=1), seekable=True)
    table = SectionTable.read(other)
    stream = seekable[: SectionTable.read(seekable).length]
    with pytest.raises(CodecError):
        kempressed.decode(stream + table.to_bytes())


def test_a_state_that_no_coder_can_be_in_is_refused(seekable: bytes) -> None:
    table = SectionTable.read(seekable)
    entries = list(table.entries)
    for low, span in ((0, 0), (5, 0xFFFF), (0xFFFFFFFF, 0xFFFFFFFF)):
        entry = entries[2]
        entries[2] = type(entry)(entry.offset, low, span, entry.crc)
        hostile = seekable[: table.length] + SectionTable(table.length, entries).to_bytes()
        with pytest.raises(CodecError):
            kempressed.decode(hostile)
        entries[2] = entry


@pytest.mark.parametrize("portable", [True, False])
def test_the_checksum_is_crc32c(portable: bool) -> None:
    assert _core.checksum(b"123456789", portable) == 0xE3069283
    assert _core.checksum(bytes(32), portable) == 0x8A9136AA
    assert _core.checksum(b"", portable) == 0
    rng = np.random.default_rng(0)
    for size in range(70):
        data = rng.bytes(size)
        assert _core.checksum(data, portable) == _core.checksum(data, not portable)


def test_streams_without_samples_can_have_a_table() -> None:
    for shape in ((0, 4, 3, 2), (4, 4, 0, 2), (4, 4, 3, 0)):
        data = kempressed.encode(np.zeros(shape, np.float32), seekable=True)
        assert kempressed.decode(data).shape == shape
