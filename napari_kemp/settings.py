"""What can be set: the size of the cache, threads, prefetching and asynchronous slicing.

Each setting has a default, which an environment variable replaces when the process starts, and
`configure` (or the plugin's page in napari's preferences) while it runs. ``docs/settings.md`` lists
them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from napari_kemp.errors import KempError

_PREFIX = "NAPARI_KEMP_"


@dataclass(frozen=True)
class Settings:
    """How the process reads volumes.

    Attributes
    ----------
    cache_mb : int
        Most MiB of decoded sections, section tables and encoded streams to keep.
    threads : int
        How many threads decode.
    prefetch : int
        How many sections to read ahead in the direction of scrolling while nothing else is to be
        done; 0 for none.
    async_slicing : bool
        Whether opening a remote volume turns on napari's asynchronous slicing for the session.
    """

    cache_mb: int = 1024
    threads: int = os.cpu_count() or 1
    prefetch: int = 2
    async_slicing: bool = True

    def __post_init__(self) -> None:
        for name, least in (("cache_mb", 0), ("threads", 1), ("prefetch", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise KempError(f"{name} must be a whole number of at least {least}, not {value!r}")
        if not isinstance(self.async_slicing, bool):
            raise KempError(f"async_slicing must be true or false, not {self.async_slicing!r}")

    @property
    def cache_bytes(self) -> int:
        """Limit of the cache in bytes."""
        return self.cache_mb << 20

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read ``NAPARI_KEMP_CACHE_MB`` and its like.

        Raises
        ------
        KempError
            If one of them is not legal; names the variable.
        """
        found: dict[str, Any] = {}
        for field in fields(cls):
            variable = _PREFIX + field.name.upper()
            text = environment.get(variable)
            if text is None:
                continue
            try:
                value: Any = _truth(text) if field.name == "async_slicing" else int(text)
                cls(**{field.name: value})
            except (ValueError, KempError):
                raise KempError(f"{variable}={text} is not legal for {field.name}") from None
            found[field.name] = value
        return cls(**found)


_current: Settings | None = None
_listeners: list[Callable[[Settings], None]] = []


def current() -> Settings:
    """Return the settings that hold now."""
    global _current
    if _current is None:
        _current = Settings.from_environment(os.environ)
    return _current


def configure(**changes: Any) -> Settings:
    """Change settings for the rest of the process, and return them all.

    Parameters
    ----------
    **changes
        Attributes of `Settings`.

    Raises
    ------
    KempError
        If there is no such setting, or its value is not legal.
    """
    global _current
    known = {field.name for field in fields(Settings)}
    if not changes.keys() <= known:
        unknown = ", ".join(sorted(changes.keys() - known))
        raise KempError(f"there is no setting {unknown}; there are {', '.join(sorted(known))}")
    _current = replace(current(), **changes)
    for listener in _listeners:
        listener(_current)
    return _current


def on_change(listener: Callable[[Settings], None]) -> None:
    """Have a function called with the settings after each change."""
    _listeners.append(listener)


def _truth(text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.strip().lower() not in known:
        raise ValueError
    return known[text.strip().lower()]
