"""zarr arrays, of format 2 and 3, stored as fpzip and kempressed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_kemp.codec import SectionTable, fpzip, kempressed
from napari_kemp.errors import CodecError

zarr = pytest.importorskip("zarr")

SHAPE = (3, 10, 33, 41)  # c, z, y, x
CHUNKS = (3, 4, 16, 32)


def affinities(dtype: Any = np.float32) -> NDArray[Any]:
    rng = np.random.default_rng(0)
    return np.clip(np.cumsum(rng.normal(0, 0.03, SHAPE), 3) + 0.5, 0, 1).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("precision", [0, 24])
def test_format_3_fpzip(tmp_path: Path, dtype: Any, precision: int) -> None:
    array = affinities(dtype)
    stored = zarr.create_array(
        tmp_path / "a.zarr",
        shape=SHAPE,
        chunks=CHUNKS,
        dtype=dtype,
        serializer={"name": "fpzip", "configuration": {"precision": precision}},
        compressors=None,
    )
    stored[:] = array
    again = zarr.open_array(tmp_path / "a.zarr", mode="r")[:]
    if precision == 0:
        assert np.array_equal(again, array)
    else:
        assert np.allclose(again, array, rtol=2**-11, atol=1e-7)
    chunk = (tmp_path / "a.zarr" / "c" / "0" / "1" / "1" / "0").read_bytes()
    assert chunk == fpzip.encode(array[:, 4:8, 16:32, :32].T, precision)


def test_format_3_kempressed(tmp_path: Path) -> None:
    array = affinities()
    stored = zarr.create_array(
        tmp_path / "a.zarr",
        shape=SHAPE,
        chunks=CHUNKS,
        dtype="float32",
        serializer={"name": "kempressed", "configuration": {"seekable": True}},
        compressors=None,
    )
    stored[:] = array
    again = zarr.open_array(tmp_path / "a.zarr", mode="r")
    assert np.array_equal(again[:], (array + np.float32(2)) - np.float32(2))
    metadata = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    codec = {"name": "kempressed", "configuration": {"seekable": True}}
    assert metadata["codecs"] == [codec]
    chunk = (tmp_path / "a.zarr" / "c" / "0" / "0" / "0" / "0").read_bytes()
    assert len(SectionTable.read(chunk).entries) == 4
    assert np.array_equal(kempressed.decode(chunk).T, again[:, :4, :16, :32])


def test_format_3_in_shards_and_with_other_codecs(tmp_path: Path) -> None:
    array = affinities()
    stored = zarr.create_array(
        tmp_path / "a.zarr",
        shape=SHAPE,
        chunks=CHUNKS,
        shards=(3, 8, 32, 64),
        dtype="float32",
        serializer={"name": "fpzip", "configuration": {}},
        compressors=zarr.codecs.ZstdCodec(),
    )
    stored[:] = array
    assert np.array_equal(
        zarr.open_array(tmp_path / "a.zarr")[:, 3:9, 5:20, 7], array[:, 3:9, 5:20, 7]
    )


def test_format_3_refuses_what_is_no_float(tmp_path: Path) -> None:
    for name, dtype in (("fpzip", "uint8"), ("kempressed", "float64")):
        with pytest.raises(CodecError, match=dtype):
            zarr.create_array(
                tmp_path / name,
                shape=SHAPE,
                chunks=CHUNKS,
                dtype=dtype,
                serializer={"name": name, "configuration": {}},
            )


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_format_2(tmp_path: Path, order: str, dtype: Any) -> None:
    import numcodecs

    array = affinities(dtype)
    stored = zarr.create_array(
        tmp_path / "a.zarr",
        shape=SHAPE,
        chunks=CHUNKS,
        dtype=dtype,
        order=order,
        zarr_format=2,
        filters=None,
        compressors=numcodecs.get_codec({"id": "fpzip", "seekable": True}),
    )
    stored[:] = array
    again = zarr.open_array(tmp_path / "a.zarr", mode="r")
    assert np.array_equal(again[:], array)
    metadata = json.loads((tmp_path / "a.zarr" / ".zarray").read_text())
    assert metadata["compressor"] == {"id": "fpzip", "precision": 0, "seekable": True}


def test_format_2_kempressed(tmp_path: Path) -> None:
    import numcodecs

    array = affinities()
    stored = zarr.create_array(
        tmp_path / "a.zarr",
        shape=SHAPE,
        chunks=CHUNKS,
        dtype="float32",
        zarr_format=2,
        filters=None,
        compressors=numcodecs.get_codec({"id": "kempressed"}),
    )
    stored[:] = array
    again = zarr.open_array(tmp_path / "a.zarr", mode="r")[:]
    assert np.array_equal(again, (array + np.float32(2)) - np.float32(2))
    chunk = (tmp_path / "a.zarr" / "0.0.0.0").read_bytes()
    assert chunk == kempressed.encode(array[:, :4, :16, :32].T)


@pytest.mark.parametrize("name", ["fpzip", "kempressed"])
def test_numcodecs_alone(name: str) -> None:
    import numcodecs

    codec = numcodecs.get_codec({"id": name})
    assert codec == numcodecs.get_codec(codec.get_config())
    chunk = affinities()[:, :2]
    out = np.empty_like(chunk)
    assert codec.decode(codec.encode(chunk), out=out) is out
    assert np.allclose(out, chunk, atol=2**-22)


def test_more_axes_than_a_stream_has(tmp_path: Path) -> None:
    for shape in ((1, 3, 4, 5, 6), (5, 6)):
        array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        stored = zarr.create_array(
            tmp_path / str(len(shape)),
            shape=shape,
            chunks=shape,
            dtype="float32",
            serializer={"name": "fpzip", "configuration": {}},
        )
        stored[:] = array
        assert np.array_equal(stored[:], array)
