"""Segments, maps and differences, against what a few plain loops say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_kemp.affinity import (
    MAPS,
    Convention,
    LazyMap,
    find_segments,
    largest_difference,
    measure_difference,
)
from napari_kemp.sample import make_neurites

CONVENTIONS = [Convention(order, offset) for order in ("xyz", "zyx") for offset in (-1, 1)]


def union_find_segments(affinities, threshold, convention):
    """Sets of the voxels that belong together, two or more, found one edge at a time."""
    shape = affinities.shape[1:]
    parent = {voxel: voxel for voxel in np.ndindex(shape)}

    def root(voxel):
        while parent[voxel] != voxel:
            voxel = parent[voxel]
        return voxel

    for channel, name in enumerate(convention.order):
        axis = "zyx".index(name)
        for voxel in np.ndindex(shape):
            neighbour = list(voxel)
            neighbour[axis] += convention.offset
            neighbour = tuple(neighbour)
            if neighbour in parent and affinities[(channel, *voxel)] >= threshold:
                parent[root(voxel)] = root(neighbour)
    members = {}
    for voxel in parent:
        members.setdefault(root(voxel), set()).add(voxel)
    return {frozenset(voxels) for voxels in members.values() if len(voxels) > 1}


@given(
    affinities=st.tuples(*[st.integers(1, 4)] * 3).flatmap(
        lambda shape: hnp.arrays(
            np.float32, (3, *shape), elements=st.sampled_from([0, 0.25, 0.5, 0.75, 1, np.nan])
        )
    ),
    threshold=st.sampled_from([0, 0.25, 0.4, 0.5, 1]),
    convention=st.sampled_from(CONVENTIONS),
)
@settings(max_examples=300, deadline=None)
def test_segments_are_what_edges_above_the_threshold_connect(affinities, threshold, convention):
    expected = union_find_segments(affinities, threshold, convention)
    segments = find_segments(affinities, threshold, convention)
    numbers = np.unique(segments.labels[segments.labels > 0])
    found = {
        frozenset(map(tuple, np.argwhere(segments.labels == number).tolist())) for number in numbers
    }
    assert found == expected
    assert segments.count == len(expected)
    assert numbers.tolist() == list(range(1, len(expected) + 1))
    assert segments.largest_voxels == max(map(len, expected), default=0)
    if expected:
        assert (segments.labels == segments.largest).sum() == segments.largest_voxels
    else:
        assert segments.largest == 0


def mutex_segments(weights, convention):
    """The same, but for pairs whose segments were told apart before; strongest weights first."""
    shape = weights.shape[1:]
    segment = {voxel: frozenset([voxel]) for voxel in np.ndindex(shape)}
    apart = set()
    for index in sorted(np.ndindex(weights.shape), key=lambda index: -abs(weights[index])):
        neighbour = list(index[1:])
        neighbour["zyx".index(convention.order[index[0]])] += convention.offset
        if tuple(neighbour) not in segment:
            continue
        one, other = segment[index[1:]], segment[tuple(neighbour)]
        if one == other:
            continue
        if weights[index] < 0:
            apart.add(frozenset([index[1:], tuple(neighbour)]))
        elif not any(frozenset([a, b]) in apart for a in one for b in other):
            for voxel in one | other:
                segment[voxel] = one | other
    return {voxels for voxels in segment.values() if len(voxels) > 1}


@given(
    ranks=st.permutations(range(1, 1 + 3 * 2 * 2 * 3)),
    signs=st.lists(st.sampled_from([-1, 1, 1]), min_size=36, max_size=36),
    convention=st.sampled_from(CONVENTIONS),
)
@settings(max_examples=150, deadline=None)
def test_a_mutex_watershed_keeps_apart_what_is_far_below_the_threshold(ranks, signs, convention):
    weights = (np.array(ranks) * signs / 64).reshape(3, 2, 2, 3)
    segments = find_segments(weights + 0.5, 0.5, convention, mutex=True)
    found = {
        frozenset(map(tuple, np.argwhere(segments.labels == number).tolist()))
        for number in range(1, segments.count + 1)
    }
    assert found == mutex_segments(weights, convention)


def test_one_gap_in_a_membrane_joins_components_but_no_mutex_watershed():
    affinities = np.full((3, 1, 9, 9), 0.9, np.float32)
    affinities[:, 0, :, 4:6] = 0.1
    affinities[:, 0, 4, 4:6] = 0.55
    assert find_segments(affinities, 0.5, Convention()).count == 1
    assert find_segments(affinities, 0.5, Convention(), mutex=True).count > 1
    affinities[0, 0, 0, 0] = np.nan
    assert find_segments(affinities, 0.5, Convention(), mutex=True).count > 1


@given(
    affinities=hnp.arrays(np.float32, (3, 2, 3, 4), elements=st.sampled_from([0, 1])),
    start=st.tuples(*[st.integers(0, 9)] * 3),
)
def test_steady_labels_tell_the_place_of_a_segment(affinities, start):
    shape = (20, 21, 22)
    segments = find_segments(affinities, 0.5, Convention())
    steady = segments.steady_labels(start, shape)
    for number in range(1, segments.count + 1):
        (first, *_) = np.argwhere(segments.labels == number)
        (found,) = np.unique(steady[segments.labels == number])
        assert found == 1 + np.ravel_multi_index(tuple(first + start), shape)
    np.testing.assert_array_equal(steady == 0, segments.labels == 0)


def test_a_region_without_voxels_has_no_segments():
    segments = find_segments(np.zeros((3, 0, 4, 4), np.float32), 0.5, Convention())
    assert segments.labels.shape == (0, 4, 4)
    assert (segments.count, segments.largest, segments.largest_voxels) == (0, 0, 0)


def test_the_sample_falls_into_its_cells():
    neurites = make_neurites((96, 96, 6))
    segments = find_segments(neurites.affinities, 0.9, Convention())
    inside = neurites.segmentation > 0
    both = np.stack([neurites.segmentation[inside], segments.labels[inside].astype(np.uint64)])
    pairs, counts = np.unique(both[:, both[1] > 0], axis=1, return_counts=True)
    # Of each segment, nearly all voxels lie in one cell.
    main = sum(counts[pairs[1] == number].max() for number in np.unique(pairs[1]))
    assert main / counts.sum() > 0.98
    wrong = find_segments(neurites.affinities, 0.9, Convention(offset=1))
    assert not np.array_equal(wrong.labels, segments.labels)


def test_maps_of_two_voxels():
    x, y, z = (np.array(v, np.float32) for v in ([0.25, 1], [0.5, 1], [0.75, 1]))
    np.testing.assert_array_equal(MAPS["boundary"](x, y, z), [0.75, 0])
    np.testing.assert_array_equal(MAPS["mean"](x, y, z), [0.5, 1])
    np.testing.assert_array_equal(MAPS["maximum"](x, y, z), [0.75, 1])


class Counting:
    """An array whose indexing is free, and which remembers what was read of it."""

    def __init__(self, array, chunks=None, read=None):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.chunks = chunks
        self.read = [] if read is None else read

    def __getitem__(self, key):
        return Counting(self.array[key], None, self.read)

    def __array__(self, dtype=None, copy=None):
        self.read.append(self.array.shape)
        return self.array


RNG = np.random.default_rng(0)
CHANNELS = RNG.random((3, 5, 6, 7), np.float32)


def test_only_what_is_looked_at_is_computed():
    channels = [Counting(channel, (2, 3, 4)) for channel in CHANNELS]
    boundary = LazyMap(MAPS["boundary"], channels)
    assert (boundary.shape, boundary.ndim, boundary.dtype) == ((5, 6, 7), 3, np.float32)
    assert (boundary.size, boundary.nbytes, boundary.chunks) == (210, 840, (2, 3, 4))
    section = boundary[:, 1:4, 2:6][3]
    assert section.shape == (3, 4)
    assert not any(channel.read for channel in channels)
    np.testing.assert_array_equal(section, (1 - CHANNELS.min(0))[3, 1:4, 2:6])
    assert [channel.read for channel in channels] == [[(3, 4)]] * 3


@given(key=st.tuples(*[st.slices(n) | st.integers(0, n - 1) for n in (5, 6, 7)]))
def test_a_map_indexes_as_its_values_would(key):
    lazy = LazyMap(MAPS["maximum"], list(CHANNELS))[key]
    np.testing.assert_array_equal(lazy, CHANNELS.max(0)[key])
    colours = LazyMap(lambda *c: np.stack(c, -1), list(CHANNELS), components=3)
    assert colours.shape == (5, 6, 7, 3)
    np.testing.assert_array_equal(colours[key], np.moveaxis(CHANNELS, 0, -1)[key])
    np.testing.assert_array_equal(colours[(*key, slice(None))], np.moveaxis(CHANNELS, 0, -1)[key])


def test_what_a_map_cannot_do_is_said():
    with pytest.raises(ValueError, match="one shape"):
        LazyMap(MAPS["mean"], [CHANNELS[0], CHANNELS[1, :3]])
    lazy = LazyMap(MAPS["mean"], list(CHANNELS))
    with pytest.raises(TypeError, match="cannot be changed"):
        lazy[0] = 1
    with pytest.raises(IndexError, match="read together"):
        LazyMap(lambda *c: np.stack(c, -1), list(CHANNELS), components=3)[:, :, :, 0]


def last(generator):
    steps = []
    while True:
        try:
            steps.append(next(generator))
        except StopIteration as end:
            return steps, end.value


@given(
    pair=hnp.arrays(
        np.float32,
        (2, 2, 3, 4, 5),
        elements=st.floats(-4, 4, width=32) | st.sampled_from([np.inf, -np.inf]),
    ),
    block=st.tuples(*[st.integers(1, 4)] * 3),
    start=st.tuples(*[st.integers(0, 1)] * 3),
)
@settings(max_examples=100, deadline=None)
def test_differences_are_measured_block_by_block(pair, block, start):
    with np.errstate(invalid="ignore"):
        difference = np.where(pair[0] == pair[1], 0, np.abs(pair[0] - pair[1]))
    inside = difference[:, start[0] :, start[1] :, start[2] :].astype(np.float64)
    steps, found = last(measure_difference(pair[0], pair[1], start, (3, 4, 5), block))
    assert steps[-1] == found
    assert [step.done for step in steps] == list(range(1, found.total + 1))
    assert found.values == inside.size
    assert found.largest == inside.max()
    assert difference[(slice(None), *found.at_zyx)].max() == found.largest
    np.testing.assert_allclose(found.mean, inside.mean(), rtol=1e-6)


def test_differences_of_unsigned_values_do_not_wrap():
    one, other = np.full((2, 1, 1, 2), [3, 200], np.uint8)[:1], np.full((1, 1, 1, 2), 100, np.uint8)
    _, found = last(measure_difference(one, other, (0, 0, 0), (1, 1, 2)))
    assert (found.largest, found.at_zyx, found.mean) == (100, (0, 0, 1), 98.5)
    np.testing.assert_array_equal(largest_difference(one[0], other[0]), [[[97, 100]]])


def test_nan_is_the_largest_difference():
    one = np.zeros((1, 4, 4, 4), np.float32)
    other = one.copy()
    other[0, 1, 2, 3] = np.nan
    other[0, 3, 3, 3] = 5
    _, found = last(measure_difference(one, other, (0, 0, 0), (4, 4, 4), (2, 2, 2)))
    assert np.isnan(found.largest)
    assert found.at_zyx == (1, 2, 3)


def test_an_empty_box_has_no_difference():
    steps, found = last(measure_difference(CHANNELS, CHANNELS, (2, 0, 0), (2, 6, 7)))
    assert steps == []
    assert (found.largest, found.at_zyx, found.values, found.total) == (0, None, 0, 0)


@pytest.mark.parametrize("order", ["xyz", "zyx"])
def test_channels_are_found_by_axis(order):
    convention = Convention(order)
    zyx = convention.by_axis_zyx(CHANNELS)
    for at, axis in enumerate("zyx"):
        np.testing.assert_array_equal(zyx[at], CHANNELS[convention.channel_of(axis)])
    assert sorted(map(convention.channel_of, "xyz")) == list(range(3))
