"""The save in one call, for scripts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_kemp.export.mips import Mips
    from napari_kemp.export.plan import Region
    from napari_kemp.export.report import Progress, Report


def export(
    source: Any,
    destination: str | os.PathLike[str],
    *,
    encoding: str | Sequence[str] = "kempressed",
    precision: int = 0,
    chunk_size: Sequence[int] = (128, 128, 64),
    resolution: Sequence[float] | None = None,
    voxel_offset: Sequence[int] | None = None,
    mips: Mips = "auto",
    region: Region | None = None,
    sharded: bool = False,
    rescale: bool = False,
    seekable: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    verify: bool = False,
    threads: int | None = None,
    dask: Any = None,
    progress: Callable[[Progress], object] | None = None,
) -> Report:
    """Save an array or a volume as a precomputed volume.

    Chunks are read, encoded and written a few at a time, on several threads; lazy sources larger
    than memory are saved in bounded memory. A save that ends early, for whatever reason, leaves a
    valid volume, and can be resumed.

    Parameters
    ----------
    source : array-like, sequence of array-like, Volume, str or path
        An array (c, z, y, x) or (z, y, x); a list of arrays (z, y, x), one for each channel; a
        volume or where it lies (its finest scale is saved). numpy, dask, zarr and lazy arrays of
        volumes are read box by box.
    destination : str or path
        The folder of the new volume: a path or a URL that can be written to.
    encoding : {"kempressed", "fpzip", "raw", "compressed_segmentation"} or a sequence of them
        How chunks are encoded; of a sequence, the first is for the finest scale, the next for the
        next, the last for all others. Floats of other widths become float32 for kempressed, and
        labels unsigned; fpzip and raw keep the source's type.
    precision : int
        For fpzip: most significant bits to keep of each value; 0 keeps all.
    chunk_size : sequence of int
        Voxels a chunk, x, y, z.
    resolution : sequence of float, optional
        Nanometres a voxel, x, y, z; default is the source volume's, else 1.
    voxel_offset : sequence of int
        Absolute coordinates of the source's first voxel, x, y, z; default is the source volume's,
        else 0.
    mips : int or "auto"
        How many coarser scales to add: means (NaN counts as no value), or for segmentations the
        most frequent label, of 2 x 2 x 1 voxels until these are about as long as wide, then of
        2 x 2 x 2. "auto" ends with a scale whose sections are one chunk each.
    region : pair of sequence of int, optional
        Which voxels to save, ((x0, y0, z0), (x1, y1, z1)), counted from the source's first; they
        keep their place. Default is all.
    sharded : bool
        Pack chunks into shards.
    rescale : bool
        Save integers from 0 to the largest of their type as 0.0 to 1.0.
    seekable : bool
        Append to each fpzip or kempressed chunk a table of its channels or sections, which other
        readers ignore: a section can be decoded alone then, and damage is noticed. Without, chunks
        have the bytes that CloudVolume writes.
    resume : bool
        Go on with a save that was stopped: chunks that are there are kept. All other parameters
        have to be the same.
    overwrite : bool
        Replace a volume that is there already.
    verify : bool
        Read back each chunk that is written, and compare it with the source.
    threads : int, optional
        Chunks to work on at the same time; default is one a processor.
    dask : distributed.Client or str, optional
        A Dask cluster, or the address of its scheduler, to do the work instead of this process. Its
        workers need napari-kemp, but neither napari nor Qt.
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
        mips=mips,
        region=region,
        sharded=sharded,
        rescale=rescale,
        seekable=seekable,
        resume=resume,
        overwrite=overwrite,
        verify=verify,
    )
    with closing(execute(plan, threads=threads, dask=dask)) as run:
        while True:
            try:
                step = next(run)
            except StopIteration as end:
                report: Report = end.value
                return report
            if progress is not None:
                progress(step)
