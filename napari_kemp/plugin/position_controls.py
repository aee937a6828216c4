"""The part of the inspector that says where one is, and what values are there."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QApplication, QLineEdit

from napari_kemp.errors import KempError
from napari_kemp.plugin.channel_layers import ChannelLayers, Region
from napari_kemp.plugin.controls import button, choice, message, page, row, with_tooltip
from napari_kemp.plugin.latest import Abandoned, Latest
from napari_kemp.plugin.position import as_text, go_to, view_centre, voxel_at, whole
from napari_kemp.plugin.subject import Subject
from napari_kemp.plugin.triple_edit import parse_triple

_SECTION_VOXELS = 8_000_000


class PositionControls:
    """Go to a position, copy it, and read the values under the cursor.

    Parameters
    ----------
    subject
        What is inspected.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.widget, layout = page()
        layout.setContentsMargins(0, 0, 0, 0)
        self.position = with_tooltip(
            QLineEdit(),
            "The middle of the canvas, x, y, z. Type or paste another one and press Enter.",
        )
        self.unit = choice(
            [("voxels", "voxels"), ("nm", "nm")],
            "Whether the position is in voxels of the finest scale, or in nanometres.",
        )
        self.unit.setMinimumContentsLength(5)
        self.go_button = button("Go", "Put this position into the middle of the canvas.")
        self.copy_button = button(
            "Copy",
            "Copy the middle of the canvas as 'x, y, z' in voxels, as Neuroglancer does\n"
            "(Shift+C copies the position under the cursor).",
        )
        self.values = message("The voxel under the cursor, and its affinities.")
        self.values.setMinimumHeight(2 * self.values.fontMetrics().lineSpacing())
        self.result = message("Why one could not go there.")
        self.result.hide()
        layout.addWidget(row(self.position, self.unit, self.go_button, self.copy_button))
        layout.addWidget(self.values)
        layout.addWidget(self.result)

        self._value_job = Latest(self._on_values, self._on_error)
        self._search_job = Latest(self._on_section, self._on_error)
        self.position.returnPressed.connect(self.go)
        self.go_button.clicked.connect(self.go)
        self.copy_button.clicked.connect(self.copy_centre)
        self.unit.currentIndexChanged.connect(self.refresh)
        subject.view_moved.connect(self.refresh)
        subject.chosen.connect(self.refresh)
        subject.cursor_moved.connect(self._on_cursor)

    @property
    def busy(self) -> bool:
        """Whether values are being read, or data looked for."""
        return self._value_job.busy or self._search_job.busy

    def refresh(self, *_: Any) -> None:
        """Say where the middle of the canvas is, unless somebody is typing."""
        affinities = self._subject.affinities
        if affinities is None or self.position.hasFocus():
            return
        centre = whole(view_centre(self._subject.viewer, affinities))
        steps = affinities.sources[0].resolution_xyz
        if self.unit.currentData() == "nm":
            nanometres = [voxel * step for voxel, step in zip(centre, steps, strict=True)]
            self.position.setText(", ".join(f"{each:.9g}" for each in nanometres))
        else:
            self.position.setText(as_text(centre))
        self.position.setCursorPosition(0)

    def go(self) -> None:
        """Go to the position that was typed."""
        affinities = self._subject.affinities
        if affinities is None:
            return
        try:
            x, y, z = parse_triple(self.position.text(), "position")
        except KempError as error:
            self._complain(str(error))
            return
        if self.unit.currentData() == "nm":
            dx, dy, dz = affinities.sources[0].resolution_xyz
            x, y, z = x / dx, y / dy, z / dz
        self._complain("")
        self.position.clearFocus()
        go_to(self._subject.viewer, affinities, (x, y, z))

    def copy_centre(self) -> None:
        """Copy the middle of the canvas, in voxels."""
        affinities = self._subject.affinities
        if affinities is not None:
            _to_clipboard(as_text(view_centre(self._subject.viewer, affinities)))

    def copy_cursor(self) -> None:
        """Copy the voxel under the cursor."""
        affinities, viewer = self._subject.affinities, self._subject.viewer
        if affinities is not None:
            text = as_text(voxel_at(viewer, affinities, viewer.cursor.position))
            _to_clipboard(text)
            viewer.status = f"copied {text}"

    def go_to_data(self, step: int) -> None:
        """Go to the next section, or with -1 the one before, that is not empty in this view."""
        affinities, viewer = self._subject.affinities, self._subject.viewer
        if affinities is None:
            return
        try:
            region = affinities.region_in_view(viewer, limit_voxels=_SECTION_VOXELS)
        except KempError as error:
            self._complain(str(error))
            return
        axis = affinities.section_axis(viewer)
        self._search_job.drop()
        self._search_job.ask(partial(_next_with_data, affinities, region, axis, step))

    def close(self) -> None:
        """Stop to search and to read."""
        self._value_job.drop()
        self._search_job.drop()

    def _on_cursor(self) -> None:
        affinities, viewer = self._subject.affinities, self._subject.viewer
        # While layers are cleared, the cursor has two axes already.
        if affinities is None or viewer.dims.ndisplay != 2 or len(viewer.cursor.position) < 3:
            self.values.setText("")
            return
        voxel = whole(voxel_at(viewer, affinities, viewer.cursor.position))
        source = affinities.sources[0]
        inside = all(
            0 <= at - offset < size
            for at, offset, size in zip(
                voxel, source.voxel_offset_xyz, source.shape_zyx[::-1], strict=True
            )
        )
        if not inside:
            self._value_job.drop()
            self.values.setText(f"voxel {as_text(voxel)}: outside of the volume")
            return
        try:
            level = affinities.level_in_view(viewer)
        except KempError as error:
            self._on_error(error)
            return
        self._value_job.ask(
            partial(_read_voxel, affinities, level, voxel, self._subject.convention.order)
        )

    def _on_values(self, text: str) -> None:
        self.values.setText(text)

    def _on_section(self, found: tuple[ChannelLayers, int, float | None]) -> None:
        affinities, axis, at = found
        if affinities is not self._subject.affinities:
            return
        if at is None:
            self._subject.viewer.status = "no further section with data in the field of view"
            return
        viewer = self._subject.viewer
        centre = list(view_centre(viewer, affinities))
        centre[2 - axis] = at
        go_to(viewer, affinities, (centre[0], centre[1], centre[2]))

    def _on_error(self, error: Exception) -> None:
        self.values.setText(str(error))

    def _complain(self, message: str) -> None:
        self.result.setText(message)
        self.result.setVisible(bool(message))


