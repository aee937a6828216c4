"""Tasks on the workers of a Dask cluster. What they run imports neither napari nor Qt."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import suppress
from itertools import islice
from typing import Any

from napari_kemp.errors import ExportError
from napari_kemp.export.ledger import Destination
from napari_kemp.export.plan import Plan
from napari_kemp.export.sweeps import Sweep, Task
from napari_kemp.export.work import SavedChunk, Stopped, Worker
from napari_kemp.precomputed import open_volume

# Tasks that the scheduler knows of, for each thread of the cluster: none has to wait for the next,
# and what the scheduler keeps does not grow with the volume.
_TASKS_AHEAD = 4
# A worker that dies does not count; these are for file systems and servers that recover.
_RETRIES = 2
# A thousand tasks that ask more often would keep the scheduler busy.
_ASK_SECONDS = 1.0


class _NowWriter:
    """Writes in the task's own thread: a cluster's worker has other tasks to do meanwhile."""

    def __init__(self) -> None:
        self.chunks: list[SavedChunk] = []

    def write(self, action: Callable[[], list[SavedChunk]]) -> None:
        self.chunks += action()

    def done(self, chunk: SavedChunk) -> None:
        self.chunks.append(chunk)


def run_on_cluster(
    plan: Plan, destination: Destination, sweep: Sweep, cluster: Any
) -> Generator[SavedChunk, None, None]:
    """Do the tasks of a sweep on a cluster; yields the chunks of each task when it is done.

    A task that is done again, because its worker died or its result was lost, writes the same bytes
    again. Closing the generator cancels the tasks that no worker has begun, and waits for none:
    those that are running notice within a second, after the chunk in hand, which they store as
    whole as any.

    Parameters
    ----------
    cluster : distributed.Client or str
        Or the address of its scheduler.

    Raises
    ------
    ExportError
        If a task fails, or takes its workers down with it, again and again.
    """
    try:
        from distributed import Client, Event, as_completed
    except ImportError:
        raise ExportError(
            "a save on a cluster needs Dask: pip install 'napari-kemp[dask]'"
        ) from None

    client = cluster if isinstance(cluster, Client) else _connected(cluster)
    running = as_completed()
    wanted = Event(client=client)
    try:
        # Cleared in the end, and not set: the scheduler forgets events that are not set.
        wanted.set()
        shared = client.scatter(plan, broadcast=True, hash=False)
        tasks = sweep.tasks()

        def start(number: int) -> None:
            for task in islice(tasks, number):
                running.add(
                    client.submit(
                        run_task,
                        shared,
                        task,
                        destination.resumed,
                        destination.finished,
                        wanted.name,
                        pure=False,
                        retries=_RETRIES,
                    )
                )

        start(_TASKS_AHEAD * max(1, sum(client.nthreads().values())))
        for future in running:
            yield from _result(future, plan)
            future.release()
            start(1)
    finally:
        with suppress(Exception):
            wanted.clear()
            client.cancel(list(running.futures))
        if client is not cluster:
            client.close()


def run_task(
    plan: Plan, task: Task, resumed: bool, finished: bool, wanted: str
) -> list[SavedChunk]:
    """Do one task, on a worker of the cluster, as long as the event of that name is set."""
    writer = _NowWriter()
    # An error would have it tried again.
    with suppress(Stopped):
        Worker(
            plan,
            open_volume(plan.destination),
            task,
            resumed=resumed,
            finished=finished,
            writer=writer,
            stopped=_Unwanted(wanted).known,
        ).run()
    return writer.chunks


class _Unwanted:
    """Asks the scheduler now and then whether a save goes on."""

    def __init__(self, event: str) -> None:
        from distributed import Event

        self._wanted = Event(event)
        self._asked = time.monotonic() - _ASK_SECONDS

    def known(self) -> bool:
        """Tell whether it is known that the save does not go on."""
        if time.monotonic() < self._asked + _ASK_SECONDS:
            return False
        self._asked = time.monotonic()
        try:
            return not self._wanted.is_set()
        except (OSError, TimeoutError):
            return False  # a scheduler that cannot be asked has not said so


def _connected(address: str) -> Any:
    from distributed import Client

    try:
        return Client(address)
    except (OSError, ValueError, TypeError) as error:
        raise ExportError(f"{address}: no Dask scheduler can be reached there: {error}") from error


def _result(future: Any, plan: Plan) -> list[SavedChunk]:
    try:
        chunks: list[SavedChunk] = future.result()
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"{plan.destination}: a task failed on the cluster: {type(error).__name__}: {error}. "
            "What was written before it is whole; the same save can be resumed"
        ) from error
    return chunks
