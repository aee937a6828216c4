"""What napari draws of volumes that are damaged, slow or far away; and what everybody else gets."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from volumes import create_layers, make_volume

from napari_kemp import ChunkError, open_volume, settings
from napari_kemp.affinity import MAPS, Convention
from napari_kemp.plugin import drawing, prefetch
from napari_kemp.plugin.channel_layers import channels_of
from napari_kemp.plugin.display import Display
from napari_kemp.plugin.reader import get_reader
from napari_kemp.precomputed import reader as reader_module
from napari_kemp.precomputed.cache import shared_cache


@pytest.fixture
def said(monkeypatch):
    """What napari's notifications say."""
    import napari.utils.notifications as notifications

    messages = []
    for kind in ("show_info", "show_warning"):
        monkeypatch.setattr(notifications, kind, messages.append)
    monkeypatch.setattr(drawing, "_reported", set())
    return messages


def damaged_volume(folder):
    volume = make_volume(folder, size=(64, 64, 7), offset=(0, 0, 0), levels=1)
    (folder / "4_4_50" / "32-64_0-32_0-4").write_bytes(b"damaged")
    (folder / "4_4_50" / "32-64_0-32_0-4.gz").unlink()
    return open_volume(volume.url)


def test_a_damaged_chunk_is_drawn_as_background_and_told_once(tmp_path, make_napari_viewer, said):
    volume = damaged_volume(tmp_path / "v")
    good = np.asarray(open_volume(volume.url).scales[0].array[0, 1, 32:])
    viewer = make_napari_viewer(show=True)
    layers = [viewer.add_layer(layer) for layer in create_layers(volume)]
    for z in (1, 2, 1):
        viewer.dims.set_point(0, z * 50)
    drawn = layers[0]._slice.image.raw
    np.testing.assert_array_equal(drawn[32:], good)
    assert not drawn[:32, 32:].any()
    assert drawn[:32, :32].any()
    (message,) = [each for each in said if "32-64_0-32_0-4" in each]
    assert message.startswith(f"Drawn as background: {volume.url}, scale 4_4_50, chunk ")
    # Everybody else gets the truth, or an error.
    for read in (
        lambda: np.asarray(layers[0].data),
        lambda: np.asarray(layers[1].data[1]),
        lambda: np.asarray(layers[1].data[1, :, 20:40]),
        lambda: volume.scales[0].array[0, 1],
    ):
        with pytest.raises(ChunkError, match="chunk 32-64_0-32_0-4"):
            read()
    np.testing.assert_array_equal(layers[0].data[1, 32:], good)


@pytest.mark.parametrize("mode", ["RGB", "boundary"])
def test_maps_of_damaged_chunks_are_drawn_likewise(tmp_path, make_napari_viewer, said, mode):
    volume = damaged_volume(tmp_path / "v")
    viewer = make_napari_viewer(show=True)
    layers = [viewer.add_layer(layer) for layer in create_layers(volume)]
    display = Display(viewer)
    display.show(channels_of(layers), mode, Convention(), (0.0, 1.0))
    viewer.dims.set_point(0, 50)
    drawn = display.layer._slice.image.raw
    background = np.zeros((3, 1, 1)) if mode == "RGB" else MAPS[mode](*np.zeros((3, 1, 1)))
    assert (drawn[:32, 32:] == background.T.squeeze()).all()
    assert not (drawn[:32, :32] == background.T.squeeze()).all()
    (message,) = [each for each in said if "32-64_0-32_0-4" in each]
    assert message.startswith("Drawn as background: ")
    with pytest.raises(ChunkError, match="chunk 32-64_0-32_0-4"):
        np.asarray(display.layer.data[1])


class Gate:
    """Holds back what a server answers, until the window has shown that it is alive meanwhile."""

    def __init__(self):
        self._open = threading.Event()
        self._open.set()
        self._lock = threading.Lock()
        self.waiting = self.ticks = 0
        self.requests = []
        self.forced = False

    def close(self):
        self.ticks = 0
        self._open.clear()

    def open(self):
        self._open.set()

    def tick(self):
        """Count an event of the window's while somebody waits; after so many, let them pass."""
        if self.waiting and not self._open.is_set():
            self.ticks += 1
            if self.ticks == TICKS:
                self.open()

    def pass_through(self, path):
        with self._lock:
            self.requests.append(path)
            self.waiting += 1
        if not self._open.wait(25):  # a window that is blocked fails the test, but does not hang it
            self.forced = True
            self.open()
        with self._lock:
            self.waiting -= 1


