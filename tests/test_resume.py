"""Saves that were stopped, killed or refused, and what becomes of them when they are resumed."""

import json
import os
import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
from killing import Killer, tree

import napari_kemp
from napari_kemp import ExportError, open_volume
from napari_kemp.export import execute, make_plan
from napari_kemp.export.ledger import NAME
from napari_kemp.sample import make_affinities

AFFINITIES = make_affinities((70, 50, 20))
ARGUMENTS = {"chunk_size": (16, 16, 8), "resolution": (4, 4, 40)}


@pytest.fixture
def whole(tmp_path):
    """What an uninterrupted save leaves."""
    napari_kemp.export(AFFINITIES, tmp_path / "whole", **ARGUMENTS)
    return tree(tmp_path / "whole")


def stop_after(chunks, place, **arguments):
    run = execute(make_plan(AFFINITIES, place, **ARGUMENTS, **arguments), threads=2)
    for _ in range(chunks):
        next(run)
    run.close()


@pytest.mark.parametrize("sharded", [False, True])
def test_a_stopped_save_is_resumed_to_the_same_bytes(tmp_path, sharded):
    place = tmp_path / "saved"
    napari_kemp.export(AFFINITIES, tmp_path / "whole", **ARGUMENTS, sharded=sharded)
    stop_after(7, place, sharded=sharded)
    assert (place / NAME).is_file()
    report = napari_kemp.export(AFFINITIES, place, **ARGUMENTS, sharded=sharded, resume=True)
    assert report.kept >= 7
    total = sum(s.grid.num_cells for s in open_volume(place).scales)
    assert report.kept + report.chunks == total
    assert tree(place) == tree(tmp_path / "whole")


def test_killed_at_random_moments(tmp_path):
    random.seed(1)
    killer = Killer(tmp_path)
    kills = [killer.kill((n + random.random()) / 6) for n in range(6)]
    assert any(kill.chunks for kill in kills)
    assert sum(kill.kept for kill in kills) > 0
    old = {"encoding": "raw", "chunk_size": (32, 32, 16), "resolution": (8, 8, 40)}
    for n in range(2):
        killer.kill((n + random.random()) / 8, over=old)


def test_nothing_is_written_again_that_is_there(tmp_path, whole):
    stop_after(20, tmp_path / "saved")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "saved").glob("*/*")}
    napari_kemp.export(AFFINITIES, tmp_path / "saved", **ARGUMENTS, resume=True)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert tree(tmp_path / "saved") == whole


def test_what_others_damaged_is_made_anew(tmp_path, whole):
    stop_after(20, tmp_path / "saved")
    first, second, third = sorted((tmp_path / "saved" / "4_4_40").iterdir())[:3]
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:8])
    data = bytearray(third.read_bytes())
    data[len(data) // 2] ^= 1
    third.write_bytes(data)
    napari_kemp.export(AFFINITIES, tmp_path / "saved", **ARGUMENTS, resume=True)
    assert tree(tmp_path / "saved") == whole


def test_a_finished_save_has_nothing_left_to_do(tmp_path, whole):
    report = napari_kemp.export(AFFINITIES, tmp_path / "whole", **ARGUMENTS, resume=True)
    assert (report.chunks, report.kept) == (0, len(whole) - 1)
    assert tree(tmp_path / "whole") == whole


def test_what_no_save_left_is_not_completed(tmp_path, whole):
    next((tmp_path / "whole" / "4_4_40").iterdir()).unlink()
    with pytest.raises(ExportError, match="is missing, although no unfinished save is known"):
        napari_kemp.export(AFFINITIES, tmp_path / "whole", **ARGUMENTS, resume=True)
    with pytest.raises(ExportError, match="another volume already"):
        napari_kemp.export(
            AFFINITIES, tmp_path / "whole", **{**ARGUMENTS, "chunk_size": (8, 8, 8)}, resume=True
        )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"chunk_size": (8, 8, 8)}, r"scales.0.chunk_sizes.0.0: 16 then, 8 now"),
        ({"encoding": "fpzip"}, r'encoding: "kempressed" then, "fpzip" now'),
        ({"region": ((0, 0, 0), (70, 50, 19))}, r"plan.region.1.2: 20 then, 19 now"),
        ({"mips": 1}, r"scales"),
    ],
)
def test_other_parameters_are_not_mixed_in(tmp_path, changed, message):
    stop_after(3, tmp_path / "saved")
    before = tree(tmp_path / "saved")
    with pytest.raises(ExportError, match=message):
        napari_kemp.export(AFFINITIES, tmp_path / "saved", **{**ARGUMENTS, **changed}, resume=True)
    assert tree(tmp_path / "saved") == before


def test_resuming_nothing_is_to_begin(tmp_path, whole):
    napari_kemp.export(AFFINITIES, tmp_path / "saved", **ARGUMENTS, resume=True)
    assert tree(tmp_path / "saved") == whole


