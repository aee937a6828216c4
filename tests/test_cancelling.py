"""What the inspector reads of a slow server, and how it stops."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from volumes import create_layers, make_volume

from napari_kemp import open_volume
from napari_kemp.affinity import Convention, find_segments
from napari_kemp.plugin.inspector import AffinityInspector

AT_ONCE = 32


class GatedHandler(SimpleHTTPRequestHandler):
    """Answers while the gate is open; else requests wait until it is."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        self.server.gate.wait()
        super().do_GET()


class GatedServer(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients may leave


@pytest.fixture
def server(tmp_path):
    handler = partial(GatedHandler, directory=str(tmp_path))
    with GatedServer(("127.0.0.1", 0), handler) as server:
        server.asked, server.gate = [], threading.Event()
        server.gate.set()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.gate.set()
        server.shutdown()


@pytest.fixture
def values():
    return np.random.default_rng(0).random((3, 16, 256, 256), np.float32)


@pytest.fixture
def inspector(server, tmp_path, values, make_napari_viewer, qtbot):
    """The inspector of a volume of 256 chunks, with one chunk's depth of it on the canvas."""
    make_volume(tmp_path / "net", size=(256, 256, 16), offset=(0, 0, 0), levels=1, values=[values])
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1100, 800)
    for layer in create_layers(open_volume(f"http://127.0.0.1:{server.server_port}/net")):
        viewer.add_layer(layer)
    inspector = AffinityInspector(viewer)
    viewer.window.add_dock_widget(inspector)
    qtbot.wait(100)
    viewer.reset_view()
    viewer.dims.set_point(0, 0)
    qtbot.wait(120)
    qtbot.waitUntil(lambda: not inspector.busy, timeout=20_000)
    yield inspector
    inspector.let_go()


def begin(inspector, server, qtbot, button):
    """Let a region be read, up to where the server holds all that was asked for."""
    server.gate.clear()
    del server.asked[:]
    button.click()
    assert inspector.segments.region.result.text() == "Reading 256 × 256 × 16 voxels…"
    # As many as are asked for at once.
    qtbot.waitUntil(lambda: len(server.asked) == AT_ONCE, timeout=20_000)


def nothing_more_is_asked(server, qtbot):
    server.gate.set()
    qtbot.wait(500)
    assert len(server.asked) == AT_ONCE


@pytest.mark.parametrize("which", ["find_button", "show_button"])
def test_reading_a_region_can_be_cancelled(inspector, server, values, qtbot, which):
    region = inspector.segments.region
    pressed = getattr(region, which)
    other = region.show_button if pressed is region.find_button else region.find_button
    text = pressed.text()
    begin(inspector, server, qtbot, pressed)
    assert pressed.text() == "Cancel"
    assert not other.isEnabled()
    pressed.click()
    # At once, while the server holds what was asked for.
    assert region.result.text() == "Cancelled."
    assert pressed.text() == text
    assert other.isEnabled()
    assert not inspector.busy
    nothing_more_is_asked(server, qtbot)
    assert region.result.text() == "Cancelled."
    assert inspector.subject.viewer.dims.ndisplay == 2

    region.find_button.click()
    qtbot.waitUntil(lambda: not inspector.busy, timeout=20_000)
    expected = find_segments(values, 0.5, Convention())
    assert region.result.text().startswith(f"256 × 256 × 16 voxels: {expected.count:,} segment")


@pytest.mark.parametrize("how", ["layer removed", "layers cleared", "dock closed"])
def test_reading_ends_with_what_it_is_for(inspector, server, qtbot, how):
    viewer = inspector.subject.viewer
    begin(inspector, server, qtbot, inspector.segments.region.find_button)
    if how == "layer removed":
        viewer.layers.remove(viewer.layers["net y"])
    elif how == "layers cleared":
        viewer.layers.clear()
    else:
        viewer.window.remove_dock_widget(inspector)
    assert not inspector.segments.busy
    nothing_more_is_asked(server, qtbot)
    assert not any("segments" in layer.name for layer in viewer.layers)
