"""One value a voxel out of the affinities of its channels."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Map = Callable[..., NDArray[Any]]
"""Takes the channels, arrays of the same shape, and returns an array of that shape."""


def boundary(*channels: NDArray[Any]) -> NDArray[Any]:
    """Return 1 minus the smallest affinity: bright where a voxel is cut off from a neighbour."""
    smallest: NDArray[Any] = np.minimum.reduce(channels)
    return 1 - smallest


def mean(*channels: NDArray[Any]) -> NDArray[Any]:
    """Return the mean affinity."""
    total: NDArray[Any] = np.add.reduce(channels) / len(channels)
    return total


def maximum(*channels: NDArray[Any]) -> NDArray[Any]:
    """Return the largest affinity: dark only where a voxel is cut off from all neighbours."""
    largest: NDArray[Any] = np.maximum.reduce(channels)
    return largest


MAPS: dict[str, Map] = {"boundary": boundary, "mean": mean, "maximum": maximum}
"""All maps, by what they are called."""