def test_locks_of_the_killed_go_with_what_they_locked(tmp_path, whole):
    napari_kemp.export(AFFINITIES, tmp_path / "v", encoding="raw", resolution=(8, 8, 40))
    lock = tmp_path / "v" / "8_8_40" / "0-70_0-50_0-20.gz.__lock"
    lock.write_bytes(b"")
    napari_kemp.export(AFFINITIES, tmp_path / "v", **ARGUMENTS, overwrite=True)
    assert tree(tmp_path / "v") == whole


def test_resume_and_overwrite_exclude_each_other(tmp_path):
    with pytest.raises(ExportError, match="not both"):
        napari_kemp.export(AFFINITIES, tmp_path / "saved", resume=True, overwrite=True)


def test_chunks_without_an_info_file_are_not_taken_for_ours(tmp_path, whole):
    (tmp_path / "whole" / "info").unlink()
    for resume in (False, True):
        with pytest.raises(ExportError, match="holds chunks already"):
            napari_kemp.export(AFFINITIES * 0, tmp_path / "whole", **ARGUMENTS, resume=resume)
    napari_kemp.export(AFFINITIES, tmp_path / "whole", **ARGUMENTS, overwrite=True)
    assert tree(tmp_path / "whole") == whole


def test_a_damaged_ledger_is_named(tmp_path):
    stop_after(3, tmp_path / "saved")
    (tmp_path / "saved" / NAME).write_text(json.dumps({"version": 99}))
    with pytest.raises(ExportError, match=NAME):
        napari_kemp.export(AFFINITIES, tmp_path / "saved", **ARGUMENTS, resume=True)


@pytest.fixture
def ordinary_folder(whole):
    """A folder that everybody may enter, while this process has nobody's rights, also as root.

    All threads of the process change them together. What is imported late has been imported, by
    then, for `whole`: nobody may not be allowed to read it.
    """
    with tempfile.TemporaryDirectory(prefix="napari-kemp-") as folder:
        Path(folder).chmod(0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)


def test_a_folder_that_may_not_be_written_is_named(ordinary_folder):
    closed = ordinary_folder / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(ExportError, match=r"closed/saved.*[Pp]ermission"):
        napari_kemp.export(AFFINITIES, closed / "saved")
    assert not any(closed.iterdir())
    closed.chmod(0o700)
    napari_kemp.export(AFFINITIES, closed / "saved", **ARGUMENTS)


def test_rights_that_go_away_are_told_and_the_save_resumed(whole, ordinary_folder):
    place = ordinary_folder / "saved"
    stop_after(7, place)
    scale = place / "4_4_40"
    scale.chmod(0o500)
    with pytest.raises(ExportError, match=r"4_4_40/.*could not be saved.*[Pp]ermission.*resumed"):
        napari_kemp.export(AFFINITIES, place, **ARGUMENTS, resume=True)
    for name, data in tree(place).items():
        assert name == NAME or name.endswith(".__lock") or data == whole[name]
    scale.chmod(0o700)
    napari_kemp.export(AFFINITIES, place, **ARGUMENTS, resume=True)
    assert tree(place) == whole


def test_a_full_disk_is_told_and_what_was_written_stays_whole(tmp_path, whole, monkeypatch):
    """A limit on the size of files stands in for the disk; what fails is the same system call."""
    import resource
    import signal

    largest = max(map(len, whole.values()))
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 100, old[1]))
    try:
        with pytest.raises(ExportError, match=r"could not be saved: .* can be resumed"):
            napari_kemp.export(AFFINITIES, tmp_path / "saved", **ARGUMENTS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    for name, data in tree(tmp_path / "saved").items():
        assert name == NAME or name.endswith(".__lock") or data == whole[name]
    napari_kemp.export(AFFINITIES, tmp_path / "saved", **ARGUMENTS, resume=True)
    assert tree(tmp_path / "saved") == whole


def test_a_source_that_fails_for_a_while(tmp_path, whole):
    class Flaky:
        shape, dtype = AFFINITIES.shape, AFFINITIES.dtype
        reads = 0

        def __getitem__(self, key):
            Flaky.reads += 1
            if 5 < Flaky.reads < 12:
                raise OSError("the server is gone")
            return AFFINITIES[key]

    with pytest.raises(ExportError, match=r"the server is gone.*resumed"):
        napari_kemp.export(Flaky(), tmp_path / "saved", **ARGUMENTS)
    Flaky.reads = 99
    napari_kemp.export(Flaky(), tmp_path / "saved", **ARGUMENTS, resume=True)
    assert tree(tmp_path / "saved") == whole


def test_stopping_takes_less_than_a_second(tmp_path):
    import time

    values = np.broadcast_to(make_affinities((64, 64, 64)), (3, 64, 64, 64))
    big = np.tile(values, (1, 1, 8, 8))
    run = execute(make_plan(big, tmp_path / "saved"), threads=2)
    next(run)
    started = time.perf_counter()
    run.close()
    assert time.perf_counter() - started < 1
