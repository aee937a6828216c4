"""Sections are the unit of work: what is fetched, decoded and kept of seekable and plain chunks."""

import threading
from concurrent.futures import Future

import numpy as np
import pytest

from napari_kemp import ChunkError, create_volume, open_volume, settings
from napari_kemp.codec import fpzip, kempressed
from napari_kemp.precomputed import reader as reader_module
from napari_kemp.precomputed.cache import shared_cache

SIZE, CHUNK = (40, 36, 44), (16, 16, 20)


def make(folder, encoding="kempressed", seekable=True, plain=()):
    """A volume of which each chunk is seekable or not, and its values."""
    volume = create_volume(
        folder,
        size=SIZE,
        resolution=(4, 4, 40),
        chunk_size=CHUNK,
        encoding=encoding,
        voxel_offset=(3, -5, 7),
    )
    values = np.random.default_rng(0).random((3, *SIZE[::-1]), dtype=np.float32)
    codec = {"kempressed": kempressed, "fpzip": fpzip}[encoding]
    (scale,) = volume.scales
    for cell in scale.grid.cells():
        start, stop = scale.grid.box(cell)
        part = values[
            :,
            start[2] - 7 : stop[2] - 7,
            start[1] + 5 : stop[1] + 5,
            start[0] - 3 : stop[0] - 3,
        ]
        data = codec.encode(part.T, seekable=seekable and cell not in plain)
        scale.write_chunk(cell, data)
    if encoding == "kempressed":
        values = (values + np.float32(2)) - np.float32(2)
    return open_volume(folder), values


def requests_of(scale, monkeypatch):
    """Record which cells are read, and how many bytes of each."""
    made = []
    real = scale._reader._read

    def read(cell, byte_range):
        future = real(cell, byte_range)
        stored = future.result(10)
        made.append((cell, byte_range, len(stored.data) if stored else 0))
        return future

    monkeypatch.setattr(scale._reader, "_read", read)
    return made


KINDS = [("kempressed", True), ("kempressed", False), ("fpzip", True), ("fpzip", False)]


@pytest.mark.parametrize(("encoding", "seekable"), KINDS)
def test_any_region_is_what_was_written(tmp_path, encoding, seekable):
    volume, values = make(tmp_path / "v", encoding, seekable)
    for key in (
        np.s_[:, 13],
        np.s_[1, 14:12:-1],
        np.s_[2, ::-7, 3:30:4, ::-3],
        np.s_[::-2, 19:22],
        np.s_[::2, 43],
        np.s_[...],
        np.s_[0, 13],
    ):
        np.testing.assert_array_equal(volume.scales[0].array[key], values[key])
        fresh = open_volume(volume.url).scales[0].array
        np.testing.assert_array_equal(fresh[key], values[key])
    chunk = open_volume(volume.url).scales[0].read_chunk((1, 0, 2))
    np.testing.assert_array_equal(chunk, values[:, 40:, :16, 16:32])


def test_a_section_of_a_seekable_chunk_costs_its_bytes(tmp_path, monkeypatch):
    volume, values = make(tmp_path / "v")
    (scale,) = volume.scales
    made = requests_of(scale, monkeypatch)
    np.testing.assert_array_equal(scale.array[:, 5], values[:, 5])
    assert len(made) == 2 * 9
    chunk_bytes = sum(path.stat().st_size for path in (tmp_path / "v" / "4_4_40").glob("*_7-27"))
    assert sum(nbytes for _, _, nbytes in made) < chunk_bytes / 8
    made.clear()
    np.testing.assert_array_equal(scale.array[:, 6], values[:, 6])
    assert len(made) == 9  # the tables are known by now
    made.clear()
    for channel in range(3):
        np.testing.assert_array_equal(scale.array.channel(channel)[5], values[channel, 5])
    assert made == []
    np.testing.assert_array_equal(scale.array[:, :15], values[:, :15])
    assert [byte_range for _, byte_range, _ in made] == [None] * 9  # most of it: one request


def test_a_plain_chunk_is_fetched_once_and_decoded_no_further_than_needed(tmp_path, monkeypatch):
    volume, values = make(tmp_path / "v", seekable=False)
    (scale,) = volume.scales
    made = requests_of(scale, monkeypatch)
    np.testing.assert_array_equal(scale.array[:, 5], values[:, 5])
    assert len(made) <= 2 * 9
    made.clear()
    np.testing.assert_array_equal(scale.array[:, 25], values[:, 25])
    assert len(made) == 9  # that there are no tables has been learned
    made.clear()
    for z in (6, 3, 19, 4):
        np.testing.assert_array_equal(scale.array[:, z], values[:, z])
    assert made == []
    stream = shared_cache().get((scale._reader._token, (0, 0, 0), "stream"))
    assert len(stream.starts.states) >= 20


@pytest.mark.parametrize("seekable", [True, False])
def test_sections_of_many_chunks_are_decoded_together(tmp_path, monkeypatch, seekable):
    volume, values = make(tmp_path / "v", seekable=seekable)
    groups = []
    real = reader_module.decode_group

    def decode(group, *args):
        groups.append([chunk.cell for chunk in group])
        return real(group, *args)

    monkeypatch.setattr(reader_module, "decode_group", decode)
    array = volume.scales[0].array
    np.testing.assert_array_equal(array[:, 5], values[:, 5])
    cells = [cell for group in groups for cell in group]
    assert len(cells) == len(set(cells)) == 9  # each once, for all channels
    assert len(groups) < len(cells) / 2


