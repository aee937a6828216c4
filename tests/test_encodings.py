import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_kemp.codec import kempressed
from napari_kemp.errors import CodecError
from napari_kemp.precomputed import ScaleInfo
from napari_kemp.precomputed.encodings import ENCODINGS, find_encoder, find_encoding
from napari_kemp.precomputed.transport import SUFFIXES, unwrap, wrap_gzip


def scale(encoding: str, **members) -> ScaleInfo:
    return ScaleInfo.model_validate(
        {
            "key": "k",
            "size": [1, 1, 1],
            "resolution": [1, 1, 1],
            "chunk_sizes": [[1, 1, 1]],
            "encoding": encoding,
            **members,
        }
    )


def random_chunk(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    values = rng.integers(0, np.iinfo(dtype).max, 5, dtype=dtype, endpoint=True)
    return rng.choice(values, shape)


CASES = [
    ("raw", "uint8"),
    ("raw", "int16"),
    ("raw", "uint64"),
    ("raw", "float64"),
    ("fpzip", "float32"),
    ("fpzip", "float64"),
    ("kempressed", "float32"),
    ("compressed_segmentation", "uint32"),
    ("compressed_segmentation", "uint64"),
]


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (9, 17, 5, 3), (16, 8, 8, 1)])
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_bytes_are_understood_by_cloudvolume_and_the_other_way_round(name, dtype, shape):
    from cloudvolume import chunks

    if name == "compressed_segmentation" and shape[-1] > 1:
        pytest.skip("the package that CloudVolume uses crashes on more than one channel")
    block = (8, 8, 8)
    chunk = random_chunk(shape, dtype)
    encoding, info = find_encoding(name), scale(name)
    ours = encoding.encode_many([chunk], info, False)[0]
    theirs = chunks.encode(np.asfortranarray(chunk), name, block_size=block)
    if name != "compressed_segmentation":
        assert ours == bytes(theirs)
    decoded = encoding.decode(bytes(theirs), shape, np.dtype(dtype), info)
    assert decoded.shape == shape
    assert decoded.dtype == dtype
    expected = chunks.decode(ours, name, shape=shape, dtype=dtype, block_size=block)
    np.testing.assert_array_equal(decoded, expected)
    if name != "kempressed":
        np.testing.assert_array_equal(decoded, chunk)


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_chunk_of_another_shape_or_type_is_refused(name, dtype):
    encoding, info = find_encoding(name), scale(name)
    data = encoding.encode_many([random_chunk((9, 7, 5, 2), dtype)], info, False)[0]
    for shape in [(9, 7, 5, 3), (10, 7, 5, 2)]:
        if name == "compressed_segmentation" and shape[0] == 10:
            continue  # the same blocks: only another size of them can tell
        with pytest.raises(CodecError):
            encoding.decode(data, shape, np.dtype(dtype), info)
    for damaged in (b"", data[: len(data) // 2 + 1]):
        with pytest.raises(CodecError):
            encoding.decode(damaged, (9, 7, 5, 2), np.dtype(dtype), info)


def test_a_stream_of_the_other_float_type_is_refused():
    chunk = random_chunk((4, 4, 4, 1), "float64")
    encoding, info = find_encoding("fpzip"), scale("fpzip")
    with pytest.raises(CodecError, match=r"expected float32 .* holds float64"):
        encoding.decode(
            encoding.encode_many([chunk], info, False)[0], chunk.shape, np.dtype("float32"), info
        )


def test_the_shape_is_checked_before_anything_is_allocated():
    # A stream that is honest about being larger than the grid says.
    data = kempressed.encode(np.zeros((256, 256, 64, 1), np.float32))
    with pytest.raises(CodecError, match=r"expected float32 of shape \(8, 8, 8, 1\)"):
        find_encoding("kempressed").decode(
            data, (8, 8, 8, 1), np.dtype("float32"), scale("kempressed")
        )


def test_the_scale_says_how_precisely_fpzip_encodes():
    fpzip = pytest.importorskip("fpzip")
    chunk = random_chunk((8, 8, 8, 1), "float32")
    (ours,) = find_encoding("fpzip").encode_many([chunk], scale("fpzip", fpzip_precision=16), False)
    assert ours == fpzip.compress(np.asfortranarray(chunk), precision=16, order="F")


def test_encoding_takes_any_strides():
    for name, dtype in CASES:
        encoding, info = find_encoding(name), scale(name)
        chunk = random_chunk((3, 5, 9, 7), dtype).T
        view = np.repeat(chunk, 2, axis=0)[::2, ::-1]
        one, other = encoding.encode_many([view, view.copy(order="F")], info, False)
        assert one == other


def test_unknown_encodings_say_what_is_supported():
    with pytest.raises(CodecError, match="'bossdb' is not supported; supported are kempressed, fp"):
        find_encoding("bossdb")
    with pytest.raises(CodecError, match="'png' can be read but not written; choose kempressed"):
        find_encoder("png")
    writable = {name for name, encoding in ENCODINGS.items() if encoding.encode_many}
    assert writable == {"kempressed", "fpzip", "raw", "compressed_segmentation"}


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3, st.integers(1, 2)),
    block=st.tuples(*[st.integers(1, 9)] * 3),
    labels=st.integers(1, 400),
    dtype=st.sampled_from(["uint32", "uint64"]),
    seed=st.integers(0, 2**32),
)
def test_segmentations_with_any_block_size_and_number_of_labels(shape, block, labels, dtype, seed):
    rng = np.random.default_rng(seed)
    chunk = rng.integers(0, np.iinfo(dtype).max, labels, dtype=dtype)[
        rng.integers(0, labels, shape)
    ]
    info = scale("compressed_segmentation", compressed_segmentation_block_size=block)
    encoding = find_encoding("compressed_segmentation")
    decoded = encoding.decode(
        encoding.encode_many([chunk], info, False)[0], shape, np.dtype(dtype), info
    )
    np.testing.assert_array_equal(decoded, chunk)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_segmentations_raise_or_decode_but_never_crash(data):
    chunk = random_chunk((16, 16, 9, 1), "uint64")
    encoding, info = find_encoding("compressed_segmentation"), scale("compressed_segmentation")
    damaged = bytearray(encoding.encode_many([chunk], info, False)[0])
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, 150))] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(damaged), len(damaged) // 8 * 4, 4]))
    try:
        decoded = encoding.decode(bytes(damaged[:end]), chunk.shape, chunk.dtype, info)
    except CodecError:
        return
    assert decoded.shape == chunk.shape


