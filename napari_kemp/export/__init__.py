"""A save as a plan of chunk tasks: planned first, then run, then reported."""

from napari_kemp.export.api import export
from napari_kemp.export.plan import Plan, make_plan
from napari_kemp.export.preview import Preview, preview
from napari_kemp.export.report import Progress, Report
from napari_kemp.export.run import execute
from napari_kemp.export.source import Source, as_source

__all__ = [
    "Plan",
    "Preview",
    "Progress",
    "Report",
    "Source",
    "as_source",
    "execute",
    "export",
    "make_plan",
    "preview",
]
