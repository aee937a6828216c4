"""Encodings of other packages: what CloudVolume writes is read."""

import struct
import zlib

import numpy as np
import pytest
from cloudvolume import chunks
from test_encodings import scale

from napari_kemp import ChunkError, InfoError, create_volume, open_volume
from napari_kemp.errors import CodecError
from napari_kemp.precomputed import foreign

DTYPES = {"compresso": "uint64", "crackle": "uint64", "zfpc": "float32"}

CASES = [
    ("jpeg", "uint8", 1),
    ("jpeg", "uint8", 3),
    ("png", "uint8", 1),
    ("png", "uint8", 3),
    ("jxl", "uint8", 1),
    ("compresso", "uint64", 1),
    ("compresso", "uint32", 1),
    ("crackle", "uint64", 1),
    ("crackle", "uint16", 1),
    ("zfpc", "float32", 1),
    ("zfpc", "float32", 3),
]


def smooth(shape, dtype):
    """Blobs that lossy encodings hardly change, and different along each axis."""
    axes = np.meshgrid(*(np.linspace(0, 3 + i, n) for i, n in enumerate(shape)), indexing="ij")
    wave = sum(np.sin(axis) for axis in axes)
    wave = (wave - wave.min()) / np.ptp(wave)
    if np.dtype(dtype).kind == "f":
        return wave.astype(dtype)
    return (wave * (200 if dtype == "uint8" else 40000)).astype(dtype)


def write_with_cloudvolume(folder, encoding, dtype, channels, values):
    from cloudvolume import CloudVolume

    segmentation = encoding in ("compresso", "crackle")
    info = CloudVolume.create_new_info(
        num_channels=channels,
        layer_type="segmentation" if segmentation else "image",
        data_type=dtype,
        encoding=encoding,
        resolution=(4, 4, 40),
        voxel_offset=(3, -5, 7),
        chunk_size=(16, 12, 5),
        volume_size=values.shape[:3],
    )
    volume = CloudVolume(f"file://{folder}", info=info, progress=False)
    volume.commit_info()
    volume[:, :, :] = values
    return volume


@pytest.mark.parametrize(("encoding", "dtype", "channels"), CASES)
def test_what_cloudvolume_writes_is_read(tmp_path, encoding, dtype, channels):
    values = smooth((37, 29, 11, channels), dtype)
    if encoding in ("compresso", "crackle"):
        values //= 40
    theirs = write_with_cloudvolume(tmp_path / "v", encoding, dtype, channels, values)
    ours = open_volume(tmp_path / "v").scales[0].array
    found = ours[...].T
    assert found.dtype == dtype
    # Where CloudVolume mixes colours up, and where all is kept, what was written decides.
    lossless = encoding in ("png", "compresso", "crackle")
    if channels == 1 or encoding == "zfpc":
        np.testing.assert_array_equal(found, np.asarray(theirs[:, :, :]))
    span = 1 if dtype == "float32" else 255
    tolerance = 0 if lossless else 0.05 * span
    assert np.abs(found.astype(float) - values).max() <= tolerance
    np.testing.assert_array_equal(ours[0, 6, ::2], found[:, ::2, 6, 0].T)


@pytest.mark.parametrize("encoding", sorted(foreign.PACKAGES))
def test_without_the_package_the_error_names_it(tmp_path, monkeypatch, encoding):
    dtype = {"compresso": "uint64", "crackle": "uint64", "zfpc": "float32"}.get(encoding, "uint8")
    values = smooth((16, 12, 5, 1), dtype)
    write_with_cloudvolume(tmp_path / "v", encoding, dtype, 1, values)
    array = open_volume(tmp_path / "v").scales[0].array

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(foreign.importlib, "import_module", missing)
    package = foreign.PACKAGES[encoding]
    with pytest.raises(ChunkError, match=f"chunk .*: .* pip install {package}, or pip install 'n"):
        array[...]
    monkeypatch.undo()
    assert array[...].any()


@pytest.mark.parametrize("encoding", sorted(foreign.PACKAGES))
def test_damage_is_an_error_of_the_chunk(tmp_path, encoding):
    dtype = {"compresso": "uint64", "crackle": "uint64", "zfpc": "float32"}.get(encoding, "uint8")
    write_with_cloudvolume(tmp_path / "v", encoding, dtype, 1, smooth((32, 12, 5, 1), dtype))
    array = open_volume(tmp_path / "v").scales[0].array
    first, second = sorted((tmp_path / "v" / "4_4_40").iterdir())
    good = second.read_bytes()
    first.write_bytes(b"" if encoding == "compresso" else good[:7])
    with pytest.raises(ChunkError, match="scale 4_4_40, chunk "):
        array[...]
    write_with_cloudvolume(tmp_path / "other", encoding, dtype, 1, smooth((9, 12, 5, 1), dtype))
    (other,) = (tmp_path / "other" / "4_4_40").iterdir()
    if other.suffix == first.suffix:
        first.write_bytes(other.read_bytes())
        with pytest.raises(ChunkError, match="expected"):
            array[...]


