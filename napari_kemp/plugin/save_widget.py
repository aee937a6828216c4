"""The dock widget that saves layers as a kempressed, fpzip or raw volume."""

import threading
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, FileEdit, Label, ProgressBar, PushButton, Widget
from napari.layers import Image, Layer
from napari.qt.threading import GeneratorWorker, create_worker
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QMessageBox, QSizePolicy

from napari_kemp.errors import ExportError, KempError
from napari_kemp.export import Plan, Progress, Report, execute, make_plan, preview
from napari_kemp.plugin.channel_groups import group_channels, group_name
from napari_kemp.plugin.channel_picker import ChannelPicker
from napari_kemp.plugin.controls import flush
from napari_kemp.plugin.destination import refuse_occupied, suggest_destination
from napari_kemp.plugin.field_of_view import field_of_view
from napari_kemp.plugin.layer_source import LayerSource, layer_source, refuse_mixed
from napari_kemp.plugin.reader import get_reader
from napari_kemp.plugin.triple_edit import TripleEdit
from napari_kemp.precomputed import volume_exists

if TYPE_CHECKING:
    from napari.viewer import Viewer

_WHOLE = "everything"
_VIEW_ALL_SECTIONS = "field of view, all sections"
_VIEW_THIS_SECTION = "field of view, this section only"
_CHUNK_XYZ = (128, 128, 64)

# magicgui would make room for labels in Qt's own font, and napari draws them in a larger one.
_LABEL_WIDTH = 90


@dataclass(frozen=True)
class _Failure:
    """Why a save came to no end."""

    message: str
    volume_exists: bool


@dataclass(frozen=True)
class _Cancelled:
    """The save was stopped on request."""


_End = Report | _Failure | _Cancelled


def _save(
    request: Mapping[str, Any], cancelled: threading.Event
) -> Generator[Progress, None, _End]:
    """Plan and run a save, in a thread of its own.

    Failures are returned and not raised: the machinery of the thread takes a RuntimeError, which
    ExportError is, as a sign that its window is gone, and tells nobody.
    """
    destination, overwrite = request["destination"], request["overwrite"]
    there = False
    try:
        there = not overwrite and volume_exists(destination)
        with closing(execute(make_plan(**request))) as steps:
            while not cancelled.is_set():
                try:
                    step = next(steps)
                except StopIteration as end:
                    report: Report = end.value
                    return report
                yield step
        return _Cancelled()
    except KempError as error:
        return _Failure(str(error), there)
    except Exception as error:
        # Whatever a layer's own data may raise when read.
        return _Failure(f"{type(error).__name__}: {error}", there)


