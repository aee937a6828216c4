import gzip
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_kemp import create_volume, open_volume
from napari_kemp.errors import ChunkError, InfoError
from napari_kemp.precomputed.location import Location
from napari_kemp.precomputed.storage import ObjectStore, StoredObject
from napari_kemp.precomputed.transport import wrap_gzip


def make_volume(url, **changes):
    """A volume of eight small chunks; returns it and its values."""
    settings = {
        "size": (12, 10, 8),
        "resolution": (4, 4, 40),
        "chunk_size": (6, 5, 4),
        "encoding": "raw",
        "voxel_offset": (-3, 2, 0),
        "num_channels": 1,
    }
    volume = create_volume(url, **{**settings, **changes})
    values = np.random.default_rng(0).random((1, 8, 10, 12), np.float32)
    volume.scales[0].write(values, (-3, 2, 0))
    return volume, values


# --- places ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "again"),
    [
        ("/data/v", "/data/v"),
        ("/data/v/", "/data/v"),
        ("precomputed:///data/v", "/data/v"),
        ("file:///data/v", "/data/v"),
        ("precomputed://file:///data/v/", "/data/v"),
        ("file:///data/a%20b", "/data/a b"),
        (Path("/data/a%20b"), "/data/a%20b"),
        ("/data/a%20b#c?d", "/data/a%20b#c?d"),
        ("/data/x/../v", "/data/v"),
        ("precomputed://https://host:8080/a%20b/v/", "https://host:8080/a%20b/v"),
        ("http://host/v?token=1", "http://host/v?token=1"),
        ("gs://bucket/a/v/", "gs://bucket/a/v"),
        ("precomputed://s3://bucket/a b/v", "s3://bucket/a b/v"),
        ("memory://a/v", "memory://a/v"),
    ],
)
def test_a_location_is_written_so_that_it_opens_again(url, again):
    location = Location.parse(url)
    assert location.url == again
    assert Location.parse(location.url) == location


def test_relative_and_home_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Location.parse("a/v").url == f"{tmp_path}/a/v"
    assert Location.parse("~/v").url == f"{tmp_path}/v"
    assert Location.parse("precomputed://~/v").url == f"{tmp_path}/v"
    assert Location.parse("file://~/v").url == f"{tmp_path}/v"


def test_a_file_url_is_taken_literally_where_such_a_folder_exists(tmp_path):
    (tmp_path / "a%20b").mkdir()
    assert Location.parse(f"file://{tmp_path}/a%20b").url == f"{tmp_path}/a%20b"
    assert Location.parse(f"file://{tmp_path}/c%20d").url == f"{tmp_path}/c d"


@pytest.mark.parametrize("url", ["", "precomputed://", "file://", "ftp://host/v", "zarr://x"])
def test_what_is_no_place_for_a_volume(url):
    with pytest.raises(InfoError):
        open_volume(url)


@pytest.mark.parametrize(
    "url",
    [
        *("http://", "http:///v", "http://[::1/v", "http://host:x/v", "http://host:99999/v"),
        *(
            "https://:80/v",
            "http://?x",
            "http://host/\ud800",
            "s3://\ud800/v",
            "~nobody-of-that-name",
        ),
        *(
            "file://" + "x" * 5000,
            "a\0b",
            "file://a\0b",
            "file://a%00b",
            "memory://\0",
            "precomputed://gopher://x",
        ),
    ],
)
def test_malformed_urls_are_named(url):
    with pytest.raises(InfoError) as error:
        open_volume(url)
    assert url in str(error.value) or repr(url) in str(error.value)


PARTS = [
    *("precomputed://", "file://", "http://", "HTTP://", "https://", "gs://", "s3://", "memory://"),
    *("zarr://", "://", ":", "//", "/", "..", ".", "~", "?", "#", "@", "[", "]", "%", "%2e", "%00"),
    *(
        "|",
        "\\",
        " ",
        "\n",
        "\0",
        "\ud800",
        "é",
        "host",
        "127.0.0.1",
        "[::1]",
        ":80",
        ":x",
        "v",
        "info",
    ),
]


