"""The save in one call, for scripts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_kemp.export.plan import Region
    from napari_kemp.export.report import Progress, Report


def export(
    source: Any,
    destination: str | os.PathLike[str],
    *,
    encoding: str = "kempressed",
    precision: int = 0,
    chunk_size: Sequence[int] = (128, 128, 64),
    resolution: Sequence[float] | None = None,
    voxel_offset: Sequence[int] | None = None,
    region: Region | None = None,
    overwrite: bool = False,
    threads: int | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> Report:
    """Save an array or a volume as a precomputed volume.

    Chunks are read, encoded, decoded again to measure the error, and written one by one, on
    several threads; lazy sources larger than memory are saved in bounded memory.

    Parameters
    ----------
    source : array-like, sequence of array-like, Volume, str or path
        An array (c, z, y, x) or (z, y, x); a list of arrays (z, y, x), one for each channel; a
        volume or where it lies (its finest scale is saved). numpy, dask, zarr and lazy arrays of
        volumes are read box by box.
    destination : str or path
        The folder of the new volume: a path or a URL that can be written to.
    encoding : {"kempressed", "fpzip", "raw", "compressed_segmentation"}
        How chunks are encoded. Floats of other widths become float32 for kempressed, and labels
        unsigned; fpzip and raw keep the source's type.
    precision : int
        For fpzip: most significant bits to keep of each value; 0 keeps all.
    chunk_size : sequence of int
        Voxels a chunk, x, y, z.
    resolution : sequence of float, optional
        Nanometres a voxel, x, y, z; default is the source volume's, else 1.
    voxel_offset : sequence of int
        Absolute coordinates of the source's first voxel, x, y, z; default is the source volume's,
        else 0.
    region : pair of sequence of int, optional
        Which voxels to save, ((x0, y0, z0), (x1, y1, z1)), counted from the source's first; they
        keep their place. Default is all.
    overwrite : bool
        Replace a volume that is there already.
    threads : int, optional
        Chunks to work on at the same time; default is one a processor.
    progress : callable, optional
        Called with a `Progress` after each chunk. An exception from it stops the save.

    Returns
    -------
    Report
        Chunks, bytes, ratio, largest absolute error and seconds.

    Raises
    ------
    ExportError
        If the destination holds a volume already or cannot be written, if the values cannot be
        stored in this encoding, or if a chunk cannot be read or written; names place and remedy.
    InfoError
        If the source is not a volume, or a parameter is not legal in an ``info`` file.
    """
    from napari_kemp.export.plan import make_plan
    from napari_kemp.export.run import execute

    plan = make_plan(
        source,
        destination,
        encoding=encoding,
        precision=precision,
        chunk_size=chunk_size,
        resolution=resolution,
        voxel_offset=voxel_offset,
        region=region,
        overwrite=overwrite,
    )
    with closing(execute(plan, threads=threads)) as run:
        while True:
            try:
                step = next(run)
            except StopIteration as end:
                report: Report = end.value
                return report
            if progress is not None:
                progress(step)