class SaveWidget(Container):  # type: ignore[misc]
    """Save layers as one volume, while the window stays alive.

    Parameters
    ----------
    napari_viewer
        Whose layers are offered.
    """

    def __init__(self, napari_viewer: "Viewer") -> None:
        super().__init__(labels=False)
        self._viewer = napari_viewer
        self._worker: GeneratorWorker | None = None
        self._cancelled = threading.Event()
        self._request_in_hand: dict[str, Any] = {}
        self._written: str | None = None
        self._suggested = ""
        self._first: Layer | None = None
        self._complaint = False
        self._estimating = False
        self._closed = False

        self.channels = ChannelPicker(self._saveable_layers, self._on_channels)
        self.destination = FileEdit(
            # A directory dialog chooses among folders that exist; a new one is to be named.
            mode="w",
            label="save to",
            tooltip="New folder for the volume: a path, or a URL (file://, gs://, s3://).",
        )
        self.destination.choose_btn.text = "Browse…"
        self.destination.choose_btn.tooltip = "Choose where, and type the name of a new folder."
        self.resolution = TripleEdit(
            (1, 1, 1),
            whole=False,
            above_zero=True,
            label="voxel (nm)",
            tooltip="Nanometres a voxel, x, y, z. Taken from the layer's scale and units.",
        )
        self.voxel_offset = TripleEdit(
            (0, 0, 0),
            whole=True,
            above_zero=False,
            label="voxel offset",
            tooltip="Place of the layer's first voxel, in voxels, x, y, z. Taken from the layer's "
            "translation; of a region, the place of its own first voxel follows from it.",
        )
        self.chunk_size = TripleEdit(
            _CHUNK_XYZ,
            whole=True,
            above_zero=True,
            label="chunk size",
            tooltip="Voxels a chunk, x, y, z. Each chunk becomes one file.",
        )
        self.encoding = ComboBox(
            choices=["kempressed", "fpzip", "raw"],
            label="encoding",
            tooltip="kempressed: smallest, for affinities; within [0, 1] off by 1.2e-7 at most.\n"
            "fpzip: lossless, for any floating point values.\n"
            "raw: gzipped by chunk, for any values.",
        )
        self.region = ComboBox(
            choices=[_WHOLE, _VIEW_ALL_SECTIONS, _VIEW_THIS_SECTION],
            label="region",
            tooltip="Save the whole of the layers, or what the canvas shows of them: through all "
            "sections, or in the section on screen only.",
        )
        self.summary = Label(tooltip="What would be written.")
        self.estimate_button = PushButton(
            text="Estimate",
            tooltip="Encode a few chunks, and say how large the volume would become, and how\n"
            "exact it would be. Nothing is written.",
        )
        self.save_button = PushButton(text="Save", tooltip="Write the volume.")
        self.cancel_button = PushButton(
            text="Cancel", tooltip="Stop; what has been written so far stays.", enabled=False
        )
        self.progress_bar = ProgressBar(
            value=0, min=0, max=1, tooltip="Chunks written.", visible=False
        )
        self.result = Label(tooltip="How the last save ended.")
        self.open_button = PushButton(
            text="Open the result", tooltip="Add the saved volume to the viewer.", visible=False
        )
        inputs = [
            self.channels,
            self.destination,
            self.resolution,
            self.voxel_offset,
            self.chunk_size,
            self.encoding,
            self.region,
        ]
        self._inputs = inputs
        self.extend(
            [
                *(_labelled(widget) for widget in inputs),
                self.summary,
                _row(self.estimate_button, self.save_button, self.cancel_button),
                self.progress_bar,
                self.result,
                self.open_button,
            ]
        )
        for label in (self.summary, self.result):
            flush(label.native).setWordWrap(True)
            # Long paths have no blanks to wrap at, and must not widen the dock.
            label.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)

        # Panning and typing come in bursts; the summary follows when they pause.
        self._refresh_soon = QTimer(self.native)
        self._refresh_soon.setSingleShot(True)
        self._refresh_soon.setInterval(100)
        self._refresh_soon.timeout.connect(self.refresh)
        for widget in inputs[1:]:
            widget.changed.connect(self._on_edited)
        for events in (
            napari_viewer.scene.camera.events,
            napari_viewer.canvas.events.size,
            napari_viewer.dims.events,
        ):
            events.connect(self._on_moved)
        self.save_button.changed.connect(self.save)
        self.estimate_button.changed.connect(self.estimate)
        self.cancel_button.changed.connect(self.cancel)
        self.open_button.changed.connect(self.open_result)
        self.native_parent_changed.connect(self._on_parent_changed)
        self.native.destroyed.connect(self._on_closed)

        self._guess: list[Layer] = []
        napari_viewer.layers.events.inserted.connect(self._on_inserted)
        napari_viewer.layers.events.removed.connect(self._on_removed)
        self._on_inserted()
        self.refresh()

    @property
    def saving(self) -> bool:
        """Whether a save is running."""
        return self._worker is not None

    def refresh(self) -> None:
        """Say what would be written, or why nothing can be."""
        if self._closed or self.saving:
            return
        try:
            plan = make_plan(**self._request(), overwrite=True)
        except KempError as error:
            self.summary.value = str(error)
            self.save_button.enabled = self.estimate_button.enabled = False
        else:
            self.summary.value = _describe(plan, self._sources()[0])
            self.save_button.enabled = True
            self.estimate_button.enabled = not self._estimating

    def estimate(self) -> None:
        """Start to encode a few chunks, to say what a save would come to; returns at once."""
        if self.saving or self._estimating:
            return
        try:
            plan = make_plan(**self._request(), overwrite=True)
        except KempError as error:
            self._complain(str(error))
            return
        self._estimating = True
        self.estimate_button.enabled = False
        self.result.value = "Estimating…"
        # Qt keeps the worker, but it gives the plan away, which holds on to the layers' data.
        worker = create_worker(_estimate, [plan], _progress={"desc": "Estimating a volume"})
        worker.returned.connect(self._on_estimate)
        worker.start()

    def save(self) -> None:
        """Start to save; returns at once. Asks before it replaces a volume."""
        if self.saving:
            return
        try:
            request = self._request()
            refuse_occupied(request["destination"], self._sources())
        except KempError as error:
            self._complain(str(error))
        else:
            self._start(request, overwrite=False)

    def _start(self, request: dict[str, Any], *, overwrite: bool) -> None:
        try:
            plan = make_plan(**request, overwrite=True)
        except KempError as error:
            self._complain(str(error))
            return
        self._request_in_hand = request
        self._cancelled = threading.Event()
        self._worker = create_worker(
            _save,
            {**request, "overwrite": overwrite},
            self._cancelled,
            _progress={"total": plan.num_chunks, "desc": "Saving a volume"},
        )
        self._worker.yielded.connect(self._on_step)
        self._worker.returned.connect(self._on_end)
        self._worker.aborted.connect(self._on_aborted)
        self._set_running(True)
        self.result.value = "Starting…"
        self._worker.start()

    def cancel(self) -> None:
        """Stop a save after the chunks in hand; what has been written stays."""
        if self.saving:
            self._cancelled.set()
            self.cancel_button.enabled = False
            self.result.value = "Stopping…"

    def open_result(self) -> None:
        """Add the layers of the saved volume to the viewer."""
        if self._written is None:
            return
        path = self._written
        read = get_reader(f"precomputed://{path}" if "://" in path else path)
        if read is None:
            self._complain(f"{path} is not there any more")
            return
        for layer_data in read(path):
            self._viewer.add_layer(Layer.create(*layer_data))

    def _saveable_layers(self) -> list[Layer]:
        return [
            layer
            for layer in self._viewer.layers
            if isinstance(layer, Image) and not layer.rgb and layer.ndim in (3, 4)
        ]

    def _guess_channels(self) -> list[Layer]:
        """Begin with the selected layers, and with what belongs to them."""
        layers = self._saveable_layers()
        sources = {}
        for layer in layers:
            with suppress(ExportError):
                sources[layer] = layer_source(*layer.as_layer_data_tuple())
        selected = [layer for layer in layers if layer in self._viewer.layers.selection]
        of_source = {id(source): layer for layer, source in sources.items()}
        groups = [[of_source[id(s)] for s in g] for g in group_channels([*sources.values()])]
        if len(selected) > 1:
            return next((g for g in groups if set(g) == set(selected)), selected)
        for group in groups:
            if not selected or selected[0] in group:
                return group
        return selected

    def _sources(self) -> list[LayerSource]:
        return [layer_source(*layer.as_layer_data_tuple()) for layer in self.channels.layers]

    def _request(self) -> dict[str, Any]:
        """Collect what `napari_kemp.export.make_plan` wants to know.

        Raises
        ------
        ExportError
            If something is missing, or cannot be.
        """
        layers, sources = self.channels.layers, self._sources()
        if not sources:
            raise ExportError("Choose the layer to save, or one layer for each channel.")
        refuse_mixed(sources)
        destination = self.destination.line_edit.value.strip()
        if not destination:
            raise ExportError("Choose where to save to: the name of a new folder.")
        region = None
        if self.region.value != _WHOLE:
            region = field_of_view(
                self._viewer,
                layers[0],
                sources[0],
                this_section=self.region.value == _VIEW_THIS_SECTION,
            )
        return {
            "source": sources[0].data if len(sources) == 1 else [s.data for s in sources],
            "destination": destination,
            "encoding": self.encoding.value,
            "chunk_size": self.chunk_size.triple,
            "resolution": self.resolution.triple,
            "voxel_offset": self.voxel_offset.triple,
            "region": region,
        }

    def _on_inserted(self, *_: Any) -> None:
        """Propose anew as layers arrive, as long as nobody has chosen otherwise."""
        if not self._closed and not self.saving and self.channels.layers == self._guess:
            self._guess = self._guess_channels()
            # napari refreshes the choices too, but only after this.
            self.channels.reset_choices()
            self.channels.layers = self._guess

    def _on_removed(self, *_: Any) -> None:
        """Let go of what is gone: a proposal is then one of the layers that are left."""
        self._guess = [layer for layer in self._guess if layer in self._viewer.layers]
        if self._first not in self._viewer.layers:
            self._first = None

    def _on_channels(self) -> None:
        """Take place and resolution from the first layer, and a name that nobody has typed yet."""
        layers = self.channels.layers
        try:
            sources = self._sources()
        except ExportError:
            sources = []
        if sources and layers[0] is not self._first:
            self._first = layers[0]
            self.resolution.triple = sources[0].resolution_xyz
            self.voxel_offset.triple = sources[0].voxel_offset_xyz
            origin = sources[0].origin
            self.chunk_size.triple = _CHUNK_XYZ if origin is None else origin["chunk_size"]
            self.encoding.value = "kempressed" if sources[0].dtype.kind == "f" else "raw"
        if sources and self.destination.line_edit.value == self._suggested:
            self._suggested = suggest_destination(group_name(sources), sources)
            self.destination.line_edit.value = self._suggested
        self._on_edited()
        self.refresh()

    def _on_edited(self, *_: Any) -> None:
        if self._complaint and not self.saving:
            self._complaint = False
            self.result.value = ""
        self._on_moved()

    def _on_moved(self, *_: Any) -> None:
        if not self._closed:
            self._refresh_soon.start()

    def _complain(self, message: str) -> None:
        """Say why nothing was saved, until something is changed."""
        self.result.value = message
        self._complaint = True

    def _on_estimate(self, said: str) -> None:
        self._estimating = False
        if not self._closed and not self.saving:
            self._complain(said)
            self.refresh()

    def _on_step(self, step: Progress) -> None:
        # napari's own progress bar handles events while it moves, so that steps come out of order,
        # or after the end.
        if self._closed or not self.saving or step.done < self.progress_bar.value:
            return
        self.progress_bar.max = step.total
        self.progress_bar.value = step.done
        if not self._cancelled.is_set():
            self.result.value = f"{step.done} of {step.total} chunks"

    def _on_end(self, end: _End) -> None:
        request = self._request_in_hand
        self._on_stopped()
        if self._closed:
            return
        if isinstance(end, Report):
            self._written = end.destination
            self.result.value = _summarise(end)
            self.open_button.visible = True
        elif isinstance(end, _Cancelled):
            self.result.value = "Cancelled. The chunks that were written make a valid volume."
        elif end.volume_exists and self._confirm_replacing(request["destination"]):
            self._start(request, overwrite=True)
        else:
            self._complain(end.message)

    def _on_aborted(self) -> None:
        """Follow napari, which stops its threads when a window closes."""
        self._on_stopped()
        if not self._closed:
            self.result.value = "Cancelled."

    def _on_stopped(self) -> None:
        self._worker = None
        # It holds on to the layers' data.
        self._request_in_hand = {}
        if not self._closed:
            self._set_running(False)
            self.refresh()

    def _set_running(self, running: bool) -> None:
        for widget in self._inputs:
            widget.enabled = not running
        self.save_button.enabled = not running
        self.estimate_button.enabled = not running and not self._estimating
        self.cancel_button.enabled = running
        self.progress_bar.visible = running
        self.progress_bar.value = 0
        self.open_button.visible = False

    def _confirm_replacing(self, destination: str) -> bool:
        yes = QMessageBox.StandardButton.Yes
        answer = QMessageBox.question(
            self.native,
            "Replace the volume?",
            f"{destination}\nholds a volume already. Replace it?",
            yes | QMessageBox.StandardButton.No,
            QMessageBox.StandardButton.No,
        )
        return bool(answer == yes)

    def _on_parent_changed(self) -> None:
        # napari takes the widget out of its dock when that is closed for good.
        if self.native.parent() is None:
            self._on_closed()

    def _on_closed(self, *_: Any) -> None:
        self._closed = True
        self._cancelled.set()


