"""The plain codec of ``plain_codec.cpp``, compiled on first use with the system's compiler."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOURCE = Path(__file__).with_name("plain_codec.cpp")


@functools.cache
def library() -> ctypes.CDLL | None:
    """Load the compiled codec, or return None where there is no compiler."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        return None
    folder = tempfile.mkdtemp(prefix="plain-codec-")
    built = Path(folder) / "plain_codec.so"
    command = [compiler, "-std=c++17", "-O2", "-shared", "-fPIC", str(SOURCE), "-o", str(built)]
    subprocess.run(command, check=True)
    loaded = ctypes.CDLL(str(built))
    shutil.rmtree(folder, ignore_errors=True)  # it stays loaded
    loaded.plain_encode.restype = ctypes.c_size_t
    loaded.plain_decode.restype = ctypes.c_size_t
    return loaded


def _extent(shape: tuple[int, ...]) -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * 4)(*shape)


def encode(array: NDArray[Any], precision: int = 0) -> bytes:
    """Encode an array (x, y, z, c)."""
    loaded = library()
    assert loaded is not None
    samples = np.array(array, order="F", copy=True)
    out = np.empty(samples.nbytes * 2 + 1024, np.uint8)
    size = loaded.plain_encode(
        samples.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_uint32(samples.dtype == np.float64),
        ctypes.c_uint32(precision),
        _extent(samples.shape),
        out.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_size_t(out.size),
    )
    assert size <= out.size
    return out[:size].tobytes()


def decode(data: bytes, shape: tuple[int, ...], dtype: Any, precision: int = 0) -> NDArray[Any]:
    """Decode a stream whose header is known."""
    loaded = library()
    assert loaded is not None
    samples = np.zeros(shape, dtype, order="F")
    taken = loaded.plain_decode(
        data,
        ctypes.c_size_t(len(data)),
        samples.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_uint32(samples.dtype == np.float64),
        ctypes.c_uint32(precision),
        _extent(shape),
    )
    assert taken == len(data)
    return samples
