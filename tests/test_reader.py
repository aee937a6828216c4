import gzip
import json
import logging
import socket
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import brotli
import numpy as np
import pytest
import zstandard

from napari_kemp import create_volume
from napari_kemp.plugin.reader import get_reader

PACK = {
    ".gz": gzip.compress,
    ".br": brotli.compress,
    ".zstd": zstandard.ZstdCompressor().compress,
}


@pytest.fixture
def volume(tmp_path):
    """A folder with a small kempressed volume."""
    folder = tmp_path / "affinities"
    values = np.random.default_rng(0).random((3, 5, 12, 10), np.float32)
    created = create_volume(
        folder,
        size=(10, 12, 5),
        resolution=(4, 4, 40),
        chunk_size=(8, 8, 4),
        encoding="kempressed",
        voxel_offset=(3, -2, 7),
    )
    created.scales[0].write(values, (3, -2, 7))
    return folder


@pytest.fixture
def server(tmp_path):
    """URL of an HTTP server of the folder with the volume."""
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def names(layers):
    return [arguments["name"] for _, arguments, _ in layers]


XYZ = ["affinities x", "affinities y", "affinities z"]


def test_a_folder_and_its_info_file_are_ours(volume):
    for path in (volume, str(volume), f"{volume}/", volume / "info", f"file://{volume}"):
        assert names(get_reader(path)(path)) == XYZ


@pytest.mark.parametrize("suffix", PACK)
def test_a_compressed_info_is_ours(volume, suffix):
    plain = volume / "info"
    packed = volume / f"info{suffix}"
    packed.write_bytes(PACK[suffix](plain.read_bytes()))
    plain.unlink()
    for path in (str(volume), str(packed)):
        assert names(get_reader(path)(path)) == XYZ


def test_a_list_gives_a_set_of_layers_for_each(volume, tmp_path):
    paths = [str(volume), str(volume / "info")]
    assert names(get_reader(paths)(paths)) == XYZ * 2
    assert get_reader([str(volume), str(tmp_path)]) is None
    assert get_reader([]) is None


