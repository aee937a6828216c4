"""A made-up piece of neural tissue: affinities with the image and segmentation they belong to.

Neurites that wander through a stack of sections, made from a few formulas and a seed, so that
demonstrations, benchmarks and tests need no download and always see the same values.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESOLUTION_XYZ = (4, 4, 40)
"""Nanometres a voxel that the sample is made to look right at."""

_CELL_AREA = 640.0
_MEMBRANE = 1.8
_TILE = 2


@dataclass(frozen=True, eq=False)
class Neurites:
    """One piece of tissue, seen three ways.

    Attributes
    ----------
    affinities
        (c, z, y, x) float32 in [0, 1]: how sure a network would be that a voxel and its neighbour
        in x, y and z (the channels) belong to the same cell.
    image
        (z, y, x) uint8, like an electron micrograph: dark membranes.
    segmentation
        (z, y, x) uint64, one number a cell, from 1; 0 on membranes.
    """

    affinities: NDArray[np.float32]
    image: NDArray[np.uint8]
    segmentation: NDArray[np.uint64]


def make_affinities(
    shape_xyz: tuple[int, int, int] = (256, 256, 32), seed: int = 0
) -> NDArray[np.float32]:
    """Affinities that look like a network's output.

    Parameters
    ----------
    shape_xyz
        Voxels along x, y and z.
    seed
        Another seed gives another tissue; the same one gives the same values.

    Returns
    -------
    ndarray
        (3, z, y, x) float32 in [0, 1]: smooth, close to 1 inside cells, low across membranes, with
        noise down to the last bits.

    Raises
    ------
    ValueError
        If an extent is below 1.
    """
    return make_neurites(shape_xyz, seed).affinities


def make_neurites(shape_xyz: tuple[int, int, int] = (256, 256, 32), seed: int = 0) -> Neurites:
    """Affinities, image and segmentation of the same tissue.

    Parameters
    ----------
    shape_xyz
        Voxels along x, y and z.
    seed
        Another seed gives another tissue; the same one gives the same values.

    Raises
    ------
    ValueError
        If an extent is below 1.
    """
    if min(shape_xyz) < 1:
        raise ValueError(f"shape_xyz must be at least 1 along each axis, not {shape_xyz}")
    rng = np.random.default_rng(seed)
    shape_zyx = shape_xyz[::-1]
    cell, depth = _grow_cells(shape_zyx, rng)
    return Neurites(
        affinities=_affinities(cell, depth, rng),
        image=_micrograph(cell, depth, rng),
        segmentation=np.where(depth > _MEMBRANE / 2, cell + 1, 0).astype(np.uint64),
    )


def _grow_cells(
    shape_zyx: tuple[int, int, int], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Give each voxel the number of its cell, and its depth in that cell in pixels.

    Each cell is what lies nearest to an axis that wanders from section to section; bending the
    plane before measuring turns the straight borders of such a tessellation into membranes.
    """
    depth_z, height, width = shape_zyx
    # Membranes are smooth on the scale of a pixel, so a coarser raster serves, in a fraction of
    # the time.
    y = np.arange(-(-height // _TILE), dtype=np.float32)[:, None] * _TILE
    x = np.arange(-(-width // _TILE), dtype=np.float32)[None, :] * _TILE
    coarse = (depth_z, y.size, x.size)
    y_bent = y + 9 * _smooth_noise(coarse, (6, 9, 9), rng)
    x_bent = x + 9 * _smooth_noise(coarse, (6, 9, 9), rng)

    count = max(2, round((height + 60) * (width + 60) / _CELL_AREA))
    start = rng.uniform(-30, (height + 30, width + 30), (count, 2))
    wander = np.cumsum(rng.normal(0, 1.1, (depth_z, count, 2)), axis=0)
    axes = (start + wander).astype(np.float32)
    girth = rng.gamma(2.0, 3.0, count).astype(np.float32)

    nearest = np.full(coarse, np.inf, np.float32)
    second = np.full(coarse, np.inf, np.float32)
    cell = np.zeros(coarse, np.int64)
    for number in range(count):
        dy = y_bent - axes[:, number, 0, None, None]
        dx = x_bent - axes[:, number, 1, None, None]
        distance = np.sqrt(dy * dy + dx * dx) - girth[number]
        cell[distance < nearest] = number
        np.minimum(second, np.maximum(distance, nearest), out=second)
        np.minimum(nearest, distance, out=nearest)
    depth = ((second - nearest) / 2).astype(np.float32)
    return (
        cell.repeat(_TILE, axis=1).repeat(_TILE, axis=2)[:, :height, :width],
        _enlarge(depth)[:, :height, :width],
    )


def _affinities(
    cell: NDArray[np.int64], depth: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    affinities = np.empty((3, *cell.shape), np.float32)
    doubt = 1.2 * _smooth_noise(cell.shape, (1.0, 3, 3), rng)
    for channel, axis in enumerate((2, 1, 0)):
        before = np.maximum(np.arange(cell.shape[axis]) - 1, 0)
        same = cell == cell.take(before, axis=axis)
        between = (depth + depth.take(before, axis=axis)) / 2
        logit = 2.1 * (between - _MEMBRANE) + doubt
        logit = np.minimum(logit, 6 + 0.5 * doubt) - np.where(same, 0, 2.5)
        logit += rng.normal(0, 0.12, cell.shape).astype(np.float32)
        affinities[channel] = 1 / (1 + np.exp(-logit))
    return affinities


def _micrograph(
    cell: NDArray[np.int64], depth: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.uint8]:
    stain = rng.uniform(150, 195, cell.max() + 1).astype(np.float32)
    grey = stain[cell] + 14 * _smooth_noise(cell.shape, (0.5, 2, 2), rng)
    grey += rng.normal(0, 9, cell.shape).astype(np.float32)
    grey -= 115 / (1 + np.exp(1.6 * (depth - _MEMBRANE)))
    image: NDArray[np.uint8] = np.clip(grey, 0, 255).astype(np.uint8)
    return image


def _smooth_noise(
    shape_zyx: tuple[int, ...], blur_zyx: tuple[float, float, float], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Gaussian noise blurred by ``blur_zyx`` pixels, with a standard deviation of about 1."""
    spectrum = np.fft.rfftn(rng.standard_normal(shape_zyx, dtype=np.float32))
    frequencies = [np.fft.fftfreq(n) for n in shape_zyx[:-1]] + [np.fft.rfftfreq(shape_zyx[-1])]
    for axis, (frequency, blur) in enumerate(zip(frequencies, blur_zyx, strict=True)):
        window = np.exp(-2 * (np.pi * frequency * blur) ** 2)
        spectrum *= window.reshape([-1 if i == axis else 1 for i in range(3)])
    noise = np.fft.irfftn(spectrum, shape_zyx, axes=(0, 1, 2))
    # One voxel, or a blur wider than the volume, leaves a constant: nothing to scale up.
    deviation = float(noise.std())
    return (noise / deviation if deviation > 1e-12 else noise).astype(np.float32)


def _enlarge(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring back the resolution that ``_TILE`` left out, by interpolating in y and x."""
    for axis in (1, 2):
        n = image.shape[axis]
        position = np.arange(n * _TILE) / _TILE
        low = np.minimum(position.astype(int), n - 1)
        high = np.minimum(low + 1, n - 1)
        share = (
            (position - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
        )
        image = image.take(low, axis=axis) * (1 - share) + image.take(high, axis=axis) * share
    return image
