"""Saves on a Dask cluster: the same bytes and the same report, whoever dies on the way."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid

import numpy as np
import pytest
from killing import tree

import napari_kemp
from napari_kemp import ExportError
from napari_kemp.export import execute, make_plan
from napari_kemp.export.ledger import NAME
from napari_kemp.sample import make_affinities

distributed = pytest.importorskip("distributed")

AFFINITIES = make_affinities((130, 90, 20))
ARGUMENTS = {"chunk_size": (16, 16, 8), "resolution": (4, 4, 40)}


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


@pytest.fixture
def saved(tmp_path):
    np.save(tmp_path / "a.npy", AFFINITIES)
    report = napari_kemp.export(AFFINITIES, tmp_path / "here", **ARGUMENTS)
    return report, tree(tmp_path / "here")


def without_time(report):
    members = report.to_json()
    return {k: v for k, v in members.items() if k not in ("seconds", "destination")}


@pytest.mark.parametrize("kind", ["array", "file", "volume", "address"])
def test_a_cluster_writes_the_same_bytes(cluster, tmp_path, saved, kind):
    here, expected = saved
    source = AFFINITIES if kind == "array" else tmp_path / "a.npy"
    if kind == "volume":
        source = tmp_path / "raw"
        napari_kemp.export(AFFINITIES, source, encoding="raw", chunk_size=(64, 64, 16), mips=0)
    elif kind == "file":
        from napari_kemp.export.parts import load

        source = load(source)
    else:
        source = AFFINITIES
    steps = []
    with distributed.Client(cluster) as client:
        report = napari_kemp.export(
            source,
            tmp_path / "there",
            **ARGUMENTS,
            dask=cluster.scheduler_address if kind == "address" else client,
            progress=steps.append,
        )
    assert tree(tmp_path / "there") == expected
    assert without_time(report) == without_time(here)
    assert [step.done for step in steps] == [*range(1, here.chunks + 1)]


def test_a_worker_may_be_killed(cluster, tmp_path, saved):
    here, expected = saved
    with distributed.Client(cluster) as client:
        pids = list(client.run(os.getpid).values())
        plan = make_plan(AFFINITIES, tmp_path / "there", **ARGUMENTS)
        run = execute(plan, dask=client)
        next(run)
        os.kill(pids[0], signal.SIGKILL)
        with pytest.raises(StopIteration) as end:
            while True:
                next(run)
    assert tree(tmp_path / "there") == expected
    assert without_time(end.value.value) == without_time(here)


def test_a_stopped_save_is_resumed_on_another_machine(cluster, tmp_path, saved):
    with distributed.Client(cluster) as client:
        run = execute(make_plan(AFFINITIES, tmp_path / "there", **ARGUMENTS), dask=client)
        next(run)
        run.close()
    report = napari_kemp.export(AFFINITIES, tmp_path / "there", **ARGUMENTS, resume=True)
    assert report.kept > 0
    assert tree(tmp_path / "there") == saved[1]


class Gated:
    """An array whose first readers wait until a file appears, and say so in files of their own."""

    shape, dtype = AFFINITIES.shape, AFFINITIES.dtype

    def __init__(self, folder):
        self.folder = folder

    def __getitem__(self, key):
        (self.folder / f"read-{uuid.uuid4()}").touch()
        while not (self.folder / "open").exists():
            time.sleep(0.01)
        return AFFINITIES[key]


def reads(folder):
    return len(list(folder.glob("read-*")))


def running(dask_worker):
    return len(dask_worker.active_threads)


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def interruptible():
    """Let SIGINT interrupt, also where a shell has it ignored: it does so for background jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_nobody_waits_for_tasks_that_are_running(cluster, tmp_path, saved, interruptible):
    gate = tmp_path / "gate"
    gate.mkdir()

    def interrupt():
        try:
            wait_until(lambda: reads(gate) == 2)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    with distributed.Client(cluster) as client:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            napari_kemp.export(Gated(gate), tmp_path / "there", **ARGUMENTS, dask=client)
        assert reads(gate) == 2  # both of them are still waiting, and nobody for them
        time.sleep(1.1)  # workers ask once a second
        (gate / "open").touch()
        wait_until(lambda: not any(client.run(running).values()))
    assert reads(gate) == 2
    left = tree(tmp_path / "there")
    for name, data in left.items():
        assert name == NAME or data == saved[1][name]
    report = napari_kemp.export(AFFINITIES, tmp_path / "there", **ARGUMENTS, resume=True)
    assert report.kept == len(left) - 2
    assert tree(tmp_path / "there") == saved[1]


class Failing:
    shape, dtype = AFFINITIES.shape, AFFINITIES.dtype

    def __getitem__(self, key):
        raise OSError("the tape is torn")


def test_a_failure_names_the_chunk(cluster, tmp_path):
    with (
        distributed.Client(cluster) as client,
        pytest.raises(ExportError, match=r"16_0-8 could not be saved: the tape is torn"),
    ):
        napari_kemp.export(Failing(), tmp_path / "there", **ARGUMENTS, dask=client)


def test_no_cluster_is_an_error(tmp_path):
    with pytest.raises(ExportError, match="no Dask scheduler can be reached"):
        napari_kemp.export(AFFINITIES, tmp_path / "there", dask="not-an-address")


def test_workers_need_no_napari():
    code = (
        "import sys\n"
        "import napari_kemp.export.cluster, distributed, tensorstore\n"
        "assert not {'napari', 'qtpy', 'magicgui'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