def _estimate(plans: list[Plan]) -> str:
    """Take a plan, and say what it would come to, or what is in its way, in a thread of its own."""
    try:
        said = preview(plans.pop())
    except Exception as error:  # whatever a layer's own data may raise when read
        return str(error)
    share = 100 * said.bytes_encoded / said.bytes_raw if said.bytes_raw else 100
    return "\n".join(
        [
            f"About {_size(said.bytes_encoded)} of {_size(said.bytes_raw)} ({share:.1f} %), "
            f"absolute error {said.max_abs_error:.2g} at most, by {said.sampled} of "
            f"{said.chunks} chunks",
            *said.notes(),
        ]
    )


def _labelled(widget: Widget) -> Container:
    label = Label(value=widget.label, tooltip=widget.tooltip)
    flush(label.native)
    label.min_width = label.max_width = _LABEL_WIDTH
    return _row(label, widget)


def _row(*widgets: Widget) -> Container:
    row = Container(widgets=list(widgets), layout="horizontal", labels=False)
    row.margins = (0, 0, 0, 0)
    return row


def _describe(plan: Plan, source: LayerSource) -> str:
    x, y, z = plan.grid.size_xyz
    channels = plan.info.num_channels
    text = (
        f"{x} × {y} × {z} voxels, {channels} channel{'s' if channels > 1 else ''} of "
        f"{plan.info.data_type}: {plan.num_chunks} chunk{'s' if plan.num_chunks > 1 else ''}, "
        f"{_size(plan.bytes_raw)} raw"
    )
    if not source.has_units:
        text += ". The layer has no units: its scale is taken for nanometres"
    if source.off_grid > 1e-3:
        text += (
            f". The layer's place is not on the voxel grid: rounding to it moves the data by up "
            f"to {source.off_grid:.2g} voxels"
        )
    return text


def _summarise(report: Report) -> str:
    return (
        f"Saved {report.chunks} chunk{'s' if report.chunks > 1 else ''} to {report.destination} "
        f"in {report.seconds:.1f} s: {_size(report.bytes_raw)} became "
        f"{_size(report.bytes_encoded)} ({100 * report.ratio:.1f} %), "
        f"largest absolute error {report.max_abs_error:.2g}"
    )


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 // 10 else f"{count / 2**20:.1f} MiB"
