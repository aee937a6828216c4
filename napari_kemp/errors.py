"""The family of errors that napari-kemp raises for bad input.

Each names the file, the place in it and, where there is one, the remedy, so that the message alone
is enough to act on.
"""


class KempError(Exception):
    """Base of every error that napari-kemp raises on purpose."""


class CodecError(KempError, ValueError):
    """A stream is damaged or not an fpzip stream, or an array cannot be encoded."""


class InfoError(KempError, ValueError):
    """An ``info`` file is missing, malformed or refused; names the file and the member."""


class ChunkError(KempError, OSError):
    """A chunk is damaged or unreachable; names the volume, the scale and the chunk."""


class ExportError(KempError, RuntimeError):
    """A save was refused or could not be completed; names the destination and the remedy."""
