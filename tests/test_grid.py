import numpy as np
import pytest
from cloudvolume.datasource.precomputed.common import compressed_morton_code
from hypothesis import given
from hypothesis import strategies as st

from napari_kemp.precomputed import Box, ChunkGrid
from napari_kemp.precomputed.sharding import morton_code

GRID = ChunkGrid((200, 190, 17), (64, 64, 16), (-5, 7, 0))

small_grids = st.builds(
    ChunkGrid,
    st.tuples(*[st.integers(0, 12)] * 3),
    st.tuples(*[st.integers(1, 7)] * 3),
    st.tuples(*[st.integers(-20, 20)] * 3),
)
points = st.tuples(*[st.integers(-30, 40)] * 3)


def test_names_hold_absolute_coordinates_clipped_to_the_bounds(isbi):
    written = {path.name for path in (isbi / "affinities-fpzip" / "4_4_50").iterdir()}
    assert {GRID.name(cell) for cell in GRID.cells()} == written


def test_names_without_data():
    assert GRID.shape_xyz == (4, 3, 2)
    assert GRID.name((0, 0, 0)) == "-5-59_7-71_0-16"
    assert GRID.name((3, 2, 1)) == "187-195_135-197_16-17"


def test_cells_run_along_x_first():
    assert list(GRID.cells(Box((0, 0, 0), (60, 8, 17)))) == [
        (0, 0, 0),
        (1, 0, 0),
        (0, 0, 1),
        (1, 0, 1),
    ]


@pytest.mark.parametrize("cell", [(-1, 0, 0), (4, 0, 0), (0, 3, 0), (0, 0, 2)])
def test_there_are_no_cells_outside(cell):
    with pytest.raises(IndexError):
        GRID.name(cell)


def test_a_grid_of_billions_costs_nothing():
    grid = ChunkGrid((2**40, 2**40, 2**40), (1, 1, 1))
    assert grid.num_cells == 2**120
    assert next(grid.cells()) == (0, 0, 0)
    far = 2**40 - 1
    assert list(grid.cells(Box((far, far, far), (2**41, 2**41, 2**41)))) == [(far, far, far)]


@given(small_grids)
def test_chunks_cover_every_voxel_once(grid):
    seen = np.zeros(grid.size_xyz, int)
    for cell in grid.cells():
        box = grid.box(cell)
        assert 0 not in box.shape_xyz
        seen[
            tuple(slice(a - o, b - o) for a, b, o in zip(*box, grid.voxel_offset_xyz, strict=True))
        ] += 1
    assert (seen == 1).all()
    assert len(list(grid.cells())) == grid.num_cells


@given(small_grids, points, points)
def test_cells_of_a_box_are_those_that_share_a_voxel_with_it(grid, start, stop):
    box = Box(start, stop)

    def touches(cell):
        starts, stops = grid.box(cell)
        return all(
            max(a, c) < min(b, d)
            for a, b, c, d in zip(starts, stops, box.start_xyz, box.stop_xyz, strict=True)
        )

    assert list(grid.cells(box)) == [cell for cell in grid.cells() if touches(cell)]


@given(small_grids, points)
def test_the_snapped_point_is_a_corner_and_none_is_nearer(grid, point):
    if grid.num_cells == 0:
        return
    snapped = grid.snapped(point)
    corners = [grid.box(cell).start_xyz for cell in grid.cells()]
    assert snapped in corners
    for axis in range(3):
        nearest = min(abs(corner[axis] - point[axis]) for corner in corners)
        assert abs(snapped[axis] - point[axis]) == nearest


@given(st.tuples(*[st.integers(1, 300)] * 3), st.data())
def test_morton_codes_are_those_of_cloudvolume(shape, data):
    cell = tuple(data.draw(st.integers(0, cells - 1)) for cells in shape)
    assert morton_code(cell, shape) == int(compressed_morton_code(cell, shape))
