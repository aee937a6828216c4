"""What is set up in napari for the session when a remote volume is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import current_thread, main_thread
from typing import Any, TypeVar

from napari_kemp import settings
from napari_kemp.plugin.drawing import quiet_abandoned
from napari_kemp.plugin.origin import KEY

Result = TypeVar("Result")

_taken: dict[str, Any] = {}


def slice_in_background() -> None:
    """Turn napari's asynchronous slicing on for the session, say so, and leave no trace of it.

    Does nothing if it is on already, or if the setting ``async_slicing`` refuses it.
    """
    from napari.settings import get_settings
    from napari.utils.notifications import show_info

    quiet_abandoned()
    napari_settings = get_settings()
    if not settings.current().async_slicing or napari_settings.experimental.async_:
        return
    # What counts as given by the environment is for this session, and never saved.
    napari_settings.env_settings.setdefault("experimental", {})["async_"] = True
    napari_settings.experimental.async_ = True
    show_info(
        "Remote volumes are loaded in the background: napari's asynchronous rendering is on for "
        "this session. NAPARI_KEMP_ASYNC_SLICING=0 leaves it as it is."
    )


def take_napari_settings() -> None:
    """Take over what was changed on the plugin's page of napari's preferences since the last time.

    So what a program or the command line sets holds until somebody changes the page.
    """
    from napari.settings import get_plugin_settings

    try:
        page = get_plugin_settings("napari-kemp").reading
    except (AttributeError, KeyError):
        return  # not installed as a plugin, as in scripts
    # What was left as it is does not overrule environment variables.
    saved = page.model_dump(exclude_defaults=True)
    changes = {name: value for name, value in saved.items() if _taken.get(name) != value}
    _taken.clear()
    _taken.update(saved)
    if changes:
        settings.configure(**changes)


def say_what_is_sampled(layers: Sequence[tuple[Any, dict[str, Any], str]]) -> None:
    """Say once for each volume that zoomed out it is drawn from samples."""
    from napari.utils.notifications import show_info

    origins = [arguments["metadata"][KEY] for _, arguments, _ in layers]
    for origin in {origin["url"]: origin for origin in origins}.values():
        if origin["sampled_levels"]:
            x, y, _ = max(origin["sampled_levels"].values())
            show_info(
                f"{origin['url']} has no scale that is coarse enough to be shown whole. Zoomed "
                f"out, it is drawn from samples: single voxels, at most {x} x {y} voxels apart."
            )


def with_the_window_alive(action: Callable[[], Result]) -> Result:
    """Run what may wait for a server on another thread, and keep the window drawn meanwhile."""
    from qtpy.QtCore import QCoreApplication, QEventLoop

    if QCoreApplication.instance() is None or current_thread() is not main_thread():
        return action()
    with ThreadPoolExecutor(1, thread_name_prefix="napari-kemp-open") as pool:
        outcome = pool.submit(action)
        while not outcome.done():
            # No input: what the user clicks now waits for the layers that are being opened.
            flags = QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents
            QCoreApplication.processEvents(flags, 20)
            wait([outcome], 0.02)
        return outcome.result()
