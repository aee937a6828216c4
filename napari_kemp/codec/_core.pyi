from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

class Encoded:
    states: bytes
    def __buffer__(self, flags: int, /) -> memoryview: ...

def paths() -> tuple[str, ...]: ...
def set_path(name: str) -> None: ...
def checksum(data: Buffer, portable: bool = False) -> int: ...
def encode_arrays(
    arrays: list[NDArray[Any]], is_double: bool, precision: int, plus_two: bool
) -> list[Encoded]: ...
def census(array: NDArray[np.float32]) -> tuple[int, int, int, float]: ...
def stream_header(
    data: memoryview,
) -> tuple[bool, int, tuple[int, int, int, int], tuple[int, int, int]]: ...
def decode_fields(
    datas: list[memoryview],
    states: list[tuple[int, int, int]],
    outs: Sequence[NDArray[Any] | None],
    extent: tuple[int, int, int, int],
    is_double: bool,
    precision: int,
    plus_two: bool,
    exact: bool,
    keep_states: bool,
) -> list[tuple[str | None, bytes]]: ...
