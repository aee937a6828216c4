"""Work that a window waits for, in a thread, where only the latest request counts."""

import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from napari.qt.threading import create_worker

Abandoned = Callable[[], bool]
"""Whether nobody wants the result any more; a job that takes long asks every now and then."""

Job = Callable[[Abandoned], Any]


class Latest:
    """Run one job at a time; a job asked for meanwhile replaces the one that waits.

    A slider that is dragged asks far more often than there are answers. Each answer that comes is
    shown, and then the job that was asked for last is run.

    Parameters
    ----------
    done
        Called in the window's thread with what a job returned.
    failed
        Called in the window's thread with the exception that a job raised.
    """

    def __init__(self, done: Callable[[Any], None], failed: Callable[[Exception], None]) -> None:
        self._done = done
        self._failed = failed
        self._waiting: Job | None = None
        self._running: threading.Event | None = None

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return self._running is not None

    def ask(self, job: Job) -> None:
        """Run a job, once the one that runs has ended; it must not touch the window."""
        self._waiting = job
        if self._running is None:
            self._start()

    def drop(self) -> None:
        """Forget what was asked for; a job that runs is told, and its answer is not shown."""
        if self._running is not None:
            self._running.set()
        self._waiting = self._running = None

    def _start(self) -> None:
        job, self._waiting = self._waiting, None
        if job is None:
            return
        # Not the machinery's own `errored`: it takes some errors for a sign that a window is gone.
        dropped = self._running = threading.Event()
        # Workers are kept by Qt after they have ended: they hold neither the job nor the window.
        answer = WeakMethod(self._on_outcome)

        def on_returned(outcome: tuple[Any, Exception | None]) -> None:
            if (on_outcome := answer()) is not None:
                on_outcome(dropped, outcome)

        worker = create_worker(_outcome, [job], dropped.is_set)
        worker.returned.connect(on_returned)
        worker.start()

    def _on_outcome(self, dropped: threading.Event, outcome: tuple[Any, Exception | None]) -> None:
        if dropped is not self._running:
            return
        self._running = None
        value, error = outcome
        if error is None:
            self._done(value)
        else:
            self._failed(error)
        if self._running is None:
            self._start()


def _outcome(jobs: list[Job], abandoned: Abandoned) -> tuple[Any, Exception | None]:
    try:
        return jobs.pop()(abandoned), None
    except Exception as error:
        return None, error
