"""What is left after a while of looking around; ``tests/soaking.py`` does it for longer."""

import pytest
from soaking import Held, add_volume, explore, make_volume, open_and_close, still_there

from napari_kemp import settings
from napari_kemp.precomputed.cache import shared_cache


@pytest.fixture
def small_cache():
    before = settings.current().cache_mb
    settings.configure(cache_mb=20)
    yield
    settings.configure(cache_mb=before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long_use") / "v"
    make_volume(folder, (512, 256, 32))
    return folder


def test_looking_around_takes_no_more_with_each_step(
    folder, plugin, make_napari_viewer, small_cache
):
    viewer = make_napari_viewer(show=True)
    add_volume(viewer, folder)
    before, after = explore(viewer, steps=60, every=30)
    assert after.memory < before.memory + 100
    assert after.threads <= before.threads + settings.current().threads
    assert after.files <= before.files + 2
    assert shared_cache().nbytes <= settings.current().cache_bytes


def test_nothing_is_left_of_a_volume_that_was_closed(
    folder, plugin, make_napari_viewer, small_cache
):
    viewer = make_napari_viewer(show=True)
    elsewhere = len(still_there())
    for number in range(6):
        open_and_close(viewer, folder)
        if number == 2:
            before = Held.now()
    after = Held.now()
    assert after.threads <= before.threads + 1
    assert after.files <= before.files + 1
    assert len(still_there()) <= elsewhere
