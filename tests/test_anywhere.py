"""Volumes on servers: range requests, S3, shards, and servers that fail in each way there is."""

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from test_sections import make

from napari_kemp import ChunkError, ExportError, InfoError, create_volume, export, open_volume
from napari_kemp.codec import kempressed
from napari_kemp.precomputed import reader as reader_module
from napari_kemp.precomputed import volume as volume_module
from napari_kemp.precomputed.reader import AbandonedError, ReadOptions


class RangeHandler(BaseHTTPRequestHandler):
    """Serves files and ranges of them, as object stores do, and fails where it is told to."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        path = server.folder / self.path.lstrip("/")
        asked = self.headers.get("Range")
        server.requests.append((path.name, asked))
        failing = [how for name, how in server.failures.items() if name in self.path]
        how = failing[0] if failing else None
        if callable(how):
            how = how()
        if how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.close_connection = True
            self.connection.close()
            return
        if how == "silent":
            server.awake.wait()
            how = None
        if how == "stalls":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(bytes(10))
            server.awake.wait()
            self.wfile.write(bytes(990))
            return
        if how == "stall":
            # The client may have left when the server wakes up.
            server.awake.wait(60)
            self.close_connection = True
            return
        if how == "half":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 500)
            self.close_connection = True
            return
        if how is not None:
            self.answer(how, b"")
            return
        if not path.is_file():
            self.answer(404, b"")
            return
        content = path.read_bytes()
        if asked is None or not server.ranges:
            self.answer(200, content)
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        if not first:
            first, last = max(0, len(content) - int(last)), len(content) - 1
        first, last = int(first), min(int(last or len(content)), len(content) - 1)
        if first > last:
            self.answer(416, b"")
            return
        headers = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        self.answer(206, content[first : last + 1], headers)

    def answer(self, status, content, headers=None):
        self.server.sent += len(content)
        self.send_response(status)
        for name, value in {**(headers or {}), **self.server.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class RangeServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


@contextmanager
def serve(folder, *, ranges=True):
    server = RangeServer(("127.0.0.1", 0), RangeHandler)
    server.folder, server.ranges = Path(folder), ranges
    server.requests, server.failures, server.headers, server.sent = [], {}, {}, 0
    server.awake = threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.awake.set()
    server.shutdown()
    server.server_close()


def test_of_seekable_chunks_only_what_is_shown_is_fetched(tmp_path):
    _, values = make(tmp_path)
    stored = sum(path.stat().st_size for path in (tmp_path / "4_4_40").glob("*_7-27"))
    with serve(tmp_path) as server:
        array = open_volume(server.url).scales[0].array
        server.sent = 0
        np.testing.assert_array_equal(array[:, 13], values[:, 13])
        assert all(asked for name, asked in server.requests if name != "info")
        assert server.sent < stored / 8  # chunks of 20 small sections; the table is half of it
        server.requests.clear()
        np.testing.assert_array_equal(array[:, 14], values[:, 14])
        assert len(server.requests) == 9
        np.testing.assert_array_equal(array[...], values)


def test_a_cold_section_costs_a_twentieth_of_its_chunks(tmp_path):
    chunk = (64, 64, 64)
    volume = create_volume(
        tmp_path, size=(128, 64, 64), resolution=(4, 4, 40), chunk_size=chunk, encoding="kempressed"
    )
    (scale,) = volume.scales
    values = np.random.default_rng(0).random((3, *chunk), dtype=np.float32)
    data = kempressed.encode(values.T, seekable=True)
    for cell in scale.grid.cells():
        scale.write_chunk(cell, data)
    with serve(tmp_path) as server:
        array = open_volume(server.url).scales[0].array
        server.sent = 0
        np.testing.assert_allclose(array[:, 37, :, 64:], values[:, 37], rtol=0, atol=2**-22)
        np.testing.assert_allclose(array[:, 37, :, :64], values[:, 37], rtol=0, atol=2**-22)
        assert server.sent <= 2 * len(data) / 20


def test_a_server_without_ranges_gives_the_same_values(tmp_path):
    _, values = make(tmp_path)
    with serve(tmp_path, ranges=False) as server:
        array = open_volume(server.url).scales[0].array
        for z in (13, 14, 40):
            np.testing.assert_array_equal(array[:, z], values[:, z])
        chunks = [name for name, _ in server.requests if "_" in name]
        assert len(chunks) == len(set(chunks)) == 18  # each chunk once, and whole


@pytest.mark.parametrize("seekable", [True, False])
def test_gzip_in_transit(tmp_path, seekable):
    """Ranges of what is compressed for the transport are of no use; the whole is."""
    import gzip

    _, values = make(tmp_path, seekable=seekable)
    for path in (tmp_path / "4_4_40").iterdir():
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
    with serve(tmp_path) as server:
        volume = open_volume(server.url)
        server.headers["Content-Encoding"] = "gzip"
        array = volume.scales[0].array
        for z in (13, 14, 40):
            np.testing.assert_array_equal(array[:, z], values[:, z])
        np.testing.assert_array_equal(array[...], values)


@pytest.mark.parametrize(("how", "message"), [(403, "403"), (500, "500"), ("reset", "")])
def test_failures_name_url_and_chunk_and_leave_the_rest_alone(tmp_path, how, message):
    _, values = make(tmp_path)
    with serve(tmp_path) as server:
        volume = open_volume(server.url)
        server.failures["19-35_11-27_7-27"] = how
        place = f"{server.url}, scale 4_4_40, chunk 19-35_11-27_7-27: "
        with pytest.raises(ChunkError) as error:
            volume.scales[0].array[:, 5]
        assert str(error.value).startswith(place)
        assert message in str(error.value)
        np.testing.assert_array_equal(volume.scales[0].array[:, 5, :16], values[:, 5, :16])
        server.failures.clear()
        np.testing.assert_array_equal(volume.scales[0].array[:, 5], values[:, 5])
        server.failures["info"] = how
        with pytest.raises(InfoError, match=f"{server.url}/info"):
            open_volume(server.url)


def test_a_save_of_what_cannot_be_read_fails(tmp_path):
    make(tmp_path / "v")
    with serve(tmp_path) as server:
        server.failures["19-35_11-27_7-27"] = 403
        with pytest.raises((ChunkError, ExportError), match=r"chunk 19-35_11-27_7-27: .*403"):
            export(f"{server.url}/v", tmp_path / "saved", chunk_size=(16, 16, 20), mips=0)


@pytest.mark.parametrize("how", [500, 503, 429, "reset"])
def test_what_passes_is_tried_again(tmp_path, how):
    _, values = make(tmp_path)
    with serve(tmp_path) as server:
        volume = open_volume(server.url)
        failures = iter([how, how])
        server.failures["19-35_11-27_7-27"] = lambda: next(failures, None)
        np.testing.assert_array_equal(volume.scales[0].array[:, 5], values[:, 5])


def warm_up(array):
    """Answer a few requests: what takes ranges, and several streams at once, is known then."""
    array[:, 3]
    array[:, 4]


@pytest.mark.parametrize("how", ["silent", "stalls"])
def test_a_chunk_that_never_comes_is_an_error_and_the_rest_is_read(tmp_path, monkeypatch, how):
    _, values = make(tmp_path)
    monkeypatch.setattr(reader_module, "_TIMEOUT_SECONDS", 2)
    monkeypatch.setattr(volume_module, "_INFO_TIMEOUT_SECONDS", 2)
    with serve(tmp_path) as server, ThreadPoolExecutor(4) as pool:
        (scale,) = open_volume(server.url).scales
        warm_up(scale.array)
        server.failures.update({"19-35_11-27_7-27": how, "info": how})
        seen = []
        drawn = pool.submit(scale.array.read, np.s_[:, 5], ReadOptions(on_error=seen.append))
        place = f"{server.url}, scale 4_4_40, chunk 19-35_11-27_7-27: no answer within 2 seconds"
        for error, message, read in [
            (ChunkError, place, pool.submit(scale.array.__getitem__, np.s_[:, 5])),
            (ChunkError, place, pool.submit(scale.load_chunk, (1, 1, 0))),
            (
                InfoError,
                f"{server.url}/info: no answer within 2",
                pool.submit(open_volume, server.url),
            ),
        ]:
            with pytest.raises(error, match=f"^{message}"):
                read.result()
        expected = values[:, 5].copy()
        expected[:, 16:32, 16:32] = 0
        np.testing.assert_array_equal(drawn.result(), expected)
        assert [str(error) for error in seen] == [place]
        monkeypatch.undo()
        server.failures.clear()
        np.testing.assert_array_equal(scale.array[:, 5], values[:, 5])


def test_a_silent_server_does_not_keep_the_connections_that_others_need(tmp_path):
    """TensorStore has 32 of them, and waits without end unless it is told not to."""
    make(tmp_path / "v")
    program = (
        "import os, sys, napari_kemp\n"
        "from napari_kemp.precomputed import reader\n"
        "silent, again, good = (napari_kemp.open_volume(url).scales[0] for url in sys.argv[1:])\n"
        "reader._TIMEOUT_SECONDS = 1\n"
        "for scale in silent, again:\n"
        "    try: scale.array[...]\n"
        "    except napari_kemp.ChunkError as error: print(error)\n"
        "reader._TIMEOUT_SECONDS = 20\n"
        "print(good.array[...].any())\n"
        "print(os.environ['TENSORSTORE_CURL_CONNECT_TIMEOUT_SECONDS'])\n"
    )
    with serve(tmp_path) as silent, serve(tmp_path) as good:
        silent.failures["4_4_40/"] = "silent"
        urls = [f"{server.url}/v" for server in (silent, silent, good)]
        done = subprocess.run(
            [sys.executable, "-c", program, *urls],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS": "1"},
        )
        assert len([name for name, _ in silent.requests if name != "info"]) >= 32
    assert done.stderr == ""
    first, second, read, connect = done.stdout.splitlines()
    for error in (first, second):
        assert error.startswith(f"{silent.url}/v, scale 4_4_40, chunk ")
        assert error.endswith("no answer within 1 seconds")
    assert (read, connect) == ("True", "15")


def test_what_is_given_up_is_not_asked_for(tmp_path):
    _, values = make(tmp_path)
    with serve(tmp_path) as server, ThreadPoolExecutor(4) as pool:
        arrays = [open_volume(server.url).scales[0].array for _ in range(4)]
        warm_up(arrays[0])
        server.failures["4_4_40/"] = "silent"
        server.requests.clear()
        unwanted = threading.Event()
        options = ReadOptions(abandoned=unwanted.is_set)
        reads = [pool.submit(array.read, np.s_[...], options) for array in arrays]
        while not server.requests:
            wait(reads, 0.01)
        unwanted.set()
        for read in reads:
            with pytest.raises(AbandonedError):
                read.result()
        server.failures.clear()
        server.awake.set()
        np.testing.assert_array_equal(open_volume(server.url).scales[0].array[...], values)
        # At most what was on its way, of 108 chunks; then `info` and the chunks of the last read.
        assert len(server.requests) <= 32 + 1 + 27


def test_missing_chunks_on_a_server(tmp_path):
    _, values = make(tmp_path)
    (tmp_path / "4_4_40" / "19-35_11-27_7-27").unlink()
    with serve(tmp_path) as server:
        found = open_volume(server.url).scales[0].array[:, 5]
        expected = values[:, 5].copy()
        expected[:, 16:32, 16:32] = 0
        np.testing.assert_array_equal(found, expected)


# --- shards ---------------------------------------------------------------------------------------


def test_shards_over_http(isbi):
    here = open_volume(isbi / "affinities-sharded").scales[0].array
    with serve(isbi / "affinities-sharded") as server:
        there = open_volume(server.url).scales[0].array
        np.testing.assert_array_equal(there[:, 3, 40:90, 30:100], here[:, 3, 40:90, 30:100])
        indices = [asked for _, asked in server.requests if asked and asked.startswith("bytes=0-")]
        server.requests.clear()
        np.testing.assert_array_equal(there[:, 19, 40:90, 30:100], here[:, 19, 40:90, 30:100])
        assert len(indices) >= 1
        assert len(server.requests) <= 12  # chunks and a minishard or two, no more indices
        np.testing.assert_array_equal(there[0, 28], here[0, 28])


def test_seekable_chunks_in_plain_shards(tmp_path):
    import json

    import tensorstore as ts

    from napari_kemp.precomputed.sharding import chunk_key

    volume, values = make(tmp_path / "v")
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1",
        "preshift_bits": 2,
        "hash": "identity",
        "minishard_bits": 1,
        "shard_bits": 1,
        "minishard_index_encoding": "raw",
        "data_encoding": "raw",
    }
    info = json.loads((tmp_path / "v" / "info").read_text())
    info["scales"][0]["sharding"] = sharding
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "info").write_text(json.dumps(info))
    store = ts.KvStore.open(
        {
            "driver": "neuroglancer_uint64_sharded",
            "metadata": sharding,
            "base": f"file://{tmp_path}/s/4_4_40/",
        }
    ).result()
    (scale,) = volume.scales
    for cell in scale.grid.cells():
        data = (tmp_path / "v" / "4_4_40" / scale.grid.name(cell)).read_bytes()
        store.write(chunk_key(cell, scale.grid.shape_xyz), data).result()
    with serve(tmp_path / "s") as server:
        array = open_volume(server.url).scales[0].array
        server.sent = 0
        np.testing.assert_array_equal(array[:, 13], values[:, 13])
        stored = sum(path.stat().st_size for path in (tmp_path / "s" / "4_4_40").iterdir())
        assert server.sent < stored / 8


# --- S3 -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3():
    """A bucket of Amazon's, on this machine."""
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    settings = {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    client = boto3.client("s3")
    client.create_bucket(Bucket="volumes")
    yield client
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    server.stop()


def upload(client, folder, prefix):
    for path in folder.rglob("*"):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(folder)}"
            client.put_object(Bucket="volumes", Key=key, Body=path.read_bytes())


def test_s3(tmp_path, s3):
    _, values = make(tmp_path)
    upload(s3, tmp_path, "a/b")
    for url in ("s3://volumes/a/b", "precomputed://s3://volumes/a/b/"):
        volume = open_volume(url)
        np.testing.assert_array_equal(volume.scales[0].array[:, 13], values[:, 13])
        np.testing.assert_array_equal(volume.scales[0].array[...], values)
    with pytest.raises(InfoError, match="s3://volumes/a/c/info: there is no such file"):
        open_volume("s3://volumes/a/c")
    volume.scales[0].write_chunk(
        (0, 0, 0), kempressed.encode(np.full((16, 16, 20, 3), 0.5, np.float32), seekable=True)
    )
    assert (open_volume("s3://volumes/a/b").scales[0].array[:, 3, :16, :16] == 0.5).all()


def test_s3_without_credentials(tmp_path, s3, monkeypatch):
    _, values = make(tmp_path)
    upload(s3, tmp_path, "public")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    array = open_volume("s3://volumes/public").scales[0].array
    np.testing.assert_array_equal(array[:, 13], values[:, 13])
