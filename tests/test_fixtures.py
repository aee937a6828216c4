"""The bytes of the format, pinned: those that were written stay readable, and are written again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fixtures.make import FOLDER, Case, cases
from numpy.typing import NDArray
from reference import plain

from napari_kemp.codec import SectionTable, _core

CASES = {case.name: case for case in cases()}
of_all_cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def stream_of(case: Case) -> bytes:
    return (FOLDER / f"{case.name}.fpz").read_bytes()


def plain_stream_of(case: Case) -> bytes:
    """The bytes in front of the section table."""
    data = stream_of(case)
    table = SectionTable.find(data)
    return data if table is None else data[: table.length]


def as_stored(case: Case) -> NDArray[Any]:
    """The array that goes into the stream."""
    if not case.kempressed:
        return case.array
    return np.asfortranarray((case.array + np.float32(2)).transpose(0, 1, 3, 2))


def same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return (a.shape, a.dtype, a.tobytes("F")) == (b.shape, b.dtype, b.tobytes("F"))


def test_every_fixture_is_of_a_case() -> None:
    streams = {path.stem for path in FOLDER.glob("*.fpz")}
    assert streams == {path.stem for path in FOLDER.glob("*.npy")} == set(CASES)


@of_all_cases
def test_the_bytes_are_those_that_were_written(case: Case) -> None:
    assert case.encode() == stream_of(case)


@of_all_cases
@pytest.mark.parametrize("path", _core.paths())
def test_the_samples_are_those_that_were_read(case: Case, path: str) -> None:
    _core.set_path(path)
    try:
        decoded = case.decode(stream_of(case))
    finally:
        _core.set_path(_core.paths()[-1])
    assert same_bits(decoded, np.load(FOLDER / f"{case.name}.npy"))


@pytest.mark.skipif(plain.library() is None, reason="there is no C++ compiler")
@of_all_cases
def test_the_plain_codec_agrees(case: Case) -> None:
    if case.array.size == 0:
        return  # of which it knows nothing
    assert plain.encode(as_stored(case), case.precision) == plain_stream_of(case)


@of_all_cases
def test_pypi_fpzip_agrees(case: Case) -> None:
    fpzip = pytest.importorskip("fpzip", reason="PyPI fpzip is a peer")
    if not case.everywhere:
        return
    array = as_stored(case)
    stream = fpzip.compress(np.asfortranarray(array), precision=case.precision, order="F")
    assert stream == plain_stream_of(case)
    if array.size == 0:
        return  # it writes such streams, but does not read them
    decoded = fpzip.decompress(stream_of(case), order="F")
    if case.kempressed:
        decoded = decoded.transpose(0, 1, 3, 2) - np.float32(2)
    assert same_bits(decoded, np.load(FOLDER / f"{case.name}.npy"))
