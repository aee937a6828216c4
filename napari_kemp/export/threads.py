"""Tasks on the threads of this process: encoding on some, writing on others."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue

from napari_kemp.export.ledger import Destination
from napari_kemp.export.plan import Plan
from napari_kemp.export.sweeps import Sweep, Task
from napari_kemp.export.work import SavedChunk, Stopped, Worker

_C_LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None

_Event = SavedChunk | BaseException | None
"""A chunk that is stored, what went wrong, or the end of a task or a write."""


class _ThreadWriter:
    """Writes on threads of its own: a disk that is slow to sync keeps no processor waiting."""

    def __init__(self, threads: int, events: SimpleQueue[_Event], *, large: bool):
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="napari-kemp-write")
        self._large = large
        # What is large is too large to wait for its turn.
        room = max(1, threads // 2) if large else 2 * threads
        self._room = threading.BoundedSemaphore(room)
        self._events = events
        self._failed = threading.Event()

    def write(self, action: Callable[[], list[SavedChunk]]) -> None:
        self._room.acquire()

        def run() -> None:
            try:
                # What waits for its turn is not worth waiting for, on a server that is gone.
                if not self._failed.is_set():
                    self._trim()
                    for chunk in action():
                        self._events.put(chunk)
            except BaseException as error:
                self._failed.set()
                self._events.put(error)
            finally:
                self._trim()
                self._room.release()

        self._pool.submit(run)

    def _trim(self) -> None:
        """Give memory that was freed back to the system, where it is not given back by itself.

        The C library of Linux keeps up to 64 MB for each thread that freed as much, ours and those
        of TensorStore: what encoding left, beside a shard to write, and what writing left after it.
        """
        trim = getattr(_C_LIBRARY, "malloc_trim", None)
        if self._large and trim is not None:
            trim(0)

    def done(self, chunk: SavedChunk) -> None:
        self._events.put(chunk)

    def close(self) -> None:
        """Wait until all is written."""
        self._pool.shutdown(wait=True)


def run_on_threads(
    plan: Plan, destination: Destination, sweep: Sweep, threads: int
) -> Generator[SavedChunk, None, None]:
    """Do the tasks of a sweep; yields each chunk when it is stored.

    Closing the generator stops the tasks after the chunks in hand, and waits for those.
    """
    stop = threading.Event()
    events: SimpleQueue[_Event] = SimpleQueue()
    # Shards, and values that are to be compared.
    large = plan.verify or plan.info.scales[sweep.top].sharding is not None
    writer = _ThreadWriter(threads, events, large=large)

    def work(task: Task) -> None:
        Worker(
            plan,
            destination.volume,
            task,
            resumed=destination.resumed,
            finished=destination.finished,
            writer=writer,
            stopped=stop.is_set,
        ).run()

    def ended(future: Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        events.put(None if isinstance(error, Stopped) else error)

    pool = ThreadPoolExecutor(threads, thread_name_prefix="napari-kemp-export")
    try:
        tasks = sweep.tasks()
        running = 0

        def start(number: int) -> int:
            started = 0
            for task in islice(tasks, number):
                pool.submit(work, task).add_done_callback(ended)
                started += 1
            return started

        # One more than there are threads, so that none waits while this loop yields.
        running = start(threads + 1)
        while running:
            event = events.get()
            if isinstance(event, BaseException):
                raise event
            if event is not None:
                yield event
                continue
            running += start(1) - 1
        writer.close()
        while not events.empty():
            event = events.get()
            if isinstance(event, BaseException):
                raise event
            if event is not None:
                yield event
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        writer.close()
