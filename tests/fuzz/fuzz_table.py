"""Section tables of any bytes, parsed, cut and decoded: nothing but a CodecError may come of them.

An input is an object as it is, or says how to forge the table of a good one, with checksums that
are right all the same.
"""

from __future__ import annotations

import dataclasses
import sys
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import Any

import atheris
import numpy as np
from numpy.typing import NDArray

from napari_kemp.codec import (
    FieldStarts,
    Part,
    SectionTable,
    _streams,
    decode_parts,
    fpzip,
    kempressed,
    parts,
    section_table,
)
from napari_kemp.errors import CodecError

MOST_SAMPLES = 1 << 14  # to stay quick

ARRAY = np.random.default_rng(0).random((19, 14, 9, 3), np.float32)
GOOD = [
    kempressed.encode(ARRAY, seekable=True),
    kempressed.encode(ARRAY[:5, :4, :1], seekable=True),
    fpzip.encode(ARRAY.astype(np.float64), 24, seekable=True),
    fpzip.encode(ARRAY[..., 0], 8, seekable=True),
]


def instrument(holder: ModuleType | type) -> None:
    """Report which branches of the functions of a module or class are taken.

    An import hook could do it for all modules, but for editable installs, which have their own.
    """
    module = getattr(holder, "__module__", holder.__name__)
    for member in vars(holder).values():
        function = getattr(member, "__func__", member)
        if isinstance(function, FunctionType) and function.__module__ == module:
            atheris.instrument_func(function)
        elif isinstance(member, type) and member.__module__ == module:
            instrument(member)


def forged(provider: atheris.FuzzedDataProvider) -> bytes:
    data = provider.PickValueInList(GOOD)
    table = SectionTable.read(data)
    stream = bytearray(data[: table.length])
    entries = list(table.entries)
    for _ in range(provider.ConsumeIntInRange(0, 4)):
        at = provider.ConsumeIntInRange(0, len(entries) - 1)
        name = provider.PickValueInList(["offset", "low", "range", "crc"])
        number = provider.ConsumeUInt(8 if name == "offset" else 4)
        if name == "offset" and provider.ConsumeBool():
            number %= len(stream) + 8
        entries[at] = dataclasses.replace(entries[at], **{name: number})
    del entries[provider.ConsumeIntInRange(0, 2 * len(entries)) :]
    if provider.ConsumeBool():
        at = provider.ConsumeIntInRange(0, len(stream) - 1)
        stream[at] ^= 1 << provider.ConsumeIntInRange(0, 7)
    if provider.ConsumeBool():
        states = [(entry.offset, entry.low, entry.range) for entry in entries]
        table = SectionTable.of_stream(stream, states)
    else:
        length = provider.ConsumeUInt(8) if provider.ConsumeBool() else len(stream)
        table = SectionTable(length, tuple(entries))
    return bytes(stream) + table.to_bytes()


def check_table(data: bytes) -> None:
    """What is taken for a table is one, and all of its sections can be cut out."""
    table = SectionTable.find(data, whole=True)
    if table is None:
        return
    assert data[table.length :] == table.to_bytes()
    for i in range(len(table.entries)):
        section = table.cut(i, data[: table.length])
        assert 0 <= section.start <= len(section.data)
        with suppress(CodecError):
            section.check()


def check_codec(codec: ModuleType, data: bytes) -> None:
    """A whole decode, decodes of single fields and the decode of parts come to the same."""
    header = codec.header(data)
    axis = 2 if codec is kempressed else 3
    fields = header.shape[axis]

    def some(wanted: slice) -> NDArray[Any]:
        if codec is kempressed:
            return kempressed.decode(data, sections=wanted)
        return fpzip.decode(data, fields=wanted)

    try:
        whole = codec.decode(data)
    except CodecError:
        whole = None
    for i in {0, fields // 2, fields - 1} if fields else ():
        plane_shape = tuple(n for a, n in enumerate(header.shape) if a != axis)
        out = np.zeros(plane_shape, header.dtype, order="F")
        part = Part(data, [i], [out], fields, FieldStarts())
        [[error]] = decode_parts([part], kempressed=codec is kempressed)
        try:
            one = some(slice(i, i + 1))
        except CodecError:
            assert whole is None and error is not None
            continue
        assert error is None
        plane = np.moveaxis(one, axis, 0)[0]
        if plane.size == 0:
            continue
        assert same_bits(plane, out)
        if whole is not None:
            assert same_bits(plane, np.moveaxis(whole, axis, 0)[i])


def same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.shape == b.shape and a.tobytes("F") == b.tobytes("F")


def test_one_input(data: bytes) -> None:
    provider = atheris.FuzzedDataProvider(data)
    as_it_is = provider.ConsumeBool()
    data = provider.ConsumeBytes(len(data)) if as_it_is else forged(provider)
    with suppress(CodecError):
        check_table(data)
    with suppress(CodecError):
        if np.prod(fpzip.header(data).shape, dtype=object) > MOST_SAMPLES:
            return
        check_codec(fpzip, data)
        fpzip.scan(data)
        check_codec(kempressed, data)


def main() -> None:
    for module in (section_table, _streams, parts, fpzip, kempressed):
        instrument(module)
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
