"""Damage to whole chunks: an error or an array; with a section table, an error and nothing else."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import damage
import numpy as np
import pytest

from napari_kemp import ChunkError, create_volume, open_volume
from napari_kemp.codec import SectionTable, fpzip, kempressed
from napari_kemp.errors import CodecError

SMALL = damage.affinities((8, 8, 4))


def in_a_child(code: str) -> dict:
    """Run Python beside the helpers of damage.py; it leaves its result, as JSON, in `result`."""
    command = f"import json, damage\n{code}\nprint(json.dumps(result))"
    done = subprocess.run(
        [sys.executable, "-c", command],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_every_flipped_bit_of_a_plain_chunk_is_an_error_or_an_array():
    data = kempressed.encode(SMALL)
    found = damage.outcomes(damage.flips(data), kempressed.decode, kempressed.decode(data))
    assert found.total() == 8 * len(data)
    # Only bits that a decoder has no need to look at leave the array as it was: the very last.
    assert found["same"] <= 32
    assert found["error"] > 0


def test_every_flipped_bit_of_a_seekable_chunk_is_an_error():
    data = kempressed.encode(SMALL, seekable=True)
    found = damage.outcomes(damage.flips(data), kempressed.decode, kempressed.decode(data))
    assert found == {"error": 8 * len(data), "another": 0, "same": 0}


def test_a_section_of_a_damaged_seekable_chunk_is_an_error_or_as_it_was():
    data = kempressed.encode(SMALL, seekable=True)
    for z in (0, 1, 3):
        wanted = slice(z, z + 1)
        found = damage.outcomes(
            damage.flips(data, range(0, 8 * len(data), 5)),
            lambda damaged, wanted=wanted: kempressed.decode(damaged, sections=wanted),
            kempressed.decode(data, sections=wanted),
        )
        assert found["another"] == 0
        assert found["error"] > 0
        assert found["same"] > 0


@pytest.mark.parametrize("seekable", [True, False])
def test_every_truncation_is_an_error(seekable):
    data = kempressed.encode(SMALL, seekable=seekable)
    whole = kempressed.decode(data)
    found = damage.outcomes(damage.truncations(data), kempressed.decode, whole)
    # Without its table, all of it, a seekable chunk is a plain one.
    assert found == {"error": len(data) - seekable, "another": 0, "same": int(seekable)}


@pytest.mark.parametrize("seekable", [True, False])
def test_a_damaged_chunk_of_usual_size_takes_no_more_than_twice_its_memory(seekable):
    result = in_a_child(
        f"""
data = damage.kempressed.encode(damage.affinities(damage.USUAL), seekable={seekable})
bits = [*range(0, 8 * 32, 3), *range(999, 8 * len(data), len(data))]
grown, found = damage.memory_of(data, bits)
result = {{"grown": grown, "number": len(bits) - 1, **found}}
"""
    )
    assert result["error"] + result["another"] == result["number"]
    assert result["grown"] < 2 * np.prod(damage.USUAL) * 3 * 4
    assert result["another"] == 0 or not seekable


@pytest.mark.parametrize("seekable", [True, False])
def test_what_a_damaged_chunk_was_decoded_into_is_let_go_at_once(seekable):
    chunk = damage.affinities((64, 64, 16))
    data = bytearray(kempressed.encode(chunk, seekable=seekable))
    data[len(data) * 3 // 4] ^= 1
    decodes = [
        lambda: kempressed.decode(data[:-60]),
        lambda: kempressed.decode_many([data[:-60]]),
        lambda: kempressed.decode(data[:-60], sections=slice(0, 16, 2)),
    ]
    if seekable:
        decodes += [
            lambda: kempressed.decode(data),
            lambda: kempressed.decode(data, sections=slice(0, 16, 2)),
        ]
    gc.disable()
    tracemalloc.start()
    try:
        for decode in decodes:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(4):
                with pytest.raises(CodecError):
                    decode()
            after, _ = tracemalloc.get_traced_memory()
            assert after - before < chunk.nbytes / 4
    finally:
        tracemalloc.stop()
        gc.enable()


LYING = (2**31 - 1, 1, 1, 1)


def lying_objects():
    """Streams and seekable streams that are long enough for the 2^31 samples that they promise."""
    stream = damage.stream_with_header(LYING, 400_000)
    assert fpzip.header(stream).shape == LYING
    start = (fpzip.scan(fpzip.encode(np.zeros(1, np.float32)))).entries[0]
    table = SectionTable.of_stream(stream, [(start.offset, start.low, start.range)])
    yield stream
    yield stream + table.to_bytes()


@pytest.mark.parametrize("which", [0, 1])
def test_a_header_that_lies_is_refused_by_the_shape_of_out(which):
    data = list(lying_objects())[which]
    out = np.zeros((8, 8, 4, 3), np.float32)
    for codec in (fpzip, kempressed):
        with pytest.raises(CodecError):
            codec.decode(data, out=out)
    assert not out.any()


@pytest.mark.parametrize("encoding", ["kempressed", "fpzip"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_header_that_lies_is_refused_by_the_grid(tmp_path, encoding, which):
    create_volume(
        tmp_path / "v",
        size=(8, 8, 4),
        resolution=(4, 4, 40),
        chunk_size=(8, 8, 4),
        encoding=encoding,
    )
    chunk = tmp_path / "v" / "4_4_40" / "0-8_0-8_0-4"
    chunk.parent.mkdir(exist_ok=True)
    chunk.write_bytes(list(lying_objects())[which])
    with pytest.raises(ChunkError, match="0-8_0-8_0-4"):
        open_volume(tmp_path / "v").scales[0].array[...]
    result = in_a_child(
        f"""
from napari_kemp import ChunkError, create_volume, open_volume
other = create_volume("memory://v/", size=(8, 8, 4), resolution=(4, 4, 40), chunk_size=(8, 8, 4),
                      encoding="{encoding}").scales[0]
other.write(damage.affinities((8, 8, 4)).T, (0, 0, 0))
other.array[...]
array = open_volume({str(tmp_path / "v")!r}).scales[0].array
damage.forget_peak()
before = damage.peak_kilobytes()
refused = 0
for wanted in (slice(None), slice(1, 2)):
    try:
        array[:, wanted]
    except ChunkError:
        refused += 1
result = {{"refused": refused, "grown": damage.peak_kilobytes() - before}}
"""
    )
    assert result["refused"] == 2
    assert result["grown"] < 8 * 1024
