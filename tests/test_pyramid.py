from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_kemp.plugin.pyramid import build_pyramid


def scale(size, resolution=(4, 4, 50), offset=(0, 0, 0)):
    return SimpleNamespace(size=size, resolution=resolution, voxel_offset=offset)


def test_nothing_is_added_where_all_divides():
    pyramid = build_pyramid(
        [
            scale((512, 512, 30), (4, 4, 50), (1024, 2048, 100)),
            scale((256, 256, 30), (8, 8, 50), (512, 1024, 100)),
            scale((128, 128, 30), (16, 16, 50), (256, 512, 100)),
        ]
    )
    assert [level.padding_zyx for level in pyramid.levels] == [((0, 0),) * 3] * 3
    assert [level.factor_xyz for level in pyramid.levels] == [(1, 1, 1), (2, 2, 1), (4, 4, 1)]
    assert pyramid.voxel_offset_xyz == (1024, 2048, 100)


def test_an_odd_size_is_filled_up_to_whole_coarse_voxels():
    pyramid = build_pyramid([scale((101, 100, 9)), scale((51, 50, 9), (8, 8, 50))])
    fine, coarse = pyramid.levels
    assert fine.padding_zyx == ((0, 0), (0, 0), (0, 1))
    assert coarse.padding_zyx == ((0, 0), (0, 0), (0, 0))


offsets = st.integers(-40, 40)
sizes = st.integers(1, 60)


@given(
    offset=st.tuples(offsets, offsets, offsets),
    size=st.tuples(sizes, sizes, sizes),
    factors=st.lists(st.sampled_from([(2, 2, 1), (2, 2, 2), (1, 1, 2), (3, 3, 1)]), max_size=4),
)
def test_levels_fill_one_box_wherever_they_lie(offset, size, factors):
    scales, factor = [scale(size, (4, 4, 50), offset)], (1, 1, 1)
    for step in factors:
        factor = tuple(a * b for a, b in zip(factor, step, strict=True))
        # As CloudVolume and Igneous place them: rounded outwards to whole coarse voxels.
        start = [o // f for o, f in zip(offset, factor, strict=True)]
        stop = [-(-(o + s) // f) for o, s, f in zip(offset, size, factor, strict=True)]
        coarse_size = tuple(b - a for a, b in zip(start, stop, strict=True))
        resolution = tuple(r * f for r, f in zip((4, 4, 50), factor, strict=True))
        scales.append(scale(coarse_size, resolution, tuple(start)))

    pyramid = build_pyramid(scales)

    assert len(pyramid.levels) == len(scales)
    for level in pyramid.levels:
        placed = scales[level.scale]
        for axis in range(3):
            before, after = level.padding_zyx[2 - axis]
            assert before >= 0
            assert after >= 0
            f = level.factor_xyz[axis]
            start = (placed.voxel_offset[axis] - before) * f
            stop = (placed.voxel_offset[axis] + placed.size[axis] + after) * f
            finest = pyramid.levels[0].padding_zyx[2 - axis]
            assert start == pyramid.voxel_offset_xyz[axis]
            assert stop == offset[axis] + size[axis] + finest[1]
            # Less than one coarsest voxel on either side.
            assert max(finest) < pyramid.levels[-1].factor_xyz[axis]


@pytest.mark.parametrize(
    ("finest", "other"),
    [
        ((4, 4, 50), (6, 6, 50)),
        ((4, 4, 50), (4, 4, 50)),
        ((8, 8, 50), (4, 4, 50)),
    ],
)
def test_scales_that_cannot_be_drawn_in_place_are_left_out(finest, other):
    pyramid = build_pyramid([scale((60, 60, 6), finest), scale((40, 40, 6), other)])
    assert [level.scale for level in pyramid.levels] == [0]


def test_decimal_resolutions_need_not_double_to_the_last_bit():
    scales = [scale((1000, 1000, 10), (3.55, 3.55, 40.1)), scale((500, 500, 10), (7.1, 7.1, 40.1))]
    assert [level.factor_xyz for level in build_pyramid(scales).levels] == [(1, 1, 1), (2, 2, 1)]
