"""kempressed chunks against what CloudVolume reads and writes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_kemp import CodecError
from napari_kemp.codec import fpzip, kempressed

chunks = pytest.importorskip("cloudvolume.chunks", reason="CloudVolume is the oracle")


def cloudvolume_encode(chunk):
    return chunks.encode(np.asfortranarray(chunk), "kempressed")


def cloudvolume_decode(stream, shape):
    return chunks.decode(stream, "kempressed", shape=shape, dtype="float32")


def affinities(shape, seed=0):
    steps = np.random.default_rng(seed).normal(scale=0.1, size=shape)
    return (1 / (1 + np.exp(-np.cumsum(steps, axis=0)))).astype(np.float32)


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=8),
        elements=st.one_of(
            st.floats(0, 1, width=32),
            st.floats(-1000, 1000, width=32),
            st.sampled_from([0.0, -0.0, 1.0, -2.0, 1e-40, np.inf]),
        ),
        fill=st.just(np.float32(1)),
    ),
    st.permutations(range(4)),
)
def test_bytes_and_values_equal_cloudvolumes(array, order):
    chunk = array.transpose(order)
    stream = kempressed.encode(chunk)
    if len(stream) > chunk.nbytes + 64:  # the reference would write past its buffer
        return
    if chunk.shape[:2] != (1, 1):  # CloudVolume 12 stores those transposed, and loses the data
        assert stream == cloudvolume_encode(chunk)
    decoded = kempressed.decode(stream)
    np.testing.assert_array_equal(decoded, cloudvolume_decode(stream, chunk.shape))
    assert decoded.shape == kempressed.header(stream).shape == chunk.shape
    assert decoded.flags.f_contiguous


def test_real_affinities(isbi):
    for path in sorted((isbi / "affinities-kempressed" / "4_4_50").iterdir())[::7]:
        stream = path.read_bytes()
        decoded = kempressed.decode(stream)
        np.testing.assert_array_equal(decoded, cloudvolume_decode(stream, decoded.shape))
        assert kempressed.encode(decoded) == stream


def test_affinities_keep_the_promised_error_and_a_second_round_changes_nothing():
    chunk = affinities((64, 64, 8, 3))
    once = kempressed.decode(kempressed.encode(chunk))
    assert 0 < np.abs(once.astype(np.float64) - chunk).max() <= 2.0**-23
    twice = kempressed.decode(kempressed.encode(once))
    np.testing.assert_array_equal(once, twice)


def test_nan_stays_nan():
    chunk = affinities((8, 8, 2, 3))
    chunk[3, 4, 1, 2] = np.nan
    decoded = kempressed.decode(kempressed.encode(chunk))
    np.testing.assert_array_equal(np.isnan(decoded), np.isnan(chunk))


def test_strides_in_and_strides_out():
    czyx = affinities((16, 12, 6, 3)).T.copy()
    chunk = czyx.transpose(3, 2, 1, 0)
    stream = kempressed.encode(chunk)
    assert stream == kempressed.encode(np.asfortranarray(chunk)) == kempressed.encode(chunk.copy())
    out = np.zeros((3, 6, 12, 40), np.float32)[..., 5:21]
    kempressed.decode(stream, out=out.transpose(3, 2, 1, 0))
    np.testing.assert_array_equal(out, kempressed.decode(stream).transpose(3, 2, 1, 0))


@pytest.mark.parametrize("threads", [1, 2])
def test_many_chunks_at_once_equal_one_by_one(threads):
    arrays = [affinities((16, 15, 4, 3), seed) for seed in range(5)]
    streams = kempressed.encode_many(arrays, threads=threads)
    assert streams == [kempressed.encode(array) for array in arrays]
    for decoded, stream in zip(
        kempressed.decode_many(streams, threads=threads), streams, strict=True
    ):
        np.testing.assert_array_equal(decoded, kempressed.decode(stream))


def test_only_float32_is_affinity():
    with pytest.raises(CodecError, match="float32, not float64"):
        kempressed.encode(np.zeros((2, 2, 2, 3)))
    with pytest.raises(CodecError, match="float64"):
        kempressed.decode(fpzip.encode(np.zeros((2, 2, 2, 3))))


def test_damage_is_an_error():
    stream = kempressed.encode(affinities((16, 16, 4, 3)))
    for damaged in (stream[:-1], stream + b"\0", stream[: len(stream) // 2], b""):
        with pytest.raises(CodecError):
            kempressed.decode(damaged)


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=20),
        elements=st.one_of(
            st.floats(0, 1, width=32),
            st.floats(width=32),
            st.sampled_from([0.0, -0.0, 1.0, -1e-45, np.nextafter(np.float32(1), 2), np.nan]),
        ),
    ),
    st.permutations(range(4)),
    st.sampled_from([1, -1, 2]),
)
def test_a_survey_tells_what_encoding_would_do(array, order, step):
    chunk = array.transpose(order)[::step]
    finite = chunk[np.isfinite(chunk)].astype(np.float64)
    decoded = kempressed.decode(kempressed.encode(chunk))
    error = np.abs(decoded[np.isfinite(chunk)] - finite).max(initial=0.0)
    assert kempressed.survey(chunk) == (
        np.count_nonzero((finite < 0) | (finite > 1)),
        np.count_nonzero(np.isnan(chunk)),
        np.count_nonzero(np.isinf(chunk)),
        error,
    )


def test_a_survey_counts_in_rows_of_any_length():
    for length in (*range(1, 40), 1000):
        chunk = np.full((length, 9, 2), 0.5, np.float32)
        chunk[-1, ::2] = 2
        chunk[0, 8, 1] = np.nan
        assert kempressed.survey(chunk)[:3] == (10 - (length == 1), 1, 0)
