"""Which neighbour an affinity speaks of; networks do not agree on it."""

from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray


@dataclass(frozen=True)
class Convention:
    """How the three channels of affinities are to be read.

    Attributes
    ----------
    order
        Along which axis the neighbour of the first, second and third channel lies.
    offset
        Which of the two neighbours it is: with -1, ``affinities[c][v]`` is that of v and the voxel
        before it; with +1, that of v and the voxel after it.
    """

    order: Literal["xyz", "zyx"] = "xyz"
    offset: Literal[-1, 1] = -1

    def channel_of(self, axis: Literal["x", "y", "z"]) -> int:
        """Return the number of the channel that holds the affinities along an axis."""
        return self.order.index(axis)

    def by_axis_zyx(self, affinities_czyx: NDArray[Any]) -> NDArray[Any]:
        """View affinities (c, z, y, x) with the channel along z first, then y, then x."""
        return affinities_czyx[:3] if self.order == "zyx" else affinities_czyx[2::-1]
