"""Memory that goes back to the system as soon as it is let go.

What is large and kept for long, among much that is short-lived, keeps the heaps of all the threads
that read from shrinking: in a cache of 256 MiB, by as much again.
"""

import mmap

# Mappings are few in a process, and take whole pages.
_LEAST_BYTES = 1 << 20


def apart(data: bytes) -> bytes | mmap.mmap:
    """Return large data copied to memory of their own, and small data as they are."""
    if len(data) < _LEAST_BYTES or not hasattr(mmap, "MAP_PRIVATE"):
        return data
    # One call for all pages costs far less than a fault for each.
    populate = getattr(mmap, "MAP_POPULATE", 0)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | populate
    pages = mmap.mmap(-1, len(data), flags=flags)
    pages[:] = data
    return pages
