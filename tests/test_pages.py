"""Memory of its own for what is kept: used again, never while anybody looks at it, and bounded."""

import gc
import mmap
from pathlib import Path

import numpy as np
import pytest
from soaking import Held
from test_storage import make_volume

from napari_kemp import settings
from napari_kemp.precomputed import pages
from napari_kemp.precomputed.cache import shared_cache

SHAPE = (128, 128, 1, 3)
FLOAT = np.dtype("float32")


@pytest.fixture(autouse=True)
def no_spare(monkeypatch):
    monkeypatch.setattr(pages, "_spare", pages._Spare())


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("shape", [SHAPE, (7, 5, 1, 3)])
def test_an_array_is_laid_out_as_streams_are(shape):
    array = pages.empty(shape, FLOAT)
    assert (array.shape, array.dtype) == (shape, FLOAT)
    assert array.flags.f_contiguous
    assert array.flags.writeable
    np.testing.assert_array_equal(pages.array_apart(np.ones(shape)), np.ones(shape))


def test_memory_is_used_again_once_nobody_looks_at_it():
    first = pages.empty(SHAPE, FLOAT)
    first[...] = 1
    at = address(first)
    views = [np.expand_dims(first, 4), first.T[:1, 0], memoryview(first)]
    del first
    while views:
        other = pages.empty(SHAPE, FLOAT)
        other[...] = 2
        assert address(other) != at
        assert (np.asarray(views[-1]) == 1).all()
        del other
        views.pop()
    assert at in {address(pages.empty(SHAPE, FLOAT)) for _ in range(2)}


def test_what_is_let_go_of_goes_back_to_the_system():
    before = Held.now().memory
    arrays = [pages.empty(SHAPE, FLOAT) for _ in range(1000)]
    assert Held.now().memory > before + 150
    # Between them is what would keep a heap from shrinking.
    kept = [bytes(5000) for _ in range(1000)]
    arrays.clear()
    assert Held.now().memory < before + 60
    del kept


def test_most_mappings_are_left_to_others(monkeypatch):
    monkeypatch.setattr(settings, "_current", settings.Settings(cache_mb=1 << 20))
    maps = len(Path("/proc/self/maps").read_text().splitlines())
    arrays = [pages.empty(SHAPE, FLOAT) for _ in range(100)]
    gc.collect()
    assert len(Path("/proc/self/maps").read_text().splitlines()) < maps + 50
    assert all(array.nbytes == 4 * np.prod(SHAPE) for array in arrays)


@pytest.mark.parametrize("encoding", ["kempressed", "raw"])
def test_what_the_cache_holds_has_memory_of_its_own(tmp_path, monkeypatch, encoding):
    monkeypatch.setattr(pages, "_ARRAY_BYTES", 64)
    monkeypatch.setattr(pages, "_MOST_MAPPINGS", 1 << 40)
    volume, values = make_volume(tmp_path / "v", encoding=encoding)
    (scale,) = volume.scales
    np.testing.assert_allclose(scale.array[...], values, atol=1e-6)
    for cell in scale.grid.cells():
        piece = shared_cache().get(scale._reader.key(cell, 0))
        while isinstance(piece, np.ndarray):
            piece = piece.base
        assert isinstance(piece.obj, mmap.mmap)
