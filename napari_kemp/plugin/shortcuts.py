"""Keys for what is done a hundred times an hour."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.viewer import Viewer

SHORTCUTS = {
    ".": "threshold up",
    ",": "threshold down",
    "D": "next way to show the affinities",
    "Shift-D": "the way before",
    "PageDown": "next section with data",
    "PageUp": "previous section with data",
    "Shift-C": "copy the position under the cursor",
    "Shift-G": "side by side, or overlay",
}
"""The keys, and what they do while the inspector is open."""


def bind(viewer: "Viewer", actions: Mapping[str, Callable[[], None]]) -> None:
    """Bind keys of the viewer to actions; a layer's own keys go before them."""
    for key, action in actions.items():

        def run(_: Any, action: Callable[[], None] = action) -> None:
            action()

        viewer.bind_key(key, run, overwrite=True)


def unbind(viewer: "Viewer", keys: Mapping[str, Any]) -> None:
    """Give the keys back."""
    for key in keys:
        viewer.bind_key(key, None, overwrite=True)
