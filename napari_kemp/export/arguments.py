"""What callers give, as plain Python numbers; what is none is refused by its name."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_kemp.errors import CodecError, ExportError
from napari_kemp.precomputed.encodings import find_encoder
from napari_kemp.precomputed.grid import Triple


def whole(name: str, value: Any) -> int:
    """Return an argument that is a whole number, 4.0 included.

    Raises
    ------
    ExportError
        If it is not one.
    """
    try:
        return _whole(value)
    except (TypeError, ValueError):
        raise ExportError(f"{name} is a whole number, not {value!r}") from None


def whole_triple(name: str, value: Any) -> Triple:
    """Return an argument that is three whole numbers.

    Raises
    ------
    ExportError
        If it is something else.
    """
    try:
        x, y, z = (_whole(each) for each in value)
    except (TypeError, ValueError):
        raise ExportError(
            f"{name} is three whole numbers, along x, y and z, not {value!r}"
        ) from None
    return x, y, z


def triple(name: str, value: Any) -> tuple[float, float, float]:
    """Return an argument that is three numbers.

    Raises
    ------
    ExportError
        If it is something else.
    """
    try:
        x, y, z = (_number(each) for each in value)
    except (TypeError, ValueError):
        raise ExportError(f"{name} is three numbers, along x, y and z, not {value!r}") from None
    return x, y, z


def encodings(value: Any) -> Sequence[str]:
    """Return the names of one or more encodings that can be written.

    Raises
    ------
    ExportError
        If one of them cannot, or there are none.
    """
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names:
        raise ExportError(f"encoding is a name, or a list of names, not {value!r}")
    for name in names:
        try:
            find_encoder(name)
        except (CodecError, TypeError) as error:
            raise ExportError(f"encoding: {error}") from None
    return names


def _whole(value: Any) -> int:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return int(value)
    if isinstance(value, bool | np.bool_):
        raise TypeError
    return operator.index(value)


def _number(value: Any) -> float:
    if isinstance(value, str | bool | np.bool_):
        raise TypeError
    plain = value.item() if isinstance(value, np.generic) else value
    # A whole number must not become 4.0.
    return plain if isinstance(plain, int) else float(plain)
