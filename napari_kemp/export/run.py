"""The run of a plan: its sweeps one after the other, their tasks on threads or on a cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import closing
from typing import Any

from napari_kemp.errors import ExportError
from napari_kemp.export.arguments import whole
from napari_kemp.export.ledger import close_destination, open_destination
from napari_kemp.export.plan import Plan
from napari_kemp.export.report import Progress, Report
from napari_kemp.export.sweeps import sweeps
from napari_kemp.export.threads import run_on_threads
from napari_kemp.export.values import Census


def execute(
    plan: Plan, *, threads: int | None = None, dask: Any = None
) -> Generator[Progress, None, Report]:
    """Run a plan: read, encode and write chunk by chunk.

    A generator, so that whoever drives it can show progress, and can stop: closing it ends the run
    after the chunks that are being written. What has been written by then is a valid volume, in
    which the chunks that are missing are background, and the same plan can be resumed. No more than
    a few chunks are in memory.

    Parameters
    ----------
    plan : Plan
        From `make_plan`.
    threads : int, optional
        Chunks to work on at the same time; default is one a processor. Not for a cluster, whose
        workers have their own.
    dask : distributed.Client or str, optional
        A cluster, or the address of its scheduler, to do the work instead of this process.

    Yields
    ------
    Progress
        After each chunk.

    Returns
    -------
    Report
        As the value of the generator (``StopIteration.value``).

    Raises
    ------
    ExportError
        If the destination cannot be written, or a chunk cannot be read, encoded or stored; names
        the destination and the chunk. If there are to be no threads, or no cluster is reached.
    """
    count = os.cpu_count() or 1 if threads is None else whole("threads", threads)
    if count < 1:
        raise ExportError(f"threads is 1 or more, not {threads}")
    destination = open_destination(plan)
    started = time.perf_counter()
    done = kept = verified = raw = encoded = 0
    census = Census()
    for sweep in sweeps(plan):
        if dask is None:
            steps = run_on_threads(plan, destination, sweep, count)
        else:
            from napari_kemp.export.cluster import run_on_cluster

            steps = run_on_cluster(plan, destination, sweep, dask)
        with closing(steps):
            for chunk in steps:
                done += 1
                kept += chunk.kept
                verified += chunk.verified
                raw += chunk.bytes_raw
                encoded += chunk.bytes_encoded
                census += chunk.census
                yield Progress(done, plan.num_chunks, raw, encoded)
    close_destination(plan)
    return Report(
        destination=plan.destination,
        encoding=plan.info.scales[0].encoding,
        scales=len(plan.info.scales),
        chunks=done - kept,
        kept=kept,
        verified=verified,
        bytes_raw=raw,
        bytes_encoded=encoded,
        max_abs_error=census.max_abs_error,
        outside=census.outside,
        nan=census.nan,
        infinite=census.infinite,
        seconds=time.perf_counter() - started,
    )
