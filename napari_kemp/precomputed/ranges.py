"""Whether a web server gives the bytes that are asked for, or always the whole object.

Some servers, Python's own among them, ignore the header; then each section would cost its chunk.
"""

from functools import cache

from napari_kemp.precomputed.location import Location
from napari_kemp.precomputed.storage import ObjectStore

_TIMEOUT_SECONDS = 10.0


@cache
def server_takes_ranges(folder: Location) -> bool:
    """Ask a server for the first byte of a volume's ``info`` file, once in a process."""
    try:
        ObjectStore.at(folder).read("info", slice(0, 1)).result(_TIMEOUT_SECONDS)
    except OSError as error:
        # All else that may be wrong, reading tells.
        return "ignored by server" not in str(error)
    return True