def _read_voxel(
    affinities: ChannelLayers,
    level: int,
    voxel_xyz: tuple[int, int, int],
    order: str,
    abandoned: Abandoned,
) -> str:
    source = affinities.sources[0]
    finest = np.array(voxel_xyz[::-1]) - source.voxel_offset_xyz[::-1] + source.padding_zyx
    factor = affinities.factor_zyx(level)
    z, y, x = (int(each) for each in np.floor(finest / factor))
    voxel = Region(level, (z, y, x), (z + 1, y + 1, x + 1))
    values = [float(each) for each in affinities.read(voxel, abandoned).ravel()]
    told = "   ".join(f"{axis} {values[order.index(axis)]:.4f}" for axis in "xyz")
    coarse = f" (seen {factor[2]:.3g} × coarser)" if level else ""
    return f"voxel {as_text(voxel_xyz)}{coarse}\n{told}"


def _next_with_data(
    affinities: ChannelLayers, region: Region, axis: int, step: int, abandoned: Abandoned
) -> tuple[ChannelLayers, int, float | None]:
    """Find the next section along an axis that is not empty, and its absolute voxel coordinate."""
    sections = affinities.levels[region.level][0].shape[axis]
    at = region.start_zyx[axis] + step
    while 0 <= at < sections:
        start, end = list(region.start_zyx), list(region.stop_zyx)
        start[axis], end[axis] = at, at + 1
        section = Region(region.level, (start[0], start[1], start[2]), (end[0], end[1], end[2]))
        if _has_data(affinities.read(section, abandoned)):
            source, factor = affinities.sources[0], float(affinities.factor_zyx(region.level)[axis])
            first = source.voxel_offset_xyz[2 - axis] - source.padding_zyx[axis]
            return affinities, axis, first + at * factor + (factor - 1) / 2
        at += step
    return affinities, axis, None


def _has_data(values: NDArray[Any]) -> bool:
    return bool(values.any())


def _to_clipboard(text: str) -> None:
    QApplication.clipboard().setText(text)
