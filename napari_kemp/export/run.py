"""The run of a plan: chunk tasks on threads, a bounded number of them in flight."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_kemp.errors import ExportError, KempError
from napari_kemp.export.plan import Plan
from napari_kemp.export.report import Progress, Report
from napari_kemp.export.source import Triple
from napari_kemp.precomputed import (
    Scale,
    create_from_info,
    open_volume,
    remove_volume,
    volume_exists,
)


@dataclass(frozen=True)
class _SavedChunk:
    bytes_raw: int
    bytes_encoded: int
    max_abs_error: float


def execute(plan: Plan, *, threads: int | None = None) -> Generator[Progress, None, Report]:
    """Run a plan: read, encode, check and write chunk by chunk.

    A generator, so that whoever drives it can show progress, and can stop: closing it ends the run
    after the chunks that are being written. What has been written by then is a valid volume, in
    which the chunks that are missing are background. No more than a few chunks are in memory.

    Parameters
    ----------
    plan : Plan
        From `make_plan`.
    threads : int, optional
        Chunks to work on at the same time; default is one a processor.

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
        the destination and the chunk.
    """
    scale = _create(plan)
    count = threads or os.cpu_count() or 1
    started = time.perf_counter()
    done, raw, encoded, error = 0, 0, 0, 0.0
    cells = scale.grid.cells()
    in_flight: set[Future[_SavedChunk]] = set()
    with ThreadPoolExecutor(count, thread_name_prefix="napari-kemp-export") as pool:
        try:
            while True:
                # One more than there are threads, so that none waits while this loop yields.
                for cell in islice(cells, count + 1 - len(in_flight)):
                    in_flight.add(pool.submit(_save_chunk, plan, scale, cell))
                if not in_flight:
                    break
                finished, in_flight = wait(in_flight, return_when=FIRST_COMPLETED)
                for saved in [future.result() for future in finished]:
                    done += 1
                    raw += saved.bytes_raw
                    encoded += saved.bytes_encoded
                    error = max(error, saved.max_abs_error)
                    yield Progress(done, plan.num_chunks, raw, encoded)
        finally:
            for future in in_flight:
                future.cancel()
    return Report(
        destination=plan.destination,
        encoding=scale.info.encoding,
        chunks=done,
        bytes_raw=raw,
        bytes_encoded=encoded,
        max_abs_error=error,
        seconds=time.perf_counter() - started,
    )


def _create(plan: Plan) -> Scale:
    try:
        if plan.overwrite and volume_exists(plan.destination):
            remove_volume(open_volume(plan.destination))
        return create_from_info(plan.destination, plan.info).scales[0]
    except KempError as error:
        raise ExportError(f"cannot save to {plan.destination}: {error}") from error


def _save_chunk(plan: Plan, scale: Scale, cell_xyz: Triple) -> _SavedChunk:
    try:
        values = plan.source.read(plan.source_box(cell_xyz))
        chunk = _converted(values, scale.dtype)
        data = scale.encode_chunk(chunk)
        error = _largest_error(values, scale.decode_chunk(cell_xyz, data))
        return _SavedChunk(chunk.nbytes, scale.write_chunk(cell_xyz, data), error)
    except MemoryError:
        raise
    except Exception as error:
        # Whatever the source's library raises, the message has to say where it happened.
        raise ExportError(
            f"{plan.destination}: the chunk {scale.grid.name(cell_xyz)} could not be saved: "
            f"{error}. The chunks written before it are whole"
        ) from error


def _converted(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "u" and values.dtype.kind == "i" and values.size and values.min() < 0:
        raise ValueError(f"{values.min()} is negative and cannot be stored as {dtype.name}")
    return values.astype(dtype, copy=False)


def _largest_error(values: NDArray[Any], stored: NDArray[Any]) -> float:
    """Return the largest absolute difference; NaN equals NaN, and nothing else does."""
    if values.dtype.kind != "f":
        return 0.0 if np.array_equal(values, stored) else np.inf
    with np.errstate(invalid="ignore"):
        difference = np.abs(np.subtract(stored, values, dtype=np.float64))
    same = (values == stored) | (np.isnan(values) & np.isnan(stored))
    difference[same] = 0.0
    difference[np.isnan(difference)] = np.inf
    return float(difference.max(initial=0.0))
