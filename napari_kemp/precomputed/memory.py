"""How much memory there is: what an ``info`` file says may be more than can be."""

import os
import sys


def physical_bytes() -> int:
    """Return the memory of this machine; what can be addressed, where that is not told."""
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
