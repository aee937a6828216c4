"""Coarser values, held against tinybrain and against plain loops."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_kemp.export.downsample import coarser, means, modes
from napari_kemp.precomputed import Box

RNG = np.random.default_rng(0)


def plain(fine, start_xyz, factor_xyz, combine):
    """Gather the fine voxels of each coarse one, by its absolute coordinates."""
    start, factor = start_xyz[::-1], factor_xyz[::-1]
    groups = {}
    for c, *index in product(*map(range, fine.shape)):
        coarse = tuple((i + s) // f - s // f for i, s, f in zip(index, start, factor, strict=True))
        groups.setdefault((c, *coarse), []).append(fine[c, *index])
    shape = tuple(max(key[axis] for key in groups) + 1 for axis in range(4))
    result = np.empty(shape, fine.dtype)
    for key, values in groups.items():
        result[key] = combine(values)
    return result


def mean_of_present(values):
    present = [float(v) for v in values if not np.isnan(v)]
    return np.mean(present) if present else np.nan


CASES = st.tuples(
    st.tuples(*[st.integers(1, 7)] * 3),
    st.tuples(*[st.integers(-5, 5)] * 3),
    st.tuples(*[st.integers(1, 2)] * 3),
)


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_means_count_what_is_there(case):
    size, start, factor = case
    fine = RNG.random((2, *size[::-1]), np.float32)
    fine[RNG.random(fine.shape) < 0.2] = np.nan
    coarse = means(fine, start, factor)
    assert coarse.dtype == np.float32
    np.testing.assert_allclose(
        coarse, plain(fine, start, factor, mean_of_present), rtol=1e-6, atol=0
    )
    stop = tuple(s + n for s, n in zip(start, size, strict=True))
    assert coarse.shape[1:] == coarser(Box(start, stop), factor).shape_xyz[::-1]


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_modes_are_the_most_frequent_first(case):
    size, start, factor = case
    fine = RNG.integers(0, 3, (1, *size[::-1])).astype(np.uint64)
    expected = plain(fine, start, factor, lambda values: Counter(values).most_common(1)[0][0])
    np.testing.assert_array_equal(modes(fine, start, factor), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32])
def test_means_of_integers_are_rounded_to_the_nearest(dtype):
    fine = np.array([[[[0, 1, 3, 4], [0, 0, 4, 4]]]], dtype)
    assert means(fine, (0, 0, 0), (2, 2, 1)).tolist() == [[[[0, 4]]]]
    assert means(np.full((1, 2, 2, 2), 200, dtype), (0, 0, 0), (2, 2, 2)).tolist() == [[[[200]]]]


def test_infinity_stays_and_nan_is_no_value():
    fine = np.array([[[[np.nan, 3, np.inf, 1, np.nan, np.nan]]]], np.float32)
    np.testing.assert_array_equal(
        means(fine, (0, 0, 0), (2, 1, 1)), np.array([[[[3, np.inf, np.nan]]]], np.float32)
    )


def test_means_and_modes_agree_with_tinybrain():
    tinybrain = pytest.importorskip("tinybrain")
    affinities = RNG.random((3, 8, 16, 32), np.float32)
    for factor in ((2, 2, 1), (2, 2, 2)):
        (theirs,) = tinybrain.downsample_with_averaging(
            np.asfortranarray(affinities.T), factor=factor, num_mips=1
        )
        np.testing.assert_allclose(means(affinities, (0, 0, 0), factor), theirs.T, rtol=1e-6)
    # Where one label has the majority there is nothing to choose.
    labels = np.repeat(np.repeat(RNG.integers(1, 99, (1, 4, 8, 8)), 2, 2), 2, 3).astype(np.uint64)
    labels[:, :, ::2, ::2] = 7
    (theirs,) = tinybrain.downsample_segmentation(
        np.asfortranarray(labels[0].T), factor=(2, 2, 1), num_mips=1
    )
    np.testing.assert_array_equal(modes(labels, (0, 0, 0), (2, 2, 1))[0], theirs.T)
