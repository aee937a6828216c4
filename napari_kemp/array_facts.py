"""What follows from an array's shape and type, for arrays that are read only when asked."""

import math
from typing import Any

import numpy as np


class ArrayFacts:
    """Number of axes, of values and of bytes of an array that has a shape and a dtype."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent along each axis."""
        raise NotImplementedError

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        raise NotImplementedError

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all values, were they in memory."""
        return self.size * int(self.dtype.itemsize)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]
