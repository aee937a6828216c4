"""Whether a web server gives the bytes that are asked for, or always the whole object.

Some servers, Python's own among them, ignore the header; then each section would cost its chunk.
"""

from functools import cache
from urllib.request import Request, urlopen

_TIMEOUT_SECONDS = 10.0


@cache
def server_takes_ranges(url: str) -> bool:
    """Ask a server for the first byte of an object that is there, once in a process."""
    try:
        with urlopen(Request(url, headers={"Range": "bytes=0-0"}), timeout=_TIMEOUT_SECONDS) as got:
            return bool(got.status == 206)
    except (OSError, ValueError):
        return True  # reading tells what is wrong
