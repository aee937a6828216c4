"""The ``info`` file: what a volume and its scales say about themselves, checked.

Format: https://github.com/google/neuroglancer/tree/master/src/datasource/precomputed
"""

import json
import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from napari_kemp.errors import InfoError

DATA_TYPES = (
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float32",
    "float64",
)

# Encodings that are not listed take any data type, or are not ours to judge.
_DATA_TYPES_OF_ENCODING = {
    "kempressed": ("float32",),
    "fpzip": ("float32", "float64"),
    "compressed_segmentation": ("uint32", "uint64"),
}

_FPZIP_PRECISIONS = {
    "float32": {0, *range(2, 33)},
    "float64": {0, *range(4, 65, 2)},
}

# Leaves room for adding an offset to a size in 64 bits.
_LARGEST = 2**62

# What is nested deeper could be read, and then neither copied nor written: each level is a call.
_DEEPEST = 64


def _got(value: object) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."


def _integer(what: str, minimum: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        # Some writers say 4.0 where they mean 4; True is an int in Python, not in JSON.
        if isinstance(value, int | float) and not isinstance(value, bool):
            whole = isinstance(value, int) or value.is_integer()
            if whole and minimum <= value <= _LARGEST:
                return int(value)
        raise PydanticCustomError("expected", "expected {what}", {"what": what})

    return check


def _step(value: object) -> float:
    # Returned as it is: an integer must not be rewritten as 4.0.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return value
    raise PydanticCustomError("expected", "expected a finite number greater than 0")


def _key(value: object) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("expected", "expected a valid string")
    # JSON can say what no path or URL can.
    if not value or "\0" in value or any("\ud800" <= each <= "\udfff" for each in value):
        raise PydanticCustomError("expected", "expected a relative path")
    return value


_Offset = Annotated[int, PlainValidator(_integer("an integer", -_LARGEST))]
_Size = Annotated[int, PlainValidator(_integer("an integer of 0 or more", 0))]
_Count = Annotated[int, PlainValidator(_integer("a positive integer", 1))]
_Step = Annotated[float, PlainValidator(_step)]
_Precision = Annotated[int, PlainValidator(_integer("an integer of 0 or more", 0))]
_Key = Annotated[str, PlainValidator(_key)]
_Name = Annotated[str, Field(min_length=1)]


class ScaleInfo(BaseModel):
    """One scale of a volume, as the ``info`` file describes it; all triples are in x, y, z.

    Members that are not named here are kept, and survive a rewrite.

    Attributes
    ----------
    key : str
        The folder of the scale, relative to the folder of the ``info`` file.
    size, voxel_offset : tuple of int
        Extent and lowest corner, in voxels of this scale.
    resolution : tuple of float
        Nanometres a voxel.
    chunk_sizes : list of tuple of int
        Chunk grids, in voxels; the first serves.
    encoding : str
        How a chunk becomes bytes. Unknown encodings are accepted here.
    sharding : dict or None
        How chunks are packed into shards; None where every chunk is an object of its own.
    compressed_segmentation_block_size : tuple of int
        Used by the encoding "compressed_segmentation" only.
    fpzip_precision : int or None
        Bits that are kept of a value by the encoding "fpzip"; 0 and None keep all.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    key: _Key
    size: tuple[_Size, _Size, _Size]
    resolution: tuple[_Step, _Step, _Step]
    voxel_offset: tuple[_Offset, _Offset, _Offset] = (0, 0, 0)
    chunk_sizes: Annotated[list[tuple[_Count, _Count, _Count]], Field(min_length=1)]
    encoding: _Name
    sharding: dict[str, Any] | None = None
    compressed_segmentation_block_size: tuple[_Count, _Count, _Count] = (8, 8, 8)
    fpzip_precision: _Precision | None = None


class VolumeInfo(BaseModel):
    """A volume, as its ``info`` file describes it.

    Members that are not named here are kept, and survive a rewrite.

    Attributes
    ----------
    type : {"image", "segmentation"}
        What the values mean.
    data_type : str
        The name of a numpy dtype.
    num_channels : int
        Values a voxel.
    scales : list of ScaleInfo
        Finest first.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    at_type: Literal["neuroglancer_multiscale_volume"] | None = Field(default=None, alias="@type")
    type: Literal["image", "segmentation"]
    data_type: str
    num_channels: _Count
    scales: Annotated[list[ScaleInfo], Field(min_length=1)]

    @classmethod
    def from_json(cls, data: bytes, url: str) -> Self:
        """Parse and check the content of an ``info`` file.

        Parameters
        ----------
        data : bytes
            The file's content.
        url : str
            The file, for messages.

        Raises
        ------
        InfoError
            Names the file, the member, what was expected there, and what was found.
        """

        def distinct(members: list[tuple[str, Any]]) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for name, value in members:
                if name in found:
                    raise InfoError(f"{url}: the member {_got(name)} appears twice in one object")
                found[name] = value
            return found

        def finite(text: str) -> float:
            value = float(text)
            if not math.isfinite(value):
                raise InfoError(f"{url}: {text} is not a finite number")
            return value

        try:
            members = json.loads(
                data, object_pairs_hook=distinct, parse_float=finite, parse_constant=finite
            )
        except InfoError:
            raise
        except (ValueError, RecursionError) as error:
            raise InfoError(f"{url}: not valid JSON: {error}") from None
        _require_shallow(members, url)
        return cls.from_members(members, url)

    @classmethod
    def from_members(cls, members: object, url: str) -> Self:
        """Check the members of an ``info`` file that is parsed already.

        Parameters
        ----------
        members : dict
            As in the file.
        url : str
            The file, for messages.

        Raises
        ------
        InfoError
            Names the file, the member, what was expected there, and what was found.
        """
        if not isinstance(members, dict):
            raise InfoError(f"{url}: expected a JSON object, got {_got(members)}")
        try:
            info = cls.model_validate(members)
        except ValidationError as error:
            problem = _explain(error.errors()[0])
            raise InfoError(f"{url}: {problem}") from None
        for member, problem in info._contradictions():
            raise InfoError(f"{url}: {member}: {problem}")
        return info

    def to_json(self) -> bytes:
        """Return the content of an ``info`` file that says the same."""
        members = self.model_dump(by_alias=True, exclude_unset=True)
        return json.dumps(members, indent=2, allow_nan=False).encode()

    def _contradictions(self) -> Iterable[tuple[str, str]]:
        """Yield members that are well-formed but cannot be true together with others."""
        if self.data_type not in DATA_TYPES:
            yield "data_type", f"expected one of {', '.join(DATA_TYPES)}, got {self.data_type!r}"
        first_with: dict[str, int] = {}
        for index, scale in enumerate(self.scales):
            place = f"scales[{index}]"
            twin = first_with.setdefault(_folder(scale.key), index)
            if twin != index:
                yield f"{place}.key", f"{scale.key!r} is the key of scales[{twin}] already"
            allowed = _DATA_TYPES_OF_ENCODING.get(scale.encoding, DATA_TYPES)
            if self.data_type not in allowed:
                yield (
                    f"{place}.encoding",
                    f"{scale.encoding} chunks hold {' or '.join(allowed)}, "
                    f"but data_type is {self.data_type}",
                )
            precision = scale.fpzip_precision or 0
            if scale.encoding == "fpzip" and precision not in _FPZIP_PRECISIONS[self.data_type]:
                legal = {"float32": "0 or 2 to 32", "float64": "0 or an even number from 4 to 64"}
                yield (
                    f"{place}.fpzip_precision",
                    f"expected {legal[self.data_type]}, got {precision}",
                )


def _require_shallow(members: object, url: str) -> None:
    level = [("", members)]
    for _ in range(_DEEPEST):
        if not level:
            return
        level = [
            (place or str(step), below)
            for place, node in level
            if isinstance(node, dict | list)
            for step, below in (node.items() if isinstance(node, dict) else enumerate(node))
        ]
    if level:
        raise InfoError(f"{url}: {level[0][0]}: nested more than {_DEEPEST} levels deep")


def _folder(key: str) -> str:
    return "/".join(part for part in key.split("/") if part not in ("", "."))


def _explain(problem: ErrorDetails) -> str:
    """Say where a pydantic error is and what was expected there."""
    place = ""
    for step in problem["loc"]:
        place += f"[{step}]" if isinstance(step, int) else f".{step}"
    place = place.removeprefix(".")
    if problem["type"] == "missing":
        return f"{place}: missing"
    message = problem["msg"].replace("tuple", "list").replace("Tuple", "List")
    if problem["type"] == "model_type":
        message = "expected a JSON object"
    for opening in (
        "Input should be ",
        "List should have ",
        "String should have ",
    ):
        if message.startswith(opening):
            message = "expected " + message.removeprefix(opening)
    message = message.replace(" after validation", "")
    return f"{place}: {message}, got {_got(problem['input'])}"