TICKS = 20


class Held(SimpleHTTPRequestHandler):
    """Answers when the gate is open."""

    protocol_version = "HTTP/1.1"  # on connections that stay

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.gate.pass_through(self.path)
        super().do_GET()


@pytest.fixture
def slow_server(tmp_path):
    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, request, client_address):
            pass  # clients may leave

    with Server(("127.0.0.1", 0), partial(Held, directory=str(tmp_path))) as server:
        server.gate = Gate()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield server
        server.gate.open()
        server.shutdown()


@pytest.fixture
def napari_settings():
    """napari's settings, as they were afterwards."""
    from napari.settings import get_settings

    found = get_settings()
    before = found.experimental.async_
    yield found
    found.experimental.async_ = before


def test_a_slow_server_does_not_block_the_window(
    tmp_path, make_napari_viewer, qtbot, said, slow_server, napari_settings
):
    volume = make_volume(tmp_path / "v", size=(64, 64, 7), offset=(0, 0, 0), levels=1)
    expected = volume.scales[0].array[...]
    viewer = make_napari_viewer(show=True)
    url = f"{slow_server.url}/v"

    from napari.layers import Layer
    from qtpy.QtCore import QTimer

    gate = slow_server.gate
    timer = QTimer()
    timer.timeout.connect(gate.tick)
    timer.start(1)

    def loaded():
        return all(layer.loaded for layer in layers)

    gate.close()
    opened = get_reader(f"precomputed://{url}")(url)
    assert (gate.ticks, gate.forced) == (TICKS, False)
    gate.close()
    layers = [viewer.add_layer(Layer.create(*one)) for one in opened]
    viewer.dims.set_point(0, 50)
    qtbot.waitUntil(loaded, timeout=60000)
    assert (gate.ticks, gate.forced) == (TICKS, False)
    gate.close()
    viewer.dims.set_point(0, 5 * 50)
    qtbot.waitUntil(loaded, timeout=60000)
    assert (gate.ticks, gate.forced) == (TICKS, False)
    timer.stop()
    for layer, values in zip(layers, expected, strict=True):
        np.testing.assert_array_equal(layer._slice.image.raw, values[5])
        np.testing.assert_array_equal(layer.data, values)
    assert [each for each in said if "for this session" in each]
    saved = napari_settings._save_dict()
    assert "async_" not in saved.get("experimental", {})


def test_a_server_that_falls_silent_is_told_and_the_viewer_lives_on(
    tmp_path, make_napari_viewer, qtbot, said, slow_server, napari_settings, monkeypatch
):
    from napari.layers import Layer

    make_volume(tmp_path / "v", size=(64, 64, 12), offset=(0, 0, 0), levels=1)
    viewer = make_napari_viewer(show=True)
    opened = get_reader(f"{slow_server.url}/v/info")(None)
    layers = [viewer.add_layer(Layer.create(*one)) for one in opened]
    viewer.dims.set_point(0, 0)
    qtbot.waitUntil(lambda: all(layer.loaded for layer in layers), timeout=30000)
    monkeypatch.setattr(reader_module, "_TIMEOUT_SECONDS", 0.5)
    slow_server.gate.close()
    viewer.dims.set_point(0, 10 * 50)
    qtbot.waitUntil(lambda: all(layer.loaded for layer in layers), timeout=60000)
    assert not slow_server.gate.forced
    for layer in layers:
        assert not layer._slice.image.raw.any()
    messages = [message for message in said if "no answer within" in message]
    assert len(set(messages)) == len(messages) == 4  # each chunk once, for all layers
    assert all(f"{slow_server.url}/v, scale 4_4_50, chunk " in message for message in messages)
    monkeypatch.undo()
    slow_server.gate.open()
    viewer.dims.set_point(0, 11 * 50)
    qtbot.waitUntil(lambda: all(layer.loaded for layer in layers), timeout=30000)
    assert all(layer._slice.image.raw.any() for layer in layers)


