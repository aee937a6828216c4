"""Work done ahead of whoever takes the results, and no further than a few results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def results_in_order(
    work: Callable[[Item], Result], items: Iterator[Item], threads: int, name: str
) -> Generator[Result, None, None]:
    """Yield what work makes of each item, in their order; closing ends it after what has begun.

    Parameters
    ----------
    work : callable
        Called with an item, on one of the threads. What it raises is raised here.
    items : iterator
        As many as one likes: no more than a few are taken before their results are.
    threads : int
        How many are worked on at the same time.
    name : str
        What the threads are called.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix=name) as pool:
        ahead: deque[Future[Result]] = deque()
        try:
            while True:
                for item in islice(items, 2 * threads - len(ahead)):
                    ahead.append(pool.submit(work, item))
                if not ahead:
                    return
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
