import gc
import os
from pathlib import Path

import pytest


def pytest_collection_finish() -> None:
    """Keep what was imported out of searches for garbage: napari's fixture makes four a test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def isbi() -> Path:
    """Real volumes, written by other people's software: see the README.md beside the folder."""
    beside_the_repo = Path(__file__).parents[2] / "shared" / "data" / "isbi"
    folder = Path(os.environ.get("NAPARI_KEMP_TEST_DATA", beside_the_repo))
    if not folder.is_dir():
        pytest.skip(f"no test data in {folder}; set NAPARI_KEMP_TEST_DATA to use another folder")
    return folder


@pytest.fixture
def plugin(npe2pm):
    """This plugin beside napari's own, as the manifest at the top of the repository has them."""
    manifest = Path(__file__).parents[1] / "napari.yaml"
    with npe2pm.tmp_plugin(package="napari"), npe2pm.tmp_plugin(manifest=str(manifest)):
        yield npe2pm
