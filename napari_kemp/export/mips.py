"""Which coarser scales a volume gets, and how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from napari_kemp.errors import ExportError
from napari_kemp.export.arguments import whole
from napari_kemp.export.downsample import coarser
from napari_kemp.precomputed import Box, scale_key
from napari_kemp.precomputed.grid import Triple

Mips = int | Literal["auto"]


def coarser_scales(base: dict[str, Any], mips: Mips) -> tuple[list[dict[str, Any]], list[Triple]]:
    """Describe the coarser scales of a volume as members of its ``info`` file.

    An axis is halved unless its voxels are at least twice as long as the shortest: 2 x 2 x 1 until
    voxels are about as long as wide, then 2 x 2 x 2. Bounds are rounded outwards.

    Parameters
    ----------
    base : dict
        The finest scale.
    mips : int or "auto"
        How many; "auto" ends with a scale whose sections are one chunk each.

    Returns
    -------
    scales : list of dict
        Finer first.
    factors : list of tuple of int
        For each, the voxels of the next finer scale in one of its own, x, y, z.

    Raises
    ------
    ExportError
        If so many are not possible.
    """
    if mips != "auto":
        try:
            number = whole("mips", mips)
        except ExportError:
            number = -1
        if number < 0:
            raise ExportError(f"mips is a whole number of scales or 'auto', not {mips!r}")
        mips = number
    scales: list[dict[str, Any]] = []
    factors: list[Triple] = []
    finer = base
    while len(scales) != mips:
        x, y, _ = (-(-s // c) for s, c in zip(finer["size"], base["chunk_sizes"][0], strict=True))
        if mips == "auto" and x <= 1 and y <= 1:
            break
        factor = _factor(finer["size"], finer["resolution"])
        if factor == (1, 1, 1):
            if mips == "auto":
                break
            raise ExportError(
                f"{mips} coarser scales are not possible: after {len(scales)} there is one voxel "
                "left"
            )
        finer = _coarser_scale(finer, factor)
        scales.append(finer)
        factors.append(factor)
    return scales, factors


def _factor(size_xyz: Sequence[int], resolution_xyz: Sequence[float]) -> Triple:
    shortest = min(resolution_xyz)
    x, y, z = (
        2 if n > 1 and step < 2 * shortest else 1
        for n, step in zip(size_xyz, resolution_xyz, strict=True)
    )
    if (x, y, z) == (1, 1, 1):  # only the long axes have voxels left
        x, y, z = (2 if n > 1 else 1 for n in size_xyz)
    return x, y, z


def _coarser_scale(finer: dict[str, Any], factor: Triple) -> dict[str, Any]:
    start = tuple(finer["voxel_offset"])
    stop = tuple(o + s for o, s in zip(start, finer["size"], strict=True))
    box = coarser(Box(start, stop), factor)
    resolution = [step * f for step, f in zip(finer["resolution"], factor, strict=True)]
    return {
        **finer,
        "key": scale_key(resolution),
        "size": list(box.shape_xyz),
        "voxel_offset": list(box.start_xyz),
        "resolution": resolution,
    }
