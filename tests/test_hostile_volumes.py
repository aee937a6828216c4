"""Volumes made to do harm: none of them reads, writes or allocates what it should not."""

import gzip
import json
import os
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hostile_infos import KEYS, MEMBERS, SCALE, SHARDING, written_files
from test_anywhere import serve

from napari_kemp import ChunkError, InfoError, KempError, create_volume, open_volume
from napari_kemp.plugin.layers import volume_layers
from napari_kemp.precomputed import remove_volume
from napari_kemp.precomputed.volume import INFO_LIMIT_BYTES

CHUNK = "-5-3_7-15_3-7"  # the first one of SCALE


def write_info(folder, **changes):
    folder.mkdir(exist_ok=True)
    members = {**MEMBERS, "scales": [{**SCALE, **changes}]}
    (folder / "info").write_text(json.dumps(members))


def describe(data, arguments, layer_type):
    """Ask what napari asks of a layer before it draws anything."""
    for level in data if isinstance(data, list) else [data]:
        assert all(n >= 0 for n in level.shape)
    assert np.isfinite([*arguments["scale"], *arguments["translate"]]).all()


def use(volume):
    """Do to a volume all that can be done to one; return what is not an error of this family."""
    surprises = []

    def attempt(action):
        try:
            action()
        except KempError as error:
            if not str(error).startswith((volume.url, "the encoding")):
                surprises.append(error)
        except Exception as error:
            surprises.append(error)

    for scale in volume.scales:
        attempt(partial(scale.array.read, np.s_[:1, :1, :1, :1]))
        if scale.grid.num_cells:
            attempt(partial(scale.write_chunk, (0, 0, 0), b"data"))
            attempt(partial(scale.array.read, np.s_[:1, :1, :1, :1]))
        attempt(scale.holds_chunks)
    attempt(lambda: [describe(*layer) for layer in volume_layers(volume)])
    attempt(volume.info.to_json)
    attempt(partial(remove_volume, volume))
    return surprises


def test_a_thousand_info_files_are_refused_or_opened_and_nothing_else_happens(tmp_path):
    folder, outside = tmp_path / "v", tmp_path / "outside"
    outside.mkdir()
    (outside / CHUNK).write_bytes(b"mine")
    opened = refused = 0
    for content in written_files(seed=7, count=1000):
        folder.mkdir(exist_ok=True)
        if not (folder / "link").is_symlink():
            (folder / "link").symlink_to(outside)
        (folder / "info").write_bytes(content)
        try:
            volume = open_volume(folder)
        except InfoError as error:
            refused += 1
            message = str(error)
            assert message.startswith(f"{folder}/info: "), content[:1000]
            assert len(message) < 400 + len(str(folder)), content[:1000]
        else:
            opened += 1
            assert use(volume) == [], content[:1000]
        assert {path.name for path in tmp_path.iterdir()} == {"v", "outside"}
        assert (outside / CHUNK).read_bytes() == b"mine"
        assert len(list(outside.iterdir())) == 1
    assert opened > 100
    assert refused > 100


def test_errors_name_the_member_however_deep(tmp_path):
    for content, message in [
        (b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}", "a: nested more than 64 levels deep"),
        (b'{"a": ' + b"[" * 500_000 + b"]" * 500_000 + b"}", "not valid JSON"),
        (b'{"num_channels": ' + b"9" * 5000 + b"}", "not valid JSON: Exceeds the limit"),
        (b"\xef\xbb\xbf\xff{}", "not valid JSON"),
        (b" " * INFO_LIMIT_BYTES + b"{}", "more than"),
    ]:
        (tmp_path / "info").unlink(missing_ok=True)
        (tmp_path / "info.gz").write_bytes(gzip.compress(content, 1))
        with pytest.raises(InfoError, match=f"^{tmp_path}/info: .*{message}"):
            open_volume(tmp_path)


@pytest.mark.parametrize("key", ["a\0b", "\ud800", ""])
def test_a_key_that_no_path_can_say_is_refused(tmp_path, key):
    write_info(tmp_path, key=key)
    with pytest.raises(InfoError, match=r"info: scales\[0\].key: expected a relative path, got"):
        open_volume(tmp_path)


def test_a_volume_of_thousands_of_scales_opens(tmp_path):
    scales = [{**SCALE, "key": str(i)} for i in range(5000)]
    (tmp_path / "info").write_text(json.dumps({**MEMBERS, "scales": scales}))
    volume = open_volume(tmp_path)
    assert len(volume.scales) == 5000
    assert volume_layers(volume)