@settings(deadline=None, max_examples=500)
@given(st.lists(st.sampled_from(PARTS) | st.text(max_size=5), max_size=9).map("".join))
def test_any_text_is_a_place_or_an_error(url):
    try:
        location = Location.parse(url)
        info_url = location.object_url("info")
    except InfoError as error:
        assert repr(url) in str(error) or url in str(error)
        return
    assert Location.parse(location.url).spec() == location.spec()
    assert info_url.endswith("info") or location.query
    if location.scheme in ("file", "memory"):
        with pytest.raises(InfoError):
            open_volume(url)


@pytest.mark.parametrize(
    ("url", "key", "child", "inside"),
    [
        ("/data/v", "4_4_40", "/data/v/4_4_40", True),
        ("/data/v", "./a//b/", "/data/v/a/b", True),
        ("/data/v", "/a", "/data/v/a", True),
        ("/data/v", "a/../b", "/data/v/b", True),
        ("/data/v", "../w/4_4_40", "/data/w/4_4_40", False),
        ("/data/v", "../v2", "/data/v2", False),
        ("/data/v", "..", "/data", False),
        ("http://host/v", "../w", "http://host/w", False),
        ("gs://bucket/v", "../w", "gs://bucket/w", False),
        ("gs://bucket", "w", "gs://bucket/w", True),
    ],
)
def test_keys_are_relative_paths(url, key, child, inside):
    location = Location.parse(url)
    found = location.child(key)
    assert found.url == child
    assert location.contains(found) is inside


@pytest.mark.parametrize("url", ["/data/v", "http://host/v", "gs://bucket/v", "s3://bucket/v"])
def test_keys_do_not_leave_the_disk_the_host_or_the_bucket(url):
    with pytest.raises(ValueError, match="leads out of"):
        Location.parse(url).child("../../../w")


# --- local disks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["plain", "a b", "100%", "a%20b", "#1?x=2", "é µ", "v:0|x"])
def test_folders_of_any_name(tmp_path, folder):
    volume, values = make_volume(tmp_path / folder)
    for url in (tmp_path / folder, str(tmp_path / folder), volume.url):
        np.testing.assert_array_equal(open_volume(url).scales[0].array, values)
    assert (tmp_path / folder / "4_4_40" / "-3-3_2-7_0-4.gz").is_file()


def test_every_suffix_is_found_and_the_usual_one_is_tried_first(tmp_path, monkeypatch):
    import brotli
    import zstandard

    for i in range(20):
        (tmp_path / f"b{i}.br").write_bytes(brotli.compress(b"br"))
    (tmp_path / "plain").write_bytes(b"plain")
    (tmp_path / "g.gz").write_bytes(wrap_gzip(b"gz"))
    (tmp_path / "z.zstd").write_bytes(zstandard.compress(b"zstd"))
    store = ObjectStore.at(Location.parse(tmp_path))

    tried = Counter()
    real = store._try

    def counting(key, *rest):
        tried[key] += 1
        real(key, *rest)

    monkeypatch.setattr(store, "_try", counting)

    def content(name):
        found = store.read(name).result(10)
        return found and found.unwrapped(100)

    assert content("b0") == b"br"
    for i in range(1, 20):
        assert content(f"b{i}") == b"br"
    assert sum(tried[f"b{i}"] for i in range(1, 20)) == 19
    assert [content(name) for name in ("plain", "g", "z", "none")] == [
        b"plain",
        b"gz",
        b"zstd",
        None,
    ]


def test_rewriting_leaves_no_second_truth(tmp_path):
    store = ObjectStore.at(Location.parse(tmp_path))
    for suffix in ("", ".br", ".zstd"):
        (tmp_path / f"chunk{suffix}").write_bytes(b"stale")
    assert store.write("chunk", b"fresh", gzip=True) == (tmp_path / "chunk.gz").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["chunk.gz"]
    assert store.write("chunk", b"fresher") == 7
    assert [path.name for path in tmp_path.iterdir()] == ["chunk"]
    assert store.read("chunk").result(10) == StoredObject(b"fresher", "")