@pytest.mark.parametrize("encoding", sorted(foreign.PACKAGES))
def test_truncated_and_flipped_chunks_are_refused_or_have_the_shape(encoding):
    """In this process: what a package does with bytes of its own may be its end."""
    dtype = np.dtype(DTYPES.get(encoding, "uint8"))
    values = smooth((16, 12, 5, 1), dtype)
    if encoding in ("compresso", "crackle"):
        values //= 40
    good = bytes(chunks.encode(np.asfortranarray(values), encoding))
    decode, info = foreign.foreign_decoder(encoding), scale(encoding)
    whole = decode(good, values.shape, dtype, info)
    for end in {*range(64), *range(64, len(good), 7), *range(len(good) - 40, len(good))}:
        try:
            found = decode(good[:end], values.shape, dtype, info)
        except CodecError:
            continue
        # The last bytes of a png are checksums of nothing that is drawn.
        assert encoding == "png"
        np.testing.assert_array_equal(found, whole)

    rng = np.random.default_rng(0)
    flips = [*range(8 * 64), *rng.integers(8 * 64, 8 * len(good), 500)]
    for bit in flips:
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = decode(bytes(damaged), values.shape, dtype, info)
        except CodecError:
            continue
        assert (found.shape, found.dtype) == (values.shape, dtype)


def test_pictures_of_billions_of_pixels_are_not_decoded():
    """A few bytes say so; what they would take is neither allocated nor filled."""
    import imagecodecs

    small = imagecodecs.png_encode(np.zeros((60, 16), np.uint8))
    # Width and height are the first eight bytes of the header; its checksum covers them.
    header = b"IHDR" + struct.pack(">II", 50_000, 50_000) + small[24:29]
    bomb = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    with pytest.raises(CodecError, match=r"expected a picture of 960 pixels .*50000, 50000"):
        foreign.foreign_decoder("png")(bomb, (16, 12, 5, 1), np.dtype("uint8"), scale("png"))


@pytest.mark.parametrize("sides", [(60, 16), (5, 192), (1, 960), (960, 1)])
def test_pictures_have_the_sides_that_their_writer_chose(sides):
    import imagecodecs

    values = smooth((16, 12, 5, 1), "uint8")
    data = imagecodecs.png_encode(np.ascontiguousarray(values.T).reshape(sides))
    found = foreign.foreign_decoder("png")(data, values.shape, values.dtype, scale("png"))
    np.testing.assert_array_equal(found, values)


def compresso_of(values, windows_change):
    """A stream of one section of which the windows have been changed."""
    import compresso

    stream = bytearray(compresso.compress(np.asfortranarray(values), steps=(4, 4, 1)))
    header = compresso.header(bytes(stream))
    first = 36 + 8 * (header["id_size"] + header["location_size"]) + 2 * header["value_size"]
    windows_change(stream, first)
    return bytes(stream)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (0xFFFF, "expected 12 compresso blocks"),
        (0xFFFE, "has no value"),
        (2 * 5 + 1, "expected 12"),
    ],
)
def test_compresso_windows_stay_in_the_chunk(run, message):
    """The package writes a window to where the runs before it lead, wherever that is."""
    values = smooth((16, 12, 1, 1), "uint64") // 40

    def change(stream, first):
        stream[first : first + 2] = struct.pack("<H", run)

    decode = foreign.foreign_decoder("compresso")
    decode(compresso_of(values, lambda *_: None), values.shape, values.dtype, scale("compresso"))
    with pytest.raises(CodecError, match=message):
        decode(compresso_of(values, change), values.shape, values.dtype, scale("compresso"))


def test_they_cannot_be_written(tmp_path):
    with pytest.raises(InfoError, match="'jpeg' can be read but not written; choose kempressed"):
        create_volume(
            tmp_path / "v",
            size=(9, 9, 9),
            resolution=(1, 1, 1),
            chunk_size=(9, 9, 9),
            encoding="jpeg",
            data_type="uint8",
            num_channels=1,
        )


def test_one_volume_mixes_encodings(tmp_path):
    values = smooth((32, 24, 10, 1), "uint8")
    theirs = write_with_cloudvolume(tmp_path / "v", "png", "uint8", 1, values)
    theirs.add_scale((2, 2, 1), encoding="raw")
    theirs.commit_info()
    coarse = values[::2, ::2]
    from cloudvolume import CloudVolume

    CloudVolume(f"file://{tmp_path / 'v'}", mip=1, progress=False)[:, :, :] = coarse
    volume = open_volume(tmp_path / "v")
    assert [scale.info.encoding for scale in volume.scales] == ["png", "raw"]
    np.testing.assert_array_equal(volume.scales[0].array[...].T, values)
    np.testing.assert_array_equal(volume.scales[1].array[0].T[:16, :12], coarse[..., 0])