@pytest.mark.parametrize("encoding", ["raw", "fpzip", "kempressed"])
@pytest.mark.parametrize("many", ["chunk_sizes", "num_channels"])
def test_a_chunk_larger_than_memory_is_refused_before_it_is_asked_for(tmp_path, encoding, many):
    size = [2**40, 2**40, 2**40] if many == "chunk_sizes" else [8, 8, 4]
    write_info(tmp_path, size=size, chunk_sizes=[size], voxel_offset=[0, 0, 0], encoding=encoding)
    if many == "num_channels":
        info = json.loads((tmp_path / "info").read_text())
        (tmp_path / "info").write_text(json.dumps({**info, "num_channels": 2**61}))
    (scale,) = open_volume(tmp_path).scales
    for read in (lambda: scale.array[:1, :1, :1, :1], lambda: scale.load_chunk((0, 0, 0))):
        with pytest.raises(ChunkError, match=r"chunk 0-.* GiB, more than a quarter of .*see ch"):
            read()


# --- where reads and writes go --------------------------------------------------------------------


class Witness(BaseHTTPRequestHandler):
    """Counts who comes by."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.requests.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_PUT = do_POST = do_HEAD = do_GET  # noqa: N815


@pytest.fixture
def witness():
    """Another server, of which a volume may know, and to which nobody should go."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Witness)
    server.requests = []
    server.host = f"127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def keys_to(witness):
    host = witness.host
    return [
        *(f"http://{host}/x", f"https://{host}/x", f"//{host}/x", f"/http://{host}", f"@{host}/x"),
        *(f"../{host}/x", f"..//{host}/x", f"http:{host}", f"http:\\\\{host}", f"x|http://{host}/"),
        *(f"s3://{host}/x", f"gs://{host}/x", f"precomputed://http://{host}/x", f":80@{host}"),
        *(f"?host={host}", f"#{host}", f"x\r\nHost: {host}", "../../x", "%2e%2e/%2e%2e/x"),
    ]


@pytest.mark.parametrize("sharded", [False, True])
def test_no_key_leads_to_another_server(tmp_path, witness, monkeypatch, sharded):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{witness.host}")
    keys = keys_to(witness)
    sharding = {"sharding": {**SHARDING, "minishard_index_encoding": "raw"}} if sharded else {}
    with serve(tmp_path) as server:
        for number, key in enumerate(keys):
            write_info(tmp_path / f"{number}", key=key, **sharding)
            for url in (f"{server.url}/{number}", tmp_path / f"{number}"):
                try:
                    volume = open_volume(url)
                except InfoError as error:
                    assert "scales[0].key" in str(error)
                    continue
                with suppress(ChunkError):
                    assert not volume.scales[0].array[:1, 0].any()
                with suppress(ChunkError):
                    volume.scales[0].write_chunk((0, 0, 0), b"data")
        assert len(server.requests) > len(keys)
    assert witness.requests == []


def test_no_redirection_leads_to_another_server(tmp_path, witness):
    """A server that one trusts with a volume is not trusted with one's own network."""
    write_info(tmp_path, encoding="kempressed")
    with serve(tmp_path) as server:
        volume = open_volume(server.url)
        server.headers["Location"] = f"http://{witness.host}/x"
        server.failures["/"] = 302
        with pytest.raises(InfoError, match=f"{server.url}/info: .*302"):
            open_volume(server.url)
        with pytest.raises(ChunkError, match=r"chunk .*302"):
            volume.scales[0].array[:1, 0]
    assert witness.requests == []


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("key", KEYS)
def test_no_key_leads_a_write_out_of_the_folder(tmp_path, key, sharded):
    around = tmp_path / "around"
    folder = around / "v"
    write_sharding = {"sharding": {**SHARDING, "data_encoding": "raw"}} if sharded else {}
    around.mkdir()
    (around / "outside").mkdir()
    (around / "outside" / CHUNK).write_bytes(b"mine")
    (around / "outside" / "0.shard").write_bytes(b"mine")
    write_info(folder, key=key, **write_sharding)
    (folder / "link").symlink_to(around / "outside")
    before = tree(around / "outside")
    try:
        volume = open_volume(folder)
        (scale,) = volume.scales
        if sharded:
            scale.write_shard({(0, 0, 0): b"data"})
        else:
            scale.write_chunk((0, 0, 0), b"data")
        remove_volume(volume)
    except KempError:
        pass
    assert tree(around / "outside") == before
    assert {path.name for path in tmp_path.iterdir()} == {"around"}
    assert {path.name for path in around.iterdir()} == {"v", "outside"}