def test_of_many_that_create_one_wins(tmp_path):
    def attempt(i):
        return ObjectStore.at(Location.parse(tmp_path)).write_new("info", b"%d" % i)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(attempt, range(16)))
    assert won.count(True) == 1
    assert (tmp_path / "info").read_bytes() == b"%d" % won.index(True)


def test_a_write_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    store = ObjectStore.at(Location.parse(tmp_path / "file"))
    with pytest.raises(OSError):
        store.write("chunk", b"data")
    assert (tmp_path / "file").read_bytes() == b""


def test_memory_volumes_live_as_long_as_the_process():
    volume, values = make_volume("memory://here/v")
    np.testing.assert_array_equal(open_volume("memory://here/v").scales[0].array, values)
    np.testing.assert_array_equal(open_volume(volume.url).scales[0].array, values)
    with pytest.raises(InfoError):
        open_volume("memory://there/v")


# --- web servers ----------------------------------------------------------------------------------


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder of CloudVolume's as an object store does: suffixes become encodings."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.paths.append(self.path)
        for part, status in self.server.failures.items():
            if part in self.path:
                self.send_error(status)
                return
        path = Path(self.translate_path(self.path))
        zipped = path.with_name(f"{path.name}.gz")
        if zipped.is_file():
            content, encoding = zipped.read_bytes(), "gzip"
        elif path.is_file():
            content, encoding = path.read_bytes(), None
        else:
            self.send_error(404)
            return
        self.send_response(200)
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)


class FilesAsTheyAre(Handler):
    """Serves files under their own names, as ``python -m http.server`` does."""

    def do_GET(self):
        self.server.paths.append(self.path)
        SimpleHTTPRequestHandler.do_GET(self)


