"""Fields of many plain and seekable streams, decoded in step."""

import numpy as np
import pytest

from napari_kemp.codec import FieldStarts, Part, _core, decode_parts, fpzip, kempressed

SHAPE = (19, 14, 9, 3)


@pytest.fixture(params=_core.paths(), autouse=True)
def path(request):
    _core.set_path(request.param)
    yield request.param
    _core.set_path(_core.paths()[-1])


def chunks(number):
    rng = np.random.default_rng(number)
    smooth = rng.random((number, *SHAPE), dtype=np.float32).cumsum(axis=1) / 20
    return np.clip(smooth, 0, 1)


def part_of(stream, fields, num_fields=9, starts=None):
    outs = [np.full((19, 14, 3), -1, np.float32, order="F") for _ in fields]
    return Part(stream, fields, outs, num_fields, starts or FieldStarts())


@pytest.mark.parametrize("number", [1, 3, 16, 37])
def test_the_way_through_many_streams(number):
    arrays = chunks(number)
    streams = kempressed.encode_many(arrays)
    tables = [fpzip.scan(stream) for stream in streams]
    starts = [FieldStarts() for _ in streams]
    for wanted in ([4], [5], [0, 3], [2, 4, 8], [7], list(range(9))):
        parts = [part_of(s, wanted, starts=known) for s, known in zip(streams, starts, strict=True)]
        assert decode_parts(parts, kempressed=True) == [[None] * len(wanted)] * number
        for array, part in zip(arrays, parts, strict=True):
            expected = (array + np.float32(2)) - np.float32(2)
            for field, out in zip(wanted, part.outs, strict=True):
                np.testing.assert_array_equal(out, expected[:, :, field])
        for table, known in zip(tables, starts, strict=True):
            states = [(entry.offset, entry.low, entry.range) for entry in table.entries]
            assert list(known.states)[:9] == states[: len(known.states)]


def test_streams_at_different_places_and_with_tables():
    arrays = chunks(20)
    streams = [
        kempressed.encode(array, seekable=bool(i % 3 == 0)) for i, array in enumerate(arrays)
    ]
    parts = [part_of(stream, [i % 9]) for i, stream in enumerate(streams)]
    for _ in range(2):  # again, with what was learned
        assert decode_parts(parts, kempressed=True) == [[None]] * 20
        for i, (array, part) in enumerate(zip(arrays, parts, strict=True)):
            expected = (array + np.float32(2)) - np.float32(2)
            np.testing.assert_array_equal(part.outs[0], expected[:, :, i % 9])
            part.outs[0][:] = -1


def test_what_is_damaged_leaves_the_others_alone():
    arrays = chunks(20)
    streams = [bytearray(each) for each in kempressed.encode_many(arrays, seekable=True)]
    plain = [bytearray(each) for each in kempressed.encode_many(arrays)]
    streams[3][fpzip.SectionTable.read(streams[3]).entries[5].offset + 9] ^= 4
    streams[7] = plain[7][: len(plain[7]) * 2 // 3]
    streams[8] = bytearray(b"nothing")
    streams[9] = kempressed.encode(arrays[9][:10])
    parts = [part_of(stream, [1, 5, 8]) for stream in streams]
    errors = decode_parts(parts, kempressed=True)
    assert [error is None for error in errors[3]] == [True, False, True]
    assert errors[7][0] is None
    assert "damaged" in str(errors[7][2])
    assert all(errors[8]) and all(errors[9])
    assert "expected float32 of shape (19, 14, 3, 9)" in str(errors[9][0])
    for i, (array, part) in enumerate(zip(arrays, parts, strict=True)):
        for field, out, error in zip([1, 5, 8], part.outs, errors[i], strict=True):
            if error is None:
                expected = (array + np.float32(2)) - np.float32(2)
                np.testing.assert_array_equal(out, expected[:, :, field])


def test_channels_of_fpzip_streams_of_float64():
    arrays = chunks(5).astype(np.float64)
    for precision in (0, 24):
        parts = [
            Part(
                fpzip.encode(array, precision),
                [0, 2],
                [np.empty(SHAPE[:3]) for _ in range(2)],
                3,
                FieldStarts(),
            )
            for array in arrays
        ]
        assert decode_parts(parts, kempressed=False) == [[None, None]] * 5
        for part in parts:
            whole = fpzip.decode(part.data)
            np.testing.assert_array_equal(part.outs[0], whole[..., 0])
            np.testing.assert_array_equal(part.outs[1], whole[..., 2])


@pytest.mark.parametrize("shape", [(0, 4, 3, 7), (4, 0, 3, 7), (4, 4, 0, 7)])
@pytest.mark.parametrize("seekable", [True, False])
def test_fields_of_a_stream_without_samples(shape, seekable):
    stream = fpzip.encode(np.zeros(shape, np.float32), seekable=seekable)
    for fields in (slice(1, 2), slice(None, None, -2), slice(2, 2)):
        some = fpzip.decode(stream, fields=fields)
        assert some.shape == np.zeros(shape)[..., fields].shape
    outs = [np.zeros(shape[:3], np.float32) for _ in range(2)]
    part = Part(stream, [3, 5], outs, 7, FieldStarts())
    assert decode_parts([part], kempressed=False) == [[None, None]]
    if not seekable:
        longer = Part(stream + b"trailing", [3, 5], outs, 7, FieldStarts())
        [errors] = decode_parts([longer], kempressed=False)
        assert all("trailing bytes" in str(error) for error in errors)