def test_background_slicing_can_be_refused(tmp_path, said, slow_server, napari_settings):
    make_volume(tmp_path / "v", levels=1)
    napari_settings.experimental.async_ = False
    before = settings.current()
    try:
        settings.configure(async_slicing=False)
        get_reader(f"{slow_server.url}/v/info")(None)
        assert not napari_settings.experimental.async_
        assert said == []
        settings.configure(async_slicing=True)
        get_reader(f"{slow_server.url}/v/info")(None)
        get_reader(f"{slow_server.url}/v/info")(None)
        assert napari_settings.experimental.async_
        assert len(said) == 1
    finally:
        settings.configure(async_slicing=before.async_slicing)


def sections_on_their_way():
    """Number of each layer of chunks of which some are being loaded."""
    return {cell[2] for _, cell, _ in list(shared_cache()._loading)}


def test_what_was_scrolled_past_is_given_up(
    tmp_path, make_napari_viewer, qtbot, said, slow_server, napari_settings
):
    from napari.layers import Layer
    from napari.utils.notifications import notification_manager

    volume = make_volume(tmp_path / "v", size=(64, 64, 40), offset=(0, 0, 0), levels=1)
    expected = volume.scales[0].array[...]
    viewer = make_napari_viewer(show=True)
    opened = get_reader(f"{slow_server.url}/v/info")(None)
    layers = [viewer.add_layer(Layer.create(*one)) for one in opened]
    viewer.dims.set_point(0, 0)
    qtbot.waitUntil(lambda: all(layer.loaded for layer in layers), timeout=30000)
    records = len(notification_manager.records)
    popups = []
    notification_manager.notification_ready.connect(popups.append)
    gate = slow_server.gate

    def requests_for(*sections):
        ends = tuple(f"_{z}-{z + 4}.gz" for z in sections)
        return sorted(path for path in gate.requests if path.endswith(ends))

    passed, last = (8, 12, 24), 32  # 16 to 20 have been drawn already, when the volume was opened
    gate.close()
    gate.requests.clear()
    for z in (*passed, last):
        viewer.dims.set_point(0, z * 50)
        qtbot.waitUntil(lambda z=z: z // 4 in sections_on_their_way(), timeout=60000)
    # While no answer has come, nobody waits for any but the last section's four chunks.
    qtbot.waitUntil(lambda: sections_on_their_way() == {last // 4}, timeout=60000)
    assert not gate.forced
    on_their_way = requests_for(*passed)
    gate.open()
    qtbot.waitUntil(lambda: all(layer.loaded for layer in layers), timeout=60000)
    notification_manager.notification_ready.disconnect(popups.append)
    assert requests_for(*passed) == on_their_way
    assert len(requests_for(last)) == len(set(requests_for(last))) == 4
    for layer, values in zip(layers, expected, strict=True):
        np.testing.assert_array_equal(layer._slice.image.raw, values[32])
    assert popups == []
    del notification_manager.records[records:]


@pytest.mark.parametrize("mode", ["own layers", "RGB", "boundary"])
def test_the_next_sections_are_read_ahead(tmp_path, make_napari_viewer, qtbot, mode):
    volume = make_volume(tmp_path / "v", size=(64, 64, 60), offset=(0, 0, 0), levels=1)
    viewer = make_napari_viewer()
    layers = [viewer.add_layer(layer) for layer in create_layers(volume)]
    if mode != "own layers":
        Display(viewer).show(channels_of(layers), mode, Convention(), (0.0, 1.0))
    reader = volume.scales[0]._reader

    def kept(z):
        return shared_cache().get(reader.key((0, 0, z // 4), 0)) is not None

    viewer.dims.set_point(0, 40 * 50)
    viewer.dims.set_point(0, 42 * 50)
    qtbot.waitUntil(lambda: kept(44), timeout=5000)  # the next chunk
    assert not kept(48)
    viewer.dims.set_point(0, 41 * 50)
    viewer.dims.set_point(0, 40 * 50)
    qtbot.waitUntil(lambda: kept(39), timeout=5000)
    assert not kept(48) and not kept(35)
    prefetch._one_thread().submit(int).result()
