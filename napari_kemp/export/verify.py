"""A walk over all chunks of a volume, to find those that are missing, damaged or out of range."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_kemp.errors import ChunkError, CodecError
from napari_kemp.export.ahead import results_in_order
from napari_kemp.export.sweeps import Cell
from napari_kemp.precomputed import Volume
from napari_kemp.precomputed.encodings import WrongShapeError

Problem = Literal["missing", "unreachable", "damaged", "wrong shape", "out of range"]

_ROWS_MOST = 100


@dataclass(frozen=True)
class Finding:
    """A chunk that is not as it should be.

    Attributes
    ----------
    scale, chunk : str
        Its scale's key, and its name.
    problem : str
        "missing", "unreachable", "damaged", "wrong shape" or "out of range"; the last is for
        kempressed chunks, which are meant for values from 0 to 1.
    detail : str
        What exactly.
    """

    scale: str
    chunk: str
    problem: Problem
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What a walk over a volume has found.

    Attributes
    ----------
    url : str
        The volume.
    chunks : int
        Chunks that were looked at.
    findings : list of Finding
        Those that are not as they should be.
    """

    url: str
    chunks: int
    findings: list[Finding]

    @property
    def counts(self) -> dict[str, int]:
        """How many chunks have each problem."""
        return dict(Counter(finding.problem for finding in self.findings))

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as members of a JSON object."""
        return {**asdict(self), "counts": self.counts}

    def __str__(self) -> str:
        said = ", ".join(f"{count} {problem}" for problem, count in self.counts.items())
        lines = [f"{self.url}: {self.chunks} chunks, {said or 'all whole'}"]
        if self.findings:
            rows = [("scale", "chunk", "problem", "")]
            rows += [(f.scale, f.chunk, f.problem, f.detail) for f in self.findings[:_ROWS_MOST]]
            widths = [max(len(row[column]) for row in rows) for column in range(3)]
            lines.append("")
            lines += [
                "  ".join(
                    [*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[3]]
                ).rstrip()
                for row in rows
            ]
        if len(self.findings) > _ROWS_MOST:
            lines.append(f"and {len(self.findings) - _ROWS_MOST} more; --json lists all")
        return "\n".join(lines)


def verify_volume(volume: Volume, *, threads: int | None = None) -> Generator[int, None, Verdict]:
    """Read and decode every chunk of every scale.

    A generator, so that whoever drives it can show progress and can stop.

    Parameters
    ----------
    volume : Volume
        Anybody's.
    threads : int, optional
        Chunks to look at together; default is one a processor.

    Yields
    ------
    int
        How many chunks have been looked at.

    Returns
    -------
    Verdict
        As the value of the generator (``StopIteration.value``).
    """
    cells: Generator[Cell] = (
        (level, cell) for level, scale in enumerate(volume.scales) for cell in scale.grid.cells()
    )
    count = threads or os.cpu_count() or 1
    findings: list[Finding] = []
    done = 0
    found = results_in_order(partial(_look_at, volume), cells, count, "napari-kemp-verify")
    with closing(found):
        for finding in found:
            if finding is not None:
                findings.append(finding)
            done += 1
            yield done
    return Verdict(volume.url, done, findings)


def _look_at(volume: Volume, cell: Cell) -> Finding | None:
    level, cell_xyz = cell
    scale = volume.scales[level]

    def finding(problem: Problem, detail: object) -> Finding:
        return Finding(scale.info.key, scale.grid.name(cell_xyz), problem, str(detail))

    try:
        data = scale.load_chunk(cell_xyz)
    except ChunkError as error:
        damaged = isinstance(error.__cause__, CodecError)
        return finding("damaged" if damaged else "unreachable", error.__cause__ or error)
    if data is None:
        return finding("missing", "")
    try:
        values = scale.decode_chunk(cell_xyz, data)
    except WrongShapeError as error:
        return finding("wrong shape", error)
    except CodecError as error:
        return finding("damaged", error)
    if scale.info.encoding == "kempressed":
        detail = _out_of_range(values)
        if detail:
            return finding("out of range", detail)
    return None


def _out_of_range(values: NDArray[Any]) -> str:
    """Say what a chunk has that is not from 0 to 1; nothing where all of it is."""
    low, high = values.min(), values.max()
    if low >= 0 and high <= 1:
        return ""
    # Minimum and maximum are NaN where there is one.
    nan = int(np.count_nonzero(np.isnan(values)))
    parts = [f"{nan} NaN"] if nan else []
    present = values[~np.isnan(values)]
    if present.size and not (present.min() >= 0 and present.max() <= 1):
        parts.append(f"values from {present.min():.6g} to {present.max():.6g}")
    return ", ".join(parts)