@pytest.mark.parametrize("seekable", [True, False])
def test_what_is_kept_and_what_is_on_its_way_stay_within_the_cache(tmp_path, monkeypatch, seekable):
    volume = create_volume(
        tmp_path / "v",
        size=(256, 192, 40),
        resolution=(4, 4, 40),
        chunk_size=(32, 32, 40),
        encoding="kempressed",
    )
    (scale,) = volume.scales
    steps = np.random.default_rng(0).integers(0, 1 << 12, (16, 32, 40, 3)) / (1 << 12)
    chunk = steps.astype(np.float32).repeat(2, axis=0)  # so that it takes less than half
    stream = kempressed.encode(chunk, seekable=seekable)
    for cell in scale.grid.cells():
        scale.write_chunk(cell, stream)
    before = settings.current()
    limit = 2 << 20
    assert scale.grid.num_cells * len(stream) > limit
    monkeypatch.setattr(reader_module, "_WINDOW_BYTES", 1 << 20)
    on_its_way, most = {}, []
    real = scale._reader._read

    def read(cell, byte_range):
        """Let a read take so long that all others begin that may begin."""
        on_its_way[cell] = len(stream) if byte_range is None else 0
        most.append(sum(on_its_way.values()) + shared_cache().nbytes)
        outcome = Future()

        def finish():
            found = real(cell, byte_range).result()
            del on_its_way[cell]
            outcome.set_result(found)

        threading.Timer(0.05, finish).start()
        return outcome

    monkeypatch.setattr(scale._reader, "_read", read)
    try:
        settings.configure(cache_mb=limit >> 20)
        for z in (3, 9):
            scale.array[:, z]
        scale.array[...]
    finally:
        settings.configure(cache_mb=before.cache_mb)
    assert limit / 2 < max(most) <= limit


def test_seekable_and_plain_chunks_may_be_mixed(tmp_path):
    volume, values = make(tmp_path / "v", plain={(0, 0, 0), (1, 2, 0), (2, 1, 1)})
    array = volume.scales[0].array
    for z in (3, 4, 19, 20, 21, 43, 42):
        np.testing.assert_array_equal(array[:, z], values[:, z])
    np.testing.assert_array_equal(open_volume(volume.url).scales[0].array[...], values)


def test_damage_to_a_section_is_its_own(tmp_path):
    volume, values = make(tmp_path / "v")
    (scale,) = volume.scales
    path = tmp_path / "v" / "4_4_40" / scale.grid.name((1, 1, 0))
    data = bytearray(path.read_bytes())
    table = fpzip.SectionTable.read(data)
    data[table.entries[5].offset + 40] ^= 1
    path.write_bytes(data)
    array = scale.array
    for z in (4, 6):
        np.testing.assert_array_equal(array[:, z], values[:, z])
    with pytest.raises(ChunkError, match=r"scale 4_4_40, chunk 19-35_11-27_7-27: .*checksum"):
        array[:, 5]
    with pytest.raises(ChunkError, match="checksum"):
        array[:, :20]
    seen = []
    drawn = array.read(np.s_[:, 5], reader_module.ReadOptions(on_error=seen.append))
    assert [str(error).count("19-35_11-27_7-27") for error in seen] == [1]
    expected = values[:, 5].copy()
    expected[:, 16:32, 16:32] = 0
    np.testing.assert_array_equal(drawn, expected)


def test_a_damaged_table_is_an_error_of_its_chunk(tmp_path):
    volume, values = make(tmp_path / "v")
    path = tmp_path / "v" / "4_4_40" / volume.scales[0].grid.name((0, 0, 0))
    data = bytearray(path.read_bytes())
    data[-50] ^= 1
    path.write_bytes(data)
    with pytest.raises(ChunkError, match="damaged section table"):
        volume.scales[0].array[:, 5]
    np.testing.assert_array_equal(volume.scales[0].array[:, 5, :, 16:], values[:, 5, :, 16:])


def test_rewriting_a_chunk_forgets_its_table_and_sections(tmp_path):
    volume, values = make(tmp_path / "v")
    (scale,) = volume.scales
    scale.array[:, 5]
    other = np.full((16, 16, 20, 3), 0.25, np.float32)
    scale.write_chunk((0, 0, 0), kempressed.encode(other, seekable=True))
    assert (scale.array[:, 5, :16, :16] == 0.25).all()
    np.testing.assert_array_equal(scale.array[:, 5, 16:], values[:, 5, 16:])


def test_a_chunk_rewritten_by_somebody_else_is_read_anew_or_an_error(tmp_path):
    volume, _ = make(tmp_path / "v")
    (scale,) = volume.scales
    scale.array[:, 5]
    other = kempressed.encode(np.full((16, 16, 20, 3), 0.25, np.float32), seekable=True)
    (tmp_path / "v" / "4_4_40" / scale.grid.name((0, 0, 0))).write_bytes(other)
    assert (scale.array[:, 6, :16, :16] == 0.25).all()  # by its checksum, not by its old table


def test_reading_is_given_up_when_nobody_wants_it(tmp_path, monkeypatch):
    volume, values = make(tmp_path / "v")
    (scale,) = volume.scales
    real = scale._reader._read
    monkeypatch.setattr(scale._reader, "_read", lambda cell, byte_range: Future())
    options = reader_module.ReadOptions(abandoned=lambda: True)
    with pytest.raises(reader_module.AbandonedError):
        scale.array.read(np.s_[:, 5], options)
    monkeypatch.setattr(scale._reader, "_read", real)
    np.testing.assert_array_equal(scale.array[:, 5], values[:, 5])
