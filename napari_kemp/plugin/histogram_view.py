"""A small picture of how values are distributed, a line for each channel."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPainterPath, QPalette, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

BINS = 128

# Bright enough on a dark ground, dark enough on a light one.
_COLORS = {"x": QColor(226, 82, 72), "y": QColor(46, 160, 67), "z": QColor(72, 129, 234)}
_MARGIN = 6


def count(values: NDArray[Any], low: float, high: float) -> NDArray[np.int64]:
    """Count values in `BINS` equal bins from low to high; what lies beyond is in the outer bins."""
    finite = values[np.isfinite(values)]
    counts, _ = np.histogram(np.clip(finite, low, high), BINS, (low, high))
    return counts


class HistogramView(QWidget):  # type: ignore[misc]
    """Draws counts on a logarithmic scale, with the brightness limits and the threshold."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.counts: dict[str, NDArray[np.int64]] = {}
        self.range = (0.0, 1.0)
        self.limits = (0.0, 1.0)
        self.threshold: float | None = None

    def set_counts(self, counts: dict[str, NDArray[np.int64]], low: float, high: float) -> None:
        """Show the counts of channels "x", "y" and "z" in equal bins from low to high."""
        self.counts = counts
        self.range = (low, high)
        self.update()

    def set_limits(self, limits: Sequence[float]) -> None:
        """Mark the values that are drawn darkest and brightest."""
        self.limits = (float(limits[0]), float(limits[1]))
        self.update()

    def set_threshold(self, threshold: float | None) -> None:
        """Mark the threshold of segments."""
        self.threshold = threshold
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802, D102
        return QSize(240, 96)

    def paintEvent(self, event: Any) -> None:  # noqa: N802, D102
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(QPalette.ColorRole.WindowText)
        line_height = painter.fontMetrics().height()
        plot = QRectF(self.rect()).adjusted(_MARGIN, 2, -_MARGIN, -line_height - 2)
        self._paint_limits(painter, plot, text)
        most = max((int(counts.max(initial=0)) for counts in self.counts.values()), default=0)
        for channel, counts in self.counts.items():
            painter.setPen(QPen(_COLORS[channel], 1.5))
            painter.drawPath(self._path(counts, most, plot))
        if self.threshold is not None:
            painter.setPen(QPen(text, 1, Qt.PenStyle.DashLine))
            x = self._x(self.threshold, plot)
            painter.drawLine(QPointF(x, plot.top()), QPointF(x, plot.bottom()))
        self._paint_axis(painter, plot, text, line_height)

    def _paint_limits(self, painter: QPainter, plot: QRectF, text: QColor) -> None:
        shade = QColor(text)
        shade.setAlpha(28)
        left, right = (self._x(limit, plot) for limit in self.limits)
        painter.fillRect(QRectF(left, plot.top(), right - left, plot.height()), shade)

    def _paint_axis(self, painter: QPainter, plot: QRectF, text: QColor, line_height: int) -> None:
        painter.setPen(QPen(text, 1))
        painter.drawLine(plot.bottomLeft(), plot.bottomRight())
        below = QRectF(plot.left(), plot.bottom() + 1, plot.width(), line_height)
        low, high = self.range
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, f"{low:.3g}")
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, f"{high:.3g}")
        width = painter.fontMetrics().horizontalAdvance("x  y  z")
        x = below.center().x() - width / 2
        for channel in self.counts:
            painter.setPen(_COLORS[channel])
            painter.drawText(QPointF(x, below.bottom() - painter.fontMetrics().descent()), channel)
            x += painter.fontMetrics().horizontalAdvance("x  ")

    def _path(self, counts: NDArray[np.int64], most: int, plot: QRectF) -> QPainterPath:
        heights = np.log1p(counts) / np.log1p(max(most, 1))
        path = QPainterPath(plot.bottomLeft())
        step = plot.width() / len(counts)
        for number, height in enumerate(heights.tolist()):
            y = plot.bottom() - height * plot.height()
            path.lineTo(plot.left() + number * step, y)
            path.lineTo(plot.left() + (number + 1) * step, y)
        path.lineTo(plot.bottomRight())
        return path

    def _x(self, value: float, plot: QRectF) -> float:
        low, high = self.range
        share = (value - low) / (high - low) if high > low else 0.0
        return float(plot.left() + min(max(share, 0.0), 1.0) * plot.width())
