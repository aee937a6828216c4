import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_kemp.plugin.level_view import LevelView


class Recorder:
    """An array that reads when it is indexed, and remembers how much."""

    def __init__(self, array, chunks):
        self.array = array
        self.chunks = chunks
        self.shape = array.shape
        self.dtype = array.dtype
        self.values_read = 0

    def __getitem__(self, key):
        part = self.array[key]
        self.values_read += part.size
        return part


STORED = np.arange(3 * 5 * 6 * 7, dtype=np.int32).reshape(3, 5, 6, 7) + 1
PADDING = ((1, 2), (0, 3), (4, 0))
PADDED = np.pad(STORED, ((0, 0), *PADDING))


def view_of(channel=None, padding=PADDING):
    return LevelView(Recorder(STORED, (3, 2, 4, 4)), channel, padding)


@st.composite
def keys(draw):
    """Index three axes the way numpy would let one, with an ellipsis somewhere or nowhere."""
    bound = st.none() | st.integers(-12, 12)
    step = st.sampled_from([None, 1, 2, 3, -1, -2])
    one = st.builds(slice, bound, bound, step) | st.integers(-5, 4)
    key = draw(st.lists(one, max_size=3))
    if draw(st.booleans()):
        key.insert(draw(st.integers(0, len(key))), Ellipsis)
    return tuple(key)


@given(key=keys(), channel=st.integers(0, 2))
@settings(max_examples=300, deadline=None)
def test_a_view_indexes_as_the_padded_array_would(key, channel):
    np.testing.assert_array_equal(view_of(channel)[key], PADDED[channel][key])


@given(first=keys(), second=st.slices(4))
@settings(max_examples=200, deadline=None)
def test_views_of_views(first, second):
    expected = PADDED[1][first]
    if expected.ndim:
        view = view_of(1)[first][second]
        assert view.shape == expected[second].shape
        np.testing.assert_array_equal(view, expected[second])


def test_all_channels_are_kept_unless_one_is_chosen():
    np.testing.assert_array_equal(view_of(), PADDED)
    assert view_of().ndim == 4
    assert view_of(2).shape == PADDED.shape[1:]
    assert view_of(2).size == PADDED[2].size
    assert view_of(2).nbytes == PADDED[2].nbytes


def test_only_the_section_on_screen_is_read():
    stored = Recorder(STORED, (3, 2, 4, 4))
    field_of_view = LevelView(stored, 0)[:, 1:4, 2:6]
    section = field_of_view[2]
    assert stored.values_read == 0
    np.testing.assert_array_equal(section, STORED[0, 2, 1:4, 2:6])
    assert stored.values_read == 3 * 4


def test_nothing_is_read_for_padding():
    stored = Recorder(STORED, (3, 2, 4, 4))
    background = np.asarray(LevelView(stored, 0, PADDING)[0])
    assert not background.any()
    assert stored.values_read == 0


def test_chunks_are_told_only_where_the_view_starts_on_their_grid():
    assert view_of(0, ((0, 2), (0, 3), (4, 0))).chunks == (2, 4, 4)
    assert view_of(0, ((0, 0), (0, 0), (3, 0))).chunks is None
    assert view_of(None, ((0, 0),) * 3).chunks == (3, 2, 4, 4)


def test_what_a_view_cannot_do_is_said():
    view = view_of(0)
    with pytest.raises(IndexError, match="too many indices"):
        view[0, 0, 0, 0]
    with pytest.raises(IndexError, match=r"read it with numpy\.asarray first"):
        view[[0, 1]]
    with pytest.raises(TypeError, match="cannot be changed in place"):
        view[0] = 1
    with pytest.raises(ValueError, match="copy"):
        np.array(view, copy=False)
