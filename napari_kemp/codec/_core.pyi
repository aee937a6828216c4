from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

def paths() -> tuple[str, ...]: ...
def set_path(name: str) -> None: ...
def checksum(data: memoryview | bytes, portable: bool = False) -> int: ...
def encode_arrays(
    arrays: list[NDArray[Any]], is_double: bool, precision: int, plus_two: bool
) -> list[tuple[bytes, bytes]]: ...
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
