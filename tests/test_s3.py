"""Saves to S3, against moto's server on this machine."""

import logging
import socket
import urllib.request

import boto3
import numpy as np
import pytest
import tensorstore
from moto.server import ThreadedMotoServer

import napari_kemp
from napari_kemp import ExportError, open_volume
from napari_kemp.export import execute, make_plan
from napari_kemp.sample import make_affinities

AFFINITIES = make_affinities((70, 50, 20))
ARGUMENTS = {"chunk_size": (16, 16, 8), "resolution": (4, 4, 40)}


@pytest.fixture
def server(monkeypatch):
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    endpoint = f"http://127.0.0.1:{port}"
    urllib.request.urlopen(f"{endpoint}/moto-api/reset", data=b"").close()
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    s3.create_bucket(Bucket="volumes")
    yield server, s3
    server.stop()


def objects(s3, prefix):
    listed = s3.get_paginator("list_objects_v2").paginate(Bucket="volumes", Prefix=prefix)
    return {
        entry["Key"].removeprefix(prefix): s3.get_object(Bucket="volumes", Key=entry["Key"])[
            "Body"
        ].read()
        for page in listed
        for entry in page.get("Contents", [])
    }


@pytest.mark.parametrize("sharded", [False, True])
def test_a_bucket_holds_what_a_folder_would(server, tmp_path, sharded):
    _, s3 = server
    arguments = {**ARGUMENTS, "sharded": sharded, "verify": True}
    napari_kemp.export(AFFINITIES, tmp_path / "here", **arguments)
    report = napari_kemp.export(AFFINITIES, "s3://volumes/there", **arguments)
    assert report.verified == report.chunks
    here = {
        str(p.relative_to(tmp_path / "here")): p.read_bytes()
        for p in (tmp_path / "here").rglob("*")
        if p.is_file()
    }
    assert objects(s3, "there/") == here
    np.testing.assert_allclose(
        open_volume("s3://volumes/there").scales[0].array, AFFINITIES, rtol=0, atol=2.0**-23
    )


def test_a_stopped_save_is_resumed_in_a_bucket(server):
    _, s3 = server
    napari_kemp.export(AFFINITIES, "s3://volumes/whole", **ARGUMENTS)
    run = execute(make_plan(AFFINITIES, "s3://volumes/stopped", **ARGUMENTS), threads=2)
    for _ in range(9):
        next(run)
    run.close()
    with pytest.raises(ExportError, match="there is a volume already"):
        napari_kemp.export(AFFINITIES, "s3://volumes/stopped", **ARGUMENTS)
    report = napari_kemp.export(AFFINITIES, "s3://volumes/stopped", **ARGUMENTS, resume=True)
    assert report.kept >= 9
    assert objects(s3, "stopped/") == objects(s3, "whole/")


def test_a_server_that_goes_away_is_told_and_the_save_resumed(server, monkeypatch):
    moto, s3 = server
    retries = {"max_retries": 1, "initial_delay": "10ms"}
    impatient = tensorstore.Context({"s3_request_retries": retries})
    monkeypatch.setattr("napari_kemp.precomputed.storage._context", lambda: impatient)
    run = execute(make_plan(AFFINITIES, "s3://volumes/v", **ARGUMENTS), threads=2)
    next(run)
    moto.stop()
    with pytest.raises(ExportError, match=r"s3://volumes/v.*could not be saved.*can be resumed"):
        for _ in run:
            pass
    moto = ThreadedMotoServer("127.0.0.1", moto.get_host_and_port()[1], verbose=False)
    moto.start()
    napari_kemp.export(AFFINITIES, "s3://volumes/v", **ARGUMENTS, resume=True)
    napari_kemp.export(AFFINITIES, "s3://volumes/whole", **ARGUMENTS)
    assert objects(s3, "v/") == objects(s3, "whole/")
    moto.stop()