@contextmanager
def serve(folder, handler=Handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    server.daemon_threads = True
    server.paths, server.failures = [], {}
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_http_with_and_without_content_encoding(tmp_path):
    _, values = make_volume(tmp_path / "zipped v", encoding="raw")
    make_volume(tmp_path / "plain", encoding="fpzip")
    assert (tmp_path / "zipped v" / "4_4_40" / "-3-3_2-7_0-4.gz").is_file()
    with serve(tmp_path) as server:
        for name in ("zipped v", "zipped%20v", "plain"):
            for prefix in ("", "precomputed://"):
                volume = open_volume(f"{prefix}{server.url}/{name}/")
                np.testing.assert_array_equal(volume.scales[0].array[...], values)
        assert "/zipped%20v/4_4_40/-3-3_2-7_0-4" in server.paths


def test_http_finds_objects_of_several_styles_in_one_folder(tmp_path):
    _, values = make_volume(tmp_path, encoding="raw")
    zipped = tmp_path / "4_4_40" / "-3-3_2-7_0-4.gz"
    zipped.with_suffix("").write_bytes(gzip.decompress(zipped.read_bytes()))
    zipped.unlink()
    with serve(tmp_path, FilesAsTheyAre) as server:
        array = open_volume(server.url).scales[0].array
        assert array[0, 0, 0, 0] == values[0, 0, 0, 0]
        np.testing.assert_array_equal(array[...], values)


@pytest.mark.parametrize(("encoding", "suffix"), [("raw", ".gz"), ("fpzip", "")])
def test_http_finds_suffixes_and_learns_them(tmp_path, encoding, suffix):
    _, values = make_volume(tmp_path, encoding=encoding)
    with serve(tmp_path, FilesAsTheyAre) as server:
        array = open_volume(server.url).scales[0].array
        np.testing.assert_array_equal(array[:, :1, :1, :1], values[:, :1, :1, :1])
        server.paths.clear()
        np.testing.assert_array_equal(array[...], values)
        assert {path.partition(".")[2] for path in server.paths} == {suffix.removeprefix(".")}
        assert len(server.paths) == array._reader.grid.num_cells - 1


def test_real_volumes_over_http(isbi):
    with serve(isbi) as server:
        for name in ("affinities-kempressed", "segmentation"):
            here, there = open_volume(isbi / name), open_volume(f"{server.url}/{name}")
            box = np.s_[:, 3:9, 100:180, 90:200]
            np.testing.assert_array_equal(there.scales[0].array[box], here.scales[0].array[box])


def test_http_404_is_a_missing_chunk(tmp_path):
    _, values = make_volume(tmp_path, encoding="kempressed")
    (tmp_path / "4_4_40" / "-3-3_2-7_0-4").unlink()
    with serve(tmp_path) as server:
        read = open_volume(server.url).scales[0].array[...]
    assert (read[:, :4, :5, :6] == 0).all()
    np.testing.assert_allclose(read[:, 4:], values[:, 4:], atol=2**-23)


@pytest.mark.parametrize("status", [403, 500, 503])
def test_http_errors_are_errors_that_hold_the_url(tmp_path, status):
    make_volume(tmp_path / "v")
    with serve(tmp_path) as server:
        volume = open_volume(f"{server.url}/v")
        server.failures["3-9_2-7"] = status
        began = time.perf_counter()
        with pytest.raises(ChunkError) as error:
            volume.scales[0].array[...]
        for part in (f"{server.url}/v", "4_4_40", "3-9_2-7_0-4", str(status)):
            assert part in str(error.value)
        volume.scales[0].array[..., :6]
        server.failures["info"] = status
        with pytest.raises(InfoError, match=f"{server.url}/v/info: .*{status}"):
            open_volume(f"{server.url}/v")
        assert time.perf_counter() - began < 15
        server.failures.clear()
        volume.scales[0].array[...]


def test_a_server_that_is_not_there(tmp_path):
    make_volume(tmp_path)
    with serve(tmp_path) as server:
        volume = open_volume(server.url)
    began = time.perf_counter()
    with pytest.raises(InfoError, match=f"{server.url}/info: .*[Cc]onnect"):
        open_volume(server.url)
    with pytest.raises(ChunkError, match=f"{server.url}, scale 4_4_40, chunk -3-3_2-7_0-4: "):
        volume.scales[0].array[...]
    assert time.perf_counter() - began < 15


def test_nothing_is_written_over_http(tmp_path):
    make_volume(tmp_path / "v")
    with serve(tmp_path) as server:
        with pytest.raises(InfoError, match="cannot be written"):
            make_volume(f"{server.url}/w")
        with pytest.raises(ChunkError, match="cannot be written"):
            open_volume(f"{server.url}/v").scales[0].write_chunk((0, 0, 0), b"data")


def test_one_request_a_chunk(tmp_path):
    make_volume(tmp_path)
    with serve(tmp_path) as server:
        array = open_volume(server.url).scales[0].array
        server.paths.clear()
        array[0, 0, :3, :]
        assert len(server.paths) == 2
        array[0, 1:4, :5, :]
        assert len(server.paths) == 2
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: array[...], range(6)))
        assert len(server.paths) == 8


# --- processes ------------------------------------------------------------------------------------


def run(program, *args):
    return subprocess.run(
        [sys.executable, "-c", program, *args], capture_output=True, text=True, timeout=60
    )


def test_importing_does_not_import_tensorstore():
    program = "import sys, napari_kemp.precomputed; assert 'tensorstore' not in sys.modules"
    assert run(program).returncode == 0


def test_a_process_ends_cleanly_while_chunks_are_on_their_way(tmp_path):
    make_volume(tmp_path)
    with serve(tmp_path) as server:
        program = (
            "import sys, threading, time, napari_kemp\n"
            "array = napari_kemp.open_volume(sys.argv[1]).scales[0].array\n"
            "threading.excepthook = lambda args: None\n"
            "threading.Thread(target=lambda: array[...], daemon=True).start()\n"
            "time.sleep(float(sys.argv[2]))\n"
        )
        for seconds in ("0", "0.003", "0.006", "0.009"):
            done = run(program, server.url, seconds)
            assert (done.returncode, done.stderr) == (0, "")


def test_gzip_on_disk_is_what_gzip_reads(tmp_path):
    make_volume(tmp_path)
    (chunk, *_) = (tmp_path / "4_4_40").iterdir()
    assert len(gzip.decompress(chunk.read_bytes())) == 6 * 5 * 4 * 4
