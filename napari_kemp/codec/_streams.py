"""What fpzip and kempressed share: the checks in front of the core, and many chunks at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_kemp.errors import CodecError

if TYPE_CHECKING:
    from typing_extensions import Buffer

Item = TypeVar("Item")
Result = TypeVar("Result")

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def as_bytes(data: Buffer) -> memoryview:
    """View any contiguous buffer as unsigned bytes."""
    try:
        return memoryview(data).cast("B")
    except TypeError as error:
        raise CodecError(f"a stream must be a contiguous buffer of bytes: {error}") from None


def as_samples(array: ArrayLike, allowed: tuple[np.dtype[Any], ...] = FLOATS) -> NDArray[Any]:
    """View an array as four axes of an allowed type; only foreign byte order costs a copy."""
    samples = np.asarray(array)
    samples = np.asarray(samples, dtype=samples.dtype.newbyteorder("="))
    if samples.dtype not in allowed:
        names = " or ".join(dtype.name for dtype in allowed)
        raise CodecError(
            f"samples must be {names}, not {samples.dtype.name}: convert with "
            f"array.astype(numpy.{allowed[0].name})"
        )
    if not 1 <= samples.ndim <= 4:
        raise CodecError(f"an array must have one to four axes, not {samples.ndim}")
    return samples[(...,) + (np.newaxis,) * (4 - samples.ndim)]


def allocate(
    shape: tuple[int, ...], dtype: np.dtype[Any], out: NDArray[Any] | None
) -> NDArray[Any]:
    """Return `out` once it is known to fit, or a new array in Fortran order."""
    if out is None:
        return np.empty(shape, dtype=dtype, order="F")
    if out.shape != shape or out.dtype != dtype:
        raise CodecError(
            f"the stream holds {dtype.name} {shape}, but `out` is {out.dtype.name} {out.shape}"
        )
    if not out.flags.writeable:
        raise CodecError("`out` is read-only")
    return out


def pair_with_outs(
    datas: Iterable[Buffer], outs: Iterable[NDArray[Any]] | None
) -> list[tuple[Buffer, NDArray[Any] | None]]:
    """Pair each stream with the array to decode it into, or with None."""
    streams = list(datas)
    targets = [None] * len(streams) if outs is None else list(outs)
    if len(targets) != len(streams):
        raise CodecError(f"{len(streams)} streams, but {len(targets)} arrays to decode them into")
    return list(zip(streams, targets, strict=True))


def map_many(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> list[Result]:
    """Apply `function` to each item, on several threads where asked; the core releases the GIL."""
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    if threads == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