@pytest.mark.parametrize("name", [CHUNK, f"{CHUNK}.__lock", f"{CHUNK}.gz", f"{CHUNK}.gz.__lock"])
@pytest.mark.parametrize("encoding", ["raw", "fpzip"])
def test_a_chunk_is_not_written_through_a_link(tmp_path, name, encoding):
    """A link to a file leads out as well as one to a folder does: archives can hold both."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    write_info(tmp_path / "v", encoding=encoding)
    (tmp_path / "v" / "4_4_40").mkdir()
    (tmp_path / "v" / "4_4_40" / name).symlink_to(outside)
    volume = open_volume(tmp_path / "v")
    try:
        volume.scales[0].write_chunk((0, 0, 0), b"data")
    except ChunkError as error:
        assert f"{name} is a link: remove it" in str(error)
    try:
        remove_volume(volume)
    except ChunkError as error:
        assert f"{name} is a link: remove it" in str(error)
    assert outside.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["0.shard", "0.shard.__lock"])
def test_a_shard_is_not_written_through_a_link(tmp_path, name):
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    write_info(tmp_path / "v", sharding=SHARDING)
    (tmp_path / "v" / "4_4_40").mkdir()
    (tmp_path / "v" / "4_4_40" / name).symlink_to(outside)
    (scale,) = open_volume(tmp_path / "v").scales
    try:
        scale.write_shard({(0, 0, 0): b"data"})
    except ChunkError as error:
        assert "is a link: remove it" in str(error) or name == "0.shard"
    assert outside.read_bytes() == b"mine"


def test_an_info_file_is_not_written_through_a_link(tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "info.__lock").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").write_bytes(b"mine")
    place = {"size": (8, 8, 4), "resolution": (4, 4, 40), "chunk_size": (8, 8, 4)}
    with pytest.raises(InfoError, match=r"info.__lock is a link: remove it"):
        create_volume(tmp_path / "v", encoding="raw", **place)
    assert (tmp_path / "outside").read_bytes() == b"mine"


# --- shards that lie ------------------------------------------------------------------------------

ONE_SHARD = {**SHARDING, "preshift_bits": 10, "minishard_bits": 0, "shard_bits": 0}
U64 = 2**64


def shard(index, *, start=0, end=None, body=b""):
    """The file of one minishard; `index` as its three rows are stored, before they are packed."""
    packed = gzip.compress(struct.pack(f"<{len(index)}Q", *(n % U64 for n in index)), mtime=0)
    end = len(packed) + start if end is None else end
    return struct.pack("<QQ", start % U64, end % U64) + packed + body


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("an empty file", b""),
        ("a file that ends in its index", b"\0" * 15),
        ("an index beyond the end", shard([0, 0, 10], end=10**6)),
        ("an index of 2^63 bytes", shard([0, 0, 10], end=2**63)),
        ("an index that ends before it starts", shard([0, 0, 10], start=50, end=20)),
        ("an index at the end of all numbers", shard([0, 0, 10], start=-16, end=-1)),
        ("an index that is not gzip", struct.pack("<QQ", 0, 100) + bytes(range(100))),
        ("an index that is cut off", shard([0, 0, 10], end=30)),
        ("an index of one number", shard([0])),
        ("a chunk beyond the end", shard([0, 0, 10**6], body=b"x" * 50)),
        ("a chunk of 2^62 bytes", shard([0, 0, 2**62])),
        ("a chunk of 2^64 - 1 bytes", shard([0, 0, -1])),
        ("a chunk before the file", shard([0, -1000, 10])),
        ("chunks that overlap the index", shard([0, 0, 40])),
        ("the same chunk twice", shard([0, 0, 0, 0, 10, 10], body=b"x" * 50)),
        ("chunks that fall back", shard([5, -5, 0, 20, 10, 10], body=b"x" * 50)),
    ],
)
@pytest.mark.parametrize("packed", ["raw", "gzip"])
def test_shards_that_lie_are_errors_of_their_chunk(tmp_path, name, content, packed):
    write_info(tmp_path, sharding={**ONE_SHARD, "data_encoding": packed}, encoding="fpzip")
    (tmp_path / "4_4_40").mkdir()
    (tmp_path / "4_4_40" / "0.shard").write_bytes(content)
    array = open_volume(tmp_path).scales[0].array
    try:
        assert not array[0, 0, 0, 0]  # no such chunk
    except ChunkError as error:
        assert str(error).startswith(f"{tmp_path}, scale 4_4_40, chunk {CHUNK}: ")
    else:
        assert name == "an empty file" or "index" in name or "fall back" in name


# --- bombs ----------------------------------------------------------------------------------------

BOMB_BYTES = 1 << 29


@pytest.fixture(scope="module")
def bomb():
    """Half a MiB that unpacks to a thousand times as much; each of its members is a bomb too."""
    return gzip.compress(bytes(BOMB_BYTES // 8), 9, mtime=0) * 8


def peak_growth(folder):
    """MiB by which a process grows while it reads a chunk that must be refused."""
    program = (
        "import resource, sys, napari_kemp\n"
        "from napari_kemp import ChunkError\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "array = napari_kemp.open_volume(sys.argv[1]).scales[0].array\n"
        "array[..., -1:]\n"  # missing; the first read imports what reading takes
        "before = peak()\n"
        "try:\n"
        "    array[..., :1, :1, :1]\n"
        "except ChunkError as error:\n"
        "    print(peak() - before, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    growth, _, message = done.stdout.partition(" ")
    return int(growth), message


@pytest.mark.parametrize("encoding", ["raw", "kempressed", "compressed_segmentation", "png"])
def test_a_packed_chunk_unpacks_to_no_more_than_it_may(tmp_path, bomb, encoding):
    write_info(tmp_path, encoding=encoding)
    if encoding == "compressed_segmentation":
        info = json.loads((tmp_path / "info").read_text())
        (tmp_path / "info").write_text(json.dumps({**info, "data_type": "uint64"}))
    (tmp_path / "4_4_40").mkdir()
    (tmp_path / "4_4_40" / f"{CHUNK}.gz").write_bytes(bomb)
    growth, message = peak_growth(tmp_path)
    assert growth < 32
    assert f"chunk {CHUNK}: unpacking the .gz object gives more than" in message


def test_a_packed_chunk_in_a_shard_unpacks_to_no_more_than_it_may(tmp_path, bomb):
    write_info(tmp_path, sharding=ONE_SHARD)
    index = shard([0, 0, len(bomb)])
    start, end = struct.unpack("<QQ", index[:16])
    index = struct.pack("<QQ", len(bomb), len(bomb) + end - start) + bomb + index[16:]
    (tmp_path / "4_4_40").mkdir()
    (tmp_path / "4_4_40" / "0.shard").write_bytes(index)
    growth, message = peak_growth(tmp_path)
    assert growth < 32
    assert f"chunk {CHUNK}: unpacking the .gz object gives more than" in message


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_longer_than_a_chunk_can_be_is_not_read(tmp_path, suffix):
    """An archive can hold files that are all hole."""
    write_info(tmp_path, encoding="kempressed")
    (tmp_path / "4_4_40").mkdir()
    with (tmp_path / "4_4_40" / f"{CHUNK}{suffix}").open("wb") as file:
        file.truncate(1 << 40)
    growth, message = peak_growth(tmp_path)
    assert growth < 32
    assert f"chunk {CHUNK}: {tmp_path}/4_4_40/{CHUNK}{suffix} is {1 << 40} bytes, more" in message


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_an_info_file_of_a_tebibyte_is_not_read(tmp_path, suffix):
    with (tmp_path / f"info{suffix}").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InfoError, match=f"info{suffix} is {1 << 40} bytes, more than"):
        open_volume(tmp_path)


@pytest.mark.parametrize("place", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_waited_for(tmp_path, place):
    place(tmp_path / "info")
    with pytest.raises(InfoError, match=f"{tmp_path}/info is not a file"):
        open_volume(tmp_path)
    (tmp_path / "info").unlink()
    write_info(tmp_path, encoding="raw")
    (tmp_path / "4_4_40").mkdir()
    place(tmp_path / "4_4_40" / CHUNK)
    with pytest.raises(ChunkError, match=f"chunk {CHUNK}: {tmp_path}/4_4_40/{CHUNK} is not a f"):
        open_volume(tmp_path).scales[0].array[:1, :1, :1, :1]
