"""Where the time of a read goes: told apart for benchmarks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock


@dataclass
class Spent:
    """Seconds of all reads since the start of `measured`.

    Attributes
    ----------
    waiting
        For storage, with nothing to decode.
    decoding, assembling
        Of all threads together.
    """

    waiting: float = 0.0
    decoding: float = 0.0
    assembling: float = 0.0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add(self, **seconds: float) -> None:
        """Add seconds to some of these."""
        with self._lock:
            for name, more in seconds.items():
                setattr(self, name, getattr(self, name) + more)


_spent: Spent | None = None


@contextmanager
def measured() -> Iterator[Spent]:
    """Measure all reads of the process meanwhile."""
    global _spent
    _spent = Spent()
    try:
        yield _spent
    finally:
        _spent = None


@contextmanager
def spending(what: str) -> Iterator[None]:
    """Count the time of a block, if anybody measures."""
    spent = _spent
    start = time.perf_counter()
    try:
        yield
    finally:
        if spent is not None:
            spent.add(**{what: time.perf_counter() - start})
