"""fpzip streams against the reference: equal bytes out, equal arrays back, damage is an error."""

import resource
import shutil
import subprocess

import numpy as np
import pytest
from damage import stream_with_header
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_kemp import CodecError
from napari_kemp.codec import fpzip

reference = pytest.importorskip("fpzip", reason="PyPI fpzip is the oracle")

FLOAT32_PRECISIONS = [0, *range(2, 33)]
FLOAT64_PRECISIONS = [0, *range(4, 65, 2)]
TYPES_AND_PRECISIONS = [(np.float32, p) for p in FLOAT32_PRECISIONS] + [
    (np.float64, p) for p in FLOAT64_PRECISIONS
]

# The reference's buffer holds the array's own size and this much more; beyond, it corrupts the
# heap of the process that calls it.
REFERENCE_HEADROOM = 64


def reference_encode(array, precision=0):
    return reference.compress(np.asfortranarray(array), precision=precision, order="F")


def fits_reference(stream, array):
    return len(stream) <= array.nbytes + REFERENCE_HEADROOM


def same_bits(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes("F") == b.tobytes("F")


def smooth(shape, dtype, seed=0, scale=0.01):
    steps = np.random.default_rng(seed).normal(scale=scale, size=shape)
    return np.asfortranarray(np.cumsum(steps, axis=0).astype(dtype))


@st.composite
def arrays(draw, special_values):
    """Arrays of one to four axes, in any order and with any strides, also reversed and stepped."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    width = 32 if dtype is np.float32 else 64
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=7))
    values = st.one_of(
        st.floats(0, 1, width=width),
        st.floats(width=width, allow_nan=False, allow_infinity=False),
        st.sampled_from([0.0, -0.0, 1e-40, -1e-310, *special_values]),
    )
    array = draw(hnp.arrays(dtype, shape, elements=values, fill=st.just(dtype(0.5))))
    if draw(st.booleans()):
        array = np.asfortranarray(array)
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    steps = draw(st.tuples(*[st.sampled_from([1, 2, -1])] * array.ndim))
    return array[tuple(slice(None, None, step) for step in steps)]


@st.composite
def arrays_and_precisions(draw, special_values=()):
    array = draw(arrays(special_values))
    legal = FLOAT32_PRECISIONS if array.dtype == np.float32 else FLOAT64_PRECISIONS
    return array, draw(st.sampled_from(legal))


def check_against_reference(array, precision):
    stream = fpzip.encode(array, precision)
    assume(fits_reference(stream, array))
    assert stream == reference_encode(array, precision)
    decoded = fpzip.decode(stream)
    if array.size:
        assert same_bits(decoded, reference.decompress(stream, order="F"))
    assert decoded.shape == array.shape + (1,) * (4 - array.ndim)
    assert decoded.flags.f_contiguous
    if precision in (0, array.itemsize * 8):
        assert same_bits(decoded.reshape(array.shape, order="F"), array)


@settings(max_examples=400, deadline=None)
@given(arrays_and_precisions([np.inf, -np.inf]))
def test_streams_equal_the_references_for_any_array_without_nan(case):
    check_against_reference(*case)


@settings(max_examples=150, deadline=None)
@given(arrays_and_precisions([np.nan]))
def test_streams_equal_the_references_where_one_nan_pattern_occurs(case):
    check_against_reference(*case)


@settings(max_examples=300, deadline=None)
@given(
    hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6).flatmap(
        lambda shape: st.one_of(
            hnp.arrays(np.uint32, shape).map(lambda bits: bits.view(np.float32)),
            hnp.arrays(np.uint64, shape).map(lambda bits: bits.view(np.float64)),
        )
    )
)
def test_lossless_keeps_every_bit_of_random_bits(array):
    decoded = fpzip.decode(fpzip.encode(array))
    assert same_bits(decoded.reshape(array.shape, order="F"), array)


@pytest.mark.parametrize(("dtype", "precision"), TYPES_AND_PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (40, 30, 5, 2), (1, 70, 1, 3)])
def test_every_legal_precision(dtype, precision, shape):
    array = smooth(shape, dtype)
    stream = fpzip.encode(array, precision)
    assert stream == reference_encode(array, precision)
    assert same_bits(fpzip.decode(stream), reference.decompress(stream, order="F"))
    header = fpzip.header(stream)
    assert (header.dtype, header.shape, header.precision) == (dtype, shape, precision)


@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e-1])
def test_millions_of_samples(scale):
    # Long enough to pass the coder's rare states: cut ranges, and numbers of no bits after them.
    array = smooth((128, 128, 100, 2), np.float32, scale=scale) + np.float32(2)
    stream = fpzip.encode(array)
    assert stream == reference_encode(array)
    assert same_bits(fpzip.decode(stream), array)


@pytest.mark.skipif(shutil.which("fpzip") is None, reason="LLNL's command fpzip is not installed")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_that_expand_equal_llnls_command(tmp_path, dtype):
    raw = np.random.default_rng(0).integers(0, 256, 9 * 8 * 7 * np.dtype(dtype).itemsize, np.uint8)
    array = raw.view(dtype).reshape((9, 8, 7), order="F")
    array = np.where(np.isnan(array), dtype(1), array)
    source, target = tmp_path / "raw", tmp_path / "fpz"
    array.T.tofile(source)
    kind = "float" if dtype is np.float32 else "double"
    subprocess.run(
        ["fpzip", "-i", source, "-o", target, "-t", kind, "-3", "9", "8", "7"],
        check=True,
        capture_output=True,
    )
    # The command names the full precision in the header, where the library writes 0.
    stream = fpzip.encode(array, precision=array.itemsize * 8)
    assert len(stream) > array.nbytes
    assert stream == target.read_bytes()


def test_decode_writes_into_any_strides():
    array = smooth((12, 7, 5, 3), np.float32)
    stream = fpzip.encode(array)
    parent = np.full((3, 10, 7, 24), -1, np.float32)
    out = parent[:, ::2, ::-1, ::2].transpose(3, 2, 1, 0)
    assert fpzip.decode(stream, out=out) is out
    np.testing.assert_array_equal(out, array)
    assert (parent[:, 1::2] == -1).all()
    assert (parent[..., 1::2] == -1).all()


def test_foreign_byte_order_and_unaligned_samples():
    array = smooth((9, 8, 7, 1), np.float32)
    records = np.zeros(array.shape, np.dtype([("tag", "u1"), ("value", "f4")]))
    records["value"] = array
    expected = fpzip.encode(array)
    assert fpzip.encode(array.astype(">f4")) == expected
    assert fpzip.encode(records["value"]) == expected


@pytest.mark.parametrize("threads", [1, 3])
def test_many_chunks_at_once_equal_one_by_one(threads):
    chunks = [smooth((20, 15, 4, 2), np.float32, seed=seed) for seed in range(7)]
    streams = fpzip.encode_many(chunks, precision=20, threads=threads)
    assert streams == [fpzip.encode(chunk, 20) for chunk in chunks]
    outs = [np.empty((20, 15, 4, 2), np.float32) for _ in chunks]
    decoded = fpzip.decode_many(streams, outs, threads=threads)
    for stream, out, result in zip(streams, outs, decoded, strict=True):
        assert result is out
        assert same_bits(out, fpzip.decode(stream))


def test_buffers_of_any_kind_are_read():
    stream = fpzip.encode(smooth((6, 5, 4, 1), np.float64))
    expected = fpzip.decode(stream)
    for data in (bytearray(stream), memoryview(stream), np.frombuffer(stream, np.uint8)):
        assert same_bits(fpzip.decode(data), expected)


STREAM = fpzip.encode(smooth((24, 20, 6, 2), np.float32))


@pytest.mark.parametrize("size", [*range(40), *range(40, len(STREAM), 97), len(STREAM) - 1])
def test_a_truncated_stream_is_an_error(size):
    with pytest.raises(CodecError):
        fpzip.decode(STREAM[:size])


@pytest.mark.parametrize("extra", [b"\0", b"\0" * 4, b"trailing"])
def test_an_overlong_stream_is_an_error(extra):
    with pytest.raises(CodecError, match="trailing bytes"):
        fpzip.decode(STREAM + extra)


@pytest.mark.parametrize(
    ("position", "message"),
    [(0, "not an fpzip stream"), (2, "not an fpzip stream"), (4, "version")],
)
def test_wrong_magic_and_version_are_errors(position, message):
    damaged = bytearray(STREAM)
    damaged[position] ^= 0x10
    with pytest.raises(CodecError, match=message):
        fpzip.header(damaged)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(STREAM) - 1), st.integers(1, 255))
def test_a_flipped_byte_gives_an_error_or_an_array_of_the_headers_shape(position, mask):
    damaged = bytearray(STREAM)
    damaged[position] ^= mask
    try:
        decoded = fpzip.decode(damaged)
    except CodecError:
        return
    assert decoded.shape == fpzip.header(damaged).shape


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data):
    with pytest.raises(CodecError):
        fpzip.decode(data)


@pytest.mark.parametrize(("nx", "size"), [(60_000_000, 11_028), (2**31 - 1, 400_000)])
def test_few_bytes_cannot_claim_much_memory(nx, size):
    stream = stream_with_header((nx, 1, 1, 1), size)
    assert fpzip.header(stream).shape == (nx, 1, 1, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CodecError):
        fpzip.decode(stream)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024  # kilobytes


def test_a_header_that_promises_more_than_its_bytes_could_hold_is_refused_at_once():
    for nx in (200_000, 2**31 - 1, 2**32 - 1):
        with pytest.raises(CodecError, match=r"more than 30 bytes can hold|too large"):
            fpzip.header(stream_with_header((nx, 1, 1, 1), 30))


@pytest.mark.parametrize("precision", [1, 33, 40])
def test_illegal_precisions_of_float32(precision):
    with pytest.raises(CodecError, match=f"precision {precision}"):
        fpzip.encode(np.zeros((2, 2), np.float32), precision)


@pytest.mark.parametrize("precision", [-1, 2, 5, 63, 65, 1000])
def test_illegal_precisions_of_float64(precision):
    with pytest.raises(CodecError, match=f"precision {precision}"):
        fpzip.encode(np.zeros((2, 2), np.float64), precision)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2), np.uint8), "float32 or float64, not uint8"),
        (np.zeros((2, 2), np.float16), "not float16"),
        (np.float32(1), "one to four axes, not 0"),
        (np.zeros((1,) * 5, np.float32), "one to four axes, not 5"),
    ],
)
def test_arrays_that_cannot_be_encoded(array, message):
    with pytest.raises(CodecError, match=message):
        fpzip.encode(array)


@pytest.mark.parametrize("precision", [1.5, "16", None])
def test_a_precision_is_a_whole_number(precision):
    with pytest.raises(CodecError, match="whole number"):
        fpzip.encode(np.zeros((2, 2), np.float32), precision)


def test_outs_that_do_not_fit_are_refused_untouched():
    stream = fpzip.encode(smooth((4, 3, 2, 1), np.float32))
    for out in (np.full((4, 3, 2, 2), 7, np.float32), np.full((4, 3, 2, 1), 7, np.float64)):
        with pytest.raises(CodecError, match="`out`"):
            fpzip.decode(stream, out=out)
        assert (out == 7).all()
    with pytest.raises(CodecError, match="numpy array, not list"):
        fpzip.decode(stream, out=[1])
    frozen = np.zeros((4, 3, 2, 1), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(CodecError, match="read-only"):
        fpzip.decode(stream, out=frozen)


def test_the_gil_is_released_while_decoding():
    import threading

    stream = fpzip.encode(smooth((256, 256, 30, 1), np.float32))
    worker = threading.Thread(target=lambda: fpzip.decode_many([stream] * 3))
    steps = 0
    worker.start()
    while worker.is_alive():
        steps += 1
    worker.join()
    # With the GIL held this loop would only turn before, between and after the three calls.
    assert steps > 1000