def test_urls_are_ours_by_their_name_alone(monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    for url in (
        "precomputed://https://nowhere.invalid/volume",
        "precomputed://gs://bucket/volume",
        "https://nowhere.invalid/volume/info",
        "s3://bucket/volume/info",
    ):
        assert get_reader(url) is not None
    for url in ("https://nowhere.invalid/image.png", "s3://bucket/volume", "gs://bucket/info.tif"):
        assert get_reader(url) is None


def test_volumes_on_a_web_server(volume, server):
    for url in (f"precomputed://{server}/affinities", f"{server}/affinities/info"):
        layers = get_reader(url)(url)
        assert names(layers) == XYZ
        local = get_reader(volume)(volume)
        for (data, *_), (expected, *_) in zip(layers, local, strict=True):
            np.testing.assert_array_equal(data, expected)


def test_all_else_is_declined_silently(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    info = {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": []}
    for name, content in {
        "not json": b"this is text",
        "binary": bytes(range(256)) * 8,
        "a list": b"[1, 2]",
        "no scales": json.dumps({**info, "scales": 3}).encode(),
        "meshes": json.dumps({"@type": "neuroglancer_multilod_draco", "scales": []}).encode(),
        "skeletons": json.dumps({**info, "type": "skeleton"}).encode(),
        "empty": b"",
        "deep": b"[" * 100_000,
        "nulls": b"\0" * 100,
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "info").write_bytes(content)
        assert get_reader(str(folder)) is None
        assert get_reader(str(folder / "info")) is None
        for suffix in PACK:
            (folder / f"info{suffix}").write_bytes(content)
            assert get_reader(str(folder / f"info{suffix}")) is None
    (tmp_path / "folder" / "info").mkdir(parents=True)
    image = tmp_path / "image.tif"
    image.write_bytes(b"II*\0")
    for path in (
        tmp_path,
        tmp_path / "folder",
        tmp_path / "folder" / "info",
        tmp_path / "missing",
        tmp_path / "missing" / "info",
        image,
        "",
        "nul\0byte",
        "x" * 5000,
    ):
        assert get_reader(path if isinstance(path, str) else str(path)) is None
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_a_broken_link_is_declined(tmp_path):
    (tmp_path / "info").symlink_to(tmp_path / "nowhere")
    assert get_reader(str(tmp_path)) is None


def test_napari_finds_the_reader(plugin, volume):
    def readers(path):
        return {reader.plugin_name for reader in plugin.iter_compatible_readers([path])}

    for path in (
        str(volume),
        str(volume / "info"),
        str(volume / "info.gz"),
        "precomputed://https://nowhere.invalid/volume",
        "https://nowhere.invalid/volume/info",
    ):
        assert "napari-kemp" in readers(path)
    for path in ("image.tif", "https://nowhere.invalid/image.png", "my.info", "data.zarr"):
        assert "napari-kemp" not in readers(path)


def test_the_viewer_opens_folders_info_files_and_urls(plugin, make_napari_viewer, volume, server):
    viewer = make_napari_viewer()
    viewer.open(str(volume), plugin="napari-kemp")
    viewer.open(volume / "info", plugin=None)
    viewer.open(f"precomputed://{server}/affinities", plugin=None)
    viewer.open([str(volume), str(volume)], stack=True, plugin="napari-kemp")
    assert len(viewer.layers) == 3 * 5
    assert len({layer.name for layer in viewer.layers}) == 3 * 5
    for layer in viewer.layers:
        assert layer.data.shape == (5, 12, 10)
        assert Path(layer.metadata["napari_kemp"]["url"]).name == "affinities"


def test_volumes_that_are_opened_together_lie_on_each_other(plugin, make_napari_viewer, tmp_path):
    # A block of the same nanometres, in voxels of 4 nm and of 8 nm.
    place = {4: (slice(2, 3), slice(10, 20), slice(30, 50))}
    place[8] = (slice(2, 3), slice(5, 10), slice(15, 25))
    for name, step, members in (
        ("net", 8, {"num_channels": 3, "encoding": "kempressed", "data_type": "float32"}),
        ("cells", 8, {"encoding": "raw", "data_type": "uint32", "layer_type": "segmentation"}),
        ("em", 4, {"encoding": "raw", "data_type": "uint8"}),
    ):
        offset = (160 // step, -80 // step, 7)
        members = {"num_channels": 1, **members}
        size = (320 // step, 160 // step, 4)
        created = create_volume(
            tmp_path / name,
            size=size,
            resolution=(step, step, 40),
            voxel_offset=offset,
            chunk_size=(16, 16, 4),
            **members,
        )
        values = np.zeros((members["num_channels"], *size[::-1]), members["data_type"])
        values[:, *place[step]] = 255 if name == "em" else 1
        created.scales[0].write(values, offset)
    viewer = make_napari_viewer(show=True)
    viewer.open(
        [str(tmp_path / name) for name in ("net", "cells", "em")], stack=True, plugin="napari-kemp"
    )
    assert [layer.name for layer in viewer.layers] == ["em", "net x", "net y", "net z", "cells"]
    viewer.dims.set_point(0, (7 + 2) * 40)
    viewer.scene.camera.zoom = 1.5
    boxes = []
    for shown in viewer.layers:
        for layer in viewer.layers:
            layer.visible = layer is shown
        bright = viewer.screenshot(flash=False)[..., :3].max(axis=-1) > 80
        rows, columns = np.nonzero(bright)
        assert bright.sum() == pytest.approx(20 * 4 * 1.5 * 10 * 4 * 1.5, rel=0.1)
        boxes.append((rows.min(), rows.max(), columns.min(), columns.max()))
    # napari draws a voxel around its coordinate: one of 8 nm begins 2 nm before one of 4 nm.
    assert np.ptp(boxes, axis=0).max() <= 2 * 1.5 + 1


def test_dropping_a_folder_opens_it(plugin, make_napari_viewer, volume):
    from napari.settings import get_settings
    from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
    from qtpy.QtGui import QDropEvent

    viewer = make_napari_viewer()
    # With two plugins for folders napari asks which, unless the user has decided.
    get_settings().plugins.extension2reader = {f"{volume}/": "napari-kemp"}
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(volume))])
    drop = QDropEvent(
        QPointF(5, 5),
        Qt.DropAction.CopyAction,
        mime,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    viewer.window._qt_viewer.dropEvent(drop)
    assert [layer.name for layer in viewer.layers] == XYZ
