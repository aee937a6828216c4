"""The dock widget that opens a volume: from where, which scales, which part, and how shown."""

from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QLineEdit,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_kemp.errors import CodecError, InfoError, KempError
from napari_kemp.plugin.controls import button, choice, form, message, row, with_tooltip
from napari_kemp.plugin.dock_widget import DockWidget
from napari_kemp.plugin.excerpt import excerpt_layers
from napari_kemp.plugin.latest import Latest
from napari_kemp.plugin.layers import LayerData
from napari_kemp.plugin.recent import recent_volumes, remember
from napari_kemp.plugin.triple_edit import parse_triple
from napari_kemp.precomputed import Box, Scale, Volume, open_volume
from napari_kemp.precomputed.encodings import find_encoding

if TYPE_CHECKING:
    from napari.viewer import Viewer

_WIDTH = 430

_COLUMNS = (
    ("size", "Voxels along x, y and z."),
    ("nm", "Nanometres a voxel, x, y, z."),
    ("encoding", "How chunks are encoded."),
    ("chunk", "Voxels a chunk, x, y, z."),
    ("raw", "Size of all values in memory; what is on screen is all that is read."),
)


class OpenWidget(DockWidget):
    """Open a precomputed volume, or part of it.

    Parameters
    ----------
    napari_viewer
        The viewer that shall show it.
    """

    def __init__(self, napari_viewer: "Viewer") -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._volume: Volume | None = None
        self.url = with_tooltip(
            QComboBox(),
            "A folder or URL (file://, http(s)://, gs://, s3://, with or without precomputed://).\n"
            "Press Enter to look at it; the list has what was opened before.",
        )
        self.url.setEditable(True)
        self.url.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.url.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.url.setMinimumContentsLength(12)
        self.url.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.url.addItems(recent_volumes())
        self.url.setCurrentText("")
        self.url.lineEdit().setPlaceholderText("folder or URL")
        self.browse_button = button("Browse…", "Choose a folder that holds an info file.")
        self.summary = message("What the info file says, or why the volume cannot be opened.")
        self.scales = with_tooltip(
            QTableWidget(0, len(_COLUMNS)),
            "The scales of the volume; those that are selected are opened, as levels of one layer.",
        )
        self._set_up_table()
        self.show_as = choice([], "How to show the volume.")
        self.only_box = with_tooltip(
            QCheckBox("only a box of it"), "Open a part of the volume instead of all of it."
        )
        self.box_start = with_tooltip(
            QLineEdit(), "First voxel of the box, x, y, z, in voxels of the finest selected scale."
        )
        self.box_stop = with_tooltip(
            QLineEdit(), "The voxel beyond the last one of the box, x, y, z."
        )
        self.open_button = button("Open", "Add the volume to the viewer as layers.")
        self.result = message("How the last volume was opened.")

        self._box = QWidget()
        self._box.setLayout(form(("from", self.box_start), ("to", self.box_stop)))
        self._details = QWidget()
        self._details.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        details = QVBoxLayout(self._details)
        details.setContentsMargins(0, 0, 0, 0)
        details.addWidget(self.scales)
        details.addLayout(form(("show as", self.show_as)))
        details.addWidget(self.only_box)
        details.addWidget(self._box)
        details.addWidget(self.open_button)
        layout = QVBoxLayout(self)
        layout.addWidget(row(self.url, self.browse_button))
        layout.addWidget(self.summary)
        layout.addWidget(self._details)
        layout.addWidget(self.result)
        layout.addStretch()
        # A table of scales fits in, without scrolling.
        self.setMinimumWidth(_WIDTH)

        self._look_job = Latest(self._on_volume, self._on_no_volume)
        self._open_job = Latest(self._on_layers, self._on_not_opened)
        self.at_the_end(self._look_job.drop, self._open_job.drop)
        self.url.lineEdit().returnPressed.connect(self.look)
        self.url.activated.connect(self.look)
        self.browse_button.clicked.connect(self.browse)
        self.scales.itemSelectionChanged.connect(self._on_selection)
        self.only_box.toggled.connect(self._box.setVisible)
        self.open_button.clicked.connect(self.open)
        self._show_volume(None, "Type or choose where the volume lies, and press Enter.")

    @property
    def busy(self) -> bool:
        """Whether a volume is being looked at or opened."""
        return self._look_job.busy or self._open_job.busy

    def browse(self) -> None:
        """Let the user choose a folder, and look at it."""
        folder = QFileDialog.getExistingDirectory(self, "Open a precomputed volume")
        if folder:
            self.url.setCurrentText(folder)
            self.look()

    def look(self, *_: Any) -> None:
        """Read the info file of the volume, in a thread."""
        url = self.url.currentText().strip().removesuffix("/info")
        self.result.setText("")
        if url:
            self._show_volume(None, "Reading its info file…")
            self._look_job.ask(lambda abandoned: open_volume(url))

    def open(self) -> None:
        """Add the volume to the viewer, as chosen."""
        if self._volume is None:
            return
        try:
            box = self._chosen_box()
        except KempError as error:
            self.result.setText(str(error))
            return
        self.open_button.setEnabled(False)
        self.result.setText("Opening…")
        chosen = self._volume, self.show_as.currentData(), self._chosen_scales(), box
        self._open_job.ask(lambda abandoned: excerpt_layers(*chosen))

    def _set_up_table(self) -> None:
        table = self.scales
        for number, (title, tooltip) in enumerate(_COLUMNS):
            table.setHorizontalHeaderItem(number, _cell(title, tooltip))
        table.verticalHeader().hide()
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.MultiSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        table.horizontalHeader().setStretchLastSection(True)
        table.setWordWrap(False)

    def _on_volume(self, volume: Volume) -> None:
        info = volume.info
        channels = f"{info.num_channels} channel{'s' if info.num_channels > 1 else ''}"
        self._show_volume(volume, f"{info.type}, {info.data_type}, {channels}")

    def _on_no_volume(self, error: Exception) -> None:
        self._show_volume(None, str(error))

    def _on_layers(self, layers: list[LayerData]) -> None:
        first = not len(self._viewer.layers)
        for layer in layers:
            self._viewer.add_layer(Layer.create(*layer))
        if first:
            self._viewer.reset_view()
            self._viewer.canvas.overlays.scale_bar.visible = True
        self.open_button.setEnabled(True)
        names = ", ".join(str(arguments["name"]) for _, arguments, _ in layers)
        self.result.setText(f"Opened {names}.")
        if self._volume is not None:
            url = self._volume.url
            remember(url)
            self.url.clear()
            self.url.addItems(recent_volumes())
            self.url.setCurrentText(url)

    def _on_not_opened(self, error: Exception) -> None:
        self.open_button.setEnabled(True)
        self.result.setText(str(error))

    def _show_volume(self, volume: Volume | None, summary: str) -> None:
        self._volume = volume
        self.summary.setText(summary)
        self._details.setVisible(volume is not None)
        self.only_box.setChecked(False)
        self._box.setVisible(False)
        self.scales.blockSignals(True)
        self.scales.setRowCount(0)
        self.show_as.clear()
        if volume is not None:
            for scale in volume.scales:
                self._add_scale(scale)
            for text, show in _ways_to_show(volume):
                self.show_as.addItem(text, show)
        self.scales.resizeColumnsToContents()
        self.scales.setFixedHeight(_height(self.scales))
        self.scales.blockSignals(False)
        self._on_selection()

    def _add_scale(self, scale: Scale) -> None:
        number = self.scales.rowCount()
        self.scales.insertRow(number)
        info = scale.info
        problem = ""
        try:
            find_encoding(info.encoding)
        except CodecError as error:
            problem = str(error)
        cells = (
            "×".join(map(str, info.size)),
            "×".join(f"{step:g}" for step in info.resolution),
            info.encoding + (" (sharded)" if info.sharding is not None else ""),
            "×".join(map(str, info.chunk_sizes[0])),
            _bytes(scale.array.nbytes),
        )
        for column, text in enumerate(cells):
            item = _cell(text, problem or f"{scale.name}: {_COLUMNS[column][1]}")
            if problem:
                item.setFlags(Qt.ItemFlag.NoItemFlags)
            self.scales.setItem(number, column, item)
            item.setSelected(not problem)

    def _chosen_scales(self) -> list[int]:
        return sorted({index.row() for index in self.scales.selectionModel().selectedRows()})

    def _on_selection(self) -> None:
        chosen = self._chosen_scales()
        self.open_button.setEnabled(self._volume is not None and bool(chosen))
        if self._volume is None:
            return
        if not chosen:
            first = self.scales.item(0, 0)
            unreadable = first.flags() == Qt.ItemFlag.NoItemFlags
            self.result.setText(first.toolTip() if unreadable else "Select a scale.")
            return
        self.result.setText("")
        bounds = self._volume.scales[chosen[0]].grid.bounds
        for edit, corner in ((self.box_start, bounds.start_xyz), (self.box_stop, bounds.stop_xyz)):
            edit.setText(", ".join(map(str, corner)))

    def _chosen_box(self) -> Box | None:
        if not self.only_box.isChecked():
            return None
        start = parse_triple(self.box_start.text(), "from", whole=True)
        stop = parse_triple(self.box_stop.text(), "to", whole=True)
        if not all(a < b for a, b in zip(start, stop, strict=True)):
            raise InfoError("the box is empty: 'to' must be larger than 'from' along each axis")
        return Box(start, stop)


def _cell(text: str, tooltip: str) -> QTableWidgetItem:
    """Make a cell of a table."""
    item = QTableWidgetItem(text)
    item.setToolTip(tooltip)
    return item


def _ways_to_show(volume: Volume) -> list[tuple[str, str]]:
    channels = volume.info.num_channels
    integers = "int" in volume.info.data_type
    suits = "as suits it"
    if integers and volume.info.type == "segmentation":
        suits = "Labels"
    elif channels == 3:
        suits = "affinities: red, green and blue"
    elif channels == 1:
        suits = "image"
    ways = [(suits, "auto")]
    if channels > 1:
        ways += [("one grey layer a channel", "channels"), ("one layer, with a slider", "slider")]
    if volume.info.type == "segmentation" and channels == 1:
        ways.append(("image", "slider"))
    elif integers:
        ways.append(("Labels", "labels"))
    return ways


def _height(table: QTableWidget) -> int:
    """Height at which a few rows show without a scroll bar."""
    rows = min(table.rowCount(), 8)
    each = table.rowHeight(0) if rows else 0
    return int(table.horizontalHeader().sizeHint().height() + rows * each + 18)


def _bytes(count: int) -> str:
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"