def wrapped(data: bytes, suffix: str) -> bytes:
    import brotli
    import zstandard

    if suffix == ".gz":
        return wrap_gzip(data)
    if suffix == ".br":
        return brotli.compress(data)
    if suffix == ".zstd":
        return zstandard.compress(data)
    return data


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("data", [b"", b"membrane" * 50_000, bytes(range(256))])
def test_transport_compression_is_undone(suffix, data):
    assert unwrap(wrapped(data, suffix), suffix, limit=len(data)) == data


@pytest.mark.parametrize("suffix", SUFFIXES[1:])
def test_damaged_and_overlong_transport_is_refused(suffix):
    good = wrapped(b"membrane" * 1000, suffix)
    for damaged in (good[: len(good) // 2], b"nothing of that kind", b""):
        with pytest.raises(CodecError, match=suffix.strip(".")[:2]):
            unwrap(damaged, suffix, limit=10_000)
    bomb = wrapped(bytes(100_000_000), suffix)
    with pytest.raises(CodecError, match="more than 10000 bytes"):
        unwrap(bomb, suffix, limit=10_000)


def test_gzip_of_several_members():
    assert unwrap(wrap_gzip(b"ab") + wrap_gzip(b"cd"), ".gz", limit=4) == b"abcd"
    # Of a hundred thousand empty ones, each is a look at its own bytes, not at all that follow.
    assert unwrap(wrap_gzip(b"") * 100_000 + wrap_gzip(b"x"), ".gz", limit=4) == b"x"


def test_zstd_of_unknown_length():
    import zstandard

    writer = zstandard.ZstdCompressor().compressobj()
    data = writer.compress(b"x" * 5000) + writer.flush()
    assert unwrap(data, ".zstd", limit=5000) == b"x" * 5000
