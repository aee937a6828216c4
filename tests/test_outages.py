"""Servers that stall, drop connections and recover while somebody looks at a volume."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tensorstore
from napari.layers import Layer
from test_anywhere import serve
from test_sections import make

from napari_kemp import ChunkError, InfoError, open_volume, settings
from napari_kemp.plugin import drawing
from napari_kemp.plugin.layers import volume_layers
from napari_kemp.precomputed import reader as reader_module
from napari_kemp.precomputed import volume as volume_module

CHUNK = "19-35_11-27_7-27"  # in the middle of the volume of `make`


@pytest.fixture
def impatient(monkeypatch):
    """Ask servers again for less time than a user would, and wait for them as long as is said."""
    retries = {"max_retries": 1, "initial_delay": "10ms"}
    context = tensorstore.Context({"http_request_retries": retries})
    monkeypatch.setattr("napari_kemp.precomputed.storage._context", lambda: context)

    def wait(seconds):
        monkeypatch.setattr(reader_module, "_TIMEOUT_SECONDS", seconds)
        monkeypatch.setattr(volume_module, "_INFO_TIMEOUT_SECONDS", seconds)

    return wait


def test_what_hangs_is_given_up_by_name_and_asked_again(tmp_path, impatient):
    _, values = make(tmp_path)
    with serve(tmp_path) as server:
        array = open_volume(server.url).scales[0].array
        server.failures[CHUNK] = "stall"
        impatient(1)
        for _ in range(2):
            with pytest.raises(ChunkError) as error:
                array[:, 5]
            assert str(error.value).startswith(
                f"{server.url}, scale 4_4_40, chunk {CHUNK}: no answ"
            )
        np.testing.assert_array_equal(array[:, 5, :16], values[:, 5, :16])
        server.failures["info"] = "stall"
        with pytest.raises(InfoError, match=f"{server.url}/info: no answer within"):
            open_volume(server.url)
        impatient(60)
        server.failures.clear()
        np.testing.assert_array_equal(array[:, 5], values[:, 5])
        np.testing.assert_array_equal(open_volume(server.url).scales[0].array[:, 5], values[:, 5])


def test_a_connection_on_which_nothing_comes_is_closed_and_the_request_made_again(tmp_path):
    """Cancelling a request does not end it: TensorStore has to be told how long to hope."""
    make(tmp_path)
    program = (
        "import sys, napari_kemp\n"
        "array = napari_kemp.open_volume(sys.argv[1]).scales[0].array\n"
        "print(float(array[:, 5].sum()))\n"
    )
    with serve(tmp_path) as server:
        stalls = iter(["stall", "stall"])
        server.failures[CHUNK] = lambda: next(stalls, None)
        done = subprocess.run(
            [sys.executable, "-c", program, server.url],
            env={**os.environ, "TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert not server.awake.is_set()
    assert float(done.stdout) == float(open_volume(tmp_path).scales[0].array[:, 5].sum())
    assert [name for name, _ in server.requests].count(CHUNK) > 2


def test_a_view_outlives_an_outage(tmp_path, make_napari_viewer, impatient, monkeypatch):
    import napari.utils.notifications as notifications

    said = []
    monkeypatch.setattr(notifications, "show_warning", said.append)
    monkeypatch.setattr(drawing, "_reported", set())
    monkeypatch.setattr(settings, "_current", replace(settings.current(), prefetch=0))
    _, values = make(tmp_path)
    with serve(tmp_path) as server:
        volume = open_volume(server.url)
        viewer = make_napari_viewer(show=True)
        layer = viewer.add_layer(Layer.create(*volume_layers(volume)[0]))
        offset = volume.scales[0].info.voxel_offset[2]

        def look(z):
            viewer.dims.set_point(0, 40 * (offset + z))
            return layer._slice.image.raw

        np.testing.assert_array_equal(look(3), values[0, 3])
        for how, z in (("stall", 31), ("half", 32), ("reset", 33), (500, 34), (503, 35)):
            server.failures["_27-47"] = how
            impatient(1 if how == "stall" else 60)
            said.clear()
            drawing._reported.clear()
            assert not look(z).any()
            reports = len(said)
            assert 1 <= reports <= 9  # one for each chunk
            assert len({message.partition(":")[2] for message in said}) == reports
            np.testing.assert_array_equal(look(3), values[0, 3])  # what was loaded is still there
            assert not look(z).any()
            assert len(said) == reports
            server.awake.set()
        server.failures.clear()
        for z in (31, 34, 35, 36):
            np.testing.assert_array_equal(look(z), values[0, z])
