"""Objects in a folder: TensorStore's KvStore, and the suffixes that name transport compression."""

import atexit
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from napari_kemp.precomputed import transport
from napari_kemp.precomputed.location import Location


@dataclass(frozen=True, slots=True)
class StoredObject:
    """The bytes of an object as they are stored.

    Attributes
    ----------
    data : bytes
        Undone from HTTP's Content-Encoding, but not from a transport suffix.
    suffix : str
        The transport suffix that tells how it is compressed; empty for none.
    """

    data: bytes
    suffix: str

    def unwrapped(self, limit: int) -> bytes:
        """Return the content; raise CodecError if damaged or longer than `limit` bytes."""
        return transport.unwrap(self.data, self.suffix, limit)


# Of what is too long but no longer than this, it can be told better what is wrong with it.
_HARMLESS_BYTES = 1 << 24

# What TensorStore appends to the name of a file while it is written.
_LOCK = ".__lock"


class Reading(Future[StoredObject | None]):
    """An object that is on its way; cancelled, it makes room for others that wait their turn."""

    def __init__(self) -> None:
        super().__init__()
        self._read: Any = None

    def cancel(self) -> bool:
        """Give up, if the object is not here yet."""
        cancelled = super().cancel()
        if cancelled and (read := self._read) is not None:
            read.cancel()
        return cancelled

    def follow(self, read: Any) -> None:
        """Be cancelled together with a read of TensorStore's; None to let go of it."""
        self._read = read
        if read is not None and self.cancelled():
            read.cancel()


class ObjectStore:
    """Objects by name (or by key, for shards), read many at a time.

    On local disks, and where a web server hands out such files as they are, an object "NAME" may
    also be stored as "NAME.gz", "NAME.br" or "NAME.zstd". The suffix that was found last is tried
    first, so that a folder in one style costs one open a chunk.

    Parameters
    ----------
    url : str
        The folder, for messages.
    spec : dict
        TensorStore KvStore spec.
    suffixes : tuple of str
        Transport suffixes that names may have here.
    folder : str, optional
        The folder on a local disk, with a slash at its end.
    packing : str
        A transport suffix that all objects have in common, though their names do not tell.
    """

    def __init__(
        self,
        url: str,
        spec: dict[str, Any],
        suffixes: tuple[str, ...] = ("",),
        folder: str | None = None,
        packing: str = "",
    ):
        self.url = url
        self._spec = spec
        self._suffixes = suffixes
        self._folder = folder
        self._packing = packing

    @classmethod
    def at(cls, location: Location) -> "ObjectStore":
        """Return the objects of a folder."""
        has_files = location.scheme in ("file", "http", "https")
        suffixes = transport.SUFFIXES if has_files else ("",)
        folder = f"{location.path}/" if location.is_local else None
        return cls(location.url, location.spec(), suffixes, folder)

    @cached_property
    def _kvstore(self) -> Any:
        import tensorstore as ts

        return ts.KvStore.open(self._spec, context=_context()).result()

    def read(
        self, key: str | bytes, byte_range: slice | None = None, limit: int | None = None
    ) -> Reading:
        """Begin to read an object, or some bytes of it.

        Parameters
        ----------
        key : str or bytes
            Its name; or its key, for shards.
        byte_range : slice, optional
            Of the object as it is, without transport suffix: `slice(10, 20)`, or `slice(-20, None)`
            for its end. To reach beyond it is an error.
        limit : int, optional
            The most bytes that it can be, as it is stored. Files that are much longer are an error,
            and not read; of other objects the length is known once they are here.

        Returns
        -------
        Reading
            Future of the object, or of None where there is none; OSError if it cannot be read.
        """
        outcome = Reading()
        suffixes = self._suffixes if byte_range is None else ("",)
        if self._folder is not None and isinstance(key, str):
            # Most chunks of a large volume are missing, and asking the disk costs far less.
            path = self._folder + key
            suffixes = tuple(suffix for suffix in suffixes if os.path.lexists(path + suffix))
            if not suffixes:
                outcome.set_result(None)
                return outcome
            try:
                for suffix in suffixes:
                    _require_file(path + suffix, limit)
            except OSError as error:
                outcome.set_exception(error)
                return outcome
        self._try(key, suffixes, byte_range, outcome)
        return outcome

    @property
    def reads_ranges(self) -> bool:
        """Whether objects are stored, as far as is known, so that some of their bytes are useful.

        Of what is compressed for transport they are not.
        """
        return not self._suffixes[0]

    def _try(
        self,
        key: str | bytes,
        suffixes: tuple[str, ...],
        byte_range: slice | None,
        outcome: Reading,
    ) -> None:
        suffix = suffixes[0]

        def settle(read: Any) -> None:
            outcome.follow(None)
            try:
                go_on(read)
            finally:
                _in_flight.discard(read)

        def go_on(read: Any) -> None:
            if outcome.cancelled():
                return
            try:
                found = read.result()
            except _FAILURES as error:
                _settle(outcome, OSError(_reason(error)))
                return
            except BaseException as error:
                _settle(outcome, error)
                return
            if found.state == "value":
                if suffix != self._suffixes[0]:
                    others = (each for each in self._suffixes if each != suffix)
                    self._suffixes = (suffix, *others)
                _settle(outcome, StoredObject(found.value, suffix or self._packing))
            elif len(suffixes) > 1:
                self._try(key, suffixes[1:], byte_range, outcome)
            else:
                _settle(outcome, None)

        call = object()
        _calling.add(call)
        try:
            if _ending.is_set():
                raise OSError("the process is ending")
            read = self._kvstore.read(
                key + suffix if isinstance(key, str) else key, byte_range=byte_range
            )
            # TensorStore cancels a read that nobody refers to any more.
            _in_flight.add(read)
            outcome.follow(read)
            read.add_done_callback(settle)
        except _FAILURES as error:
            _settle(outcome, OSError(_reason(error)))
        finally:
            _calling.discard(call)

    def write(self, key: str, data: bytes, *, gzip: bool = False) -> int:
        """Write an object whole or not at all, and return how many bytes were stored.

        Where `gzip` is true and suffixes are in use here, the object is compressed and its name
        ends in ``.gz``. Objects of the same name with other suffixes are removed.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        suffix = ".gz" if gzip and ".gz" in self._suffixes else ""
        stored = transport.wrap_gzip(data) if suffix else data

        def put() -> None:
            self._refuse_linked_locks(key + suffix)
            self._kvstore.write(key + suffix, stored).result()
            for other in self._suffixes:
                if other != suffix and self._holds_now(key + other):
                    self._remove_now(key + other)

        _translated(put)
        return len(stored)

    def _holds_now(self, key: str) -> bool:
        if self._folder is not None:
            return os.path.lexists(self._folder + key)
        nothing = slice(0, 0)
        return bool(self._kvstore.read(key, byte_range=nothing).result().state == "value")

    def write_together(self, objects: Mapping[bytes, bytes]) -> None:
        """Write objects all or none, in one transaction; of shards, all at once and each once.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        import tensorstore as ts

        def put() -> None:
            self._refuse_linked_locks()
            with ts.Transaction(atomic=False) as transaction:
                store = self._kvstore.with_transaction(transaction)
                for key, data in objects.items():
                    store[key] = data

        _translated(put)

    def write_new(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one of that name already; return whether it was written.

        Of several that try at the same time, one wins.

        Raises
        ------
        OSError
            If it cannot be written.
        """

        def put() -> bool:
            self._refuse_linked_locks(key)
            for suffix in self._suffixes:
                found = self._kvstore.read(key + suffix).result()
                if found.state == "value":
                    return False
                if not suffix:
                    missing = found.stamp.generation
            stamp = self._kvstore.write(key, data, if_equal=missing).result()
            return bool(stamp.generation)

        return _translated(put)

    def remove(self, key: str) -> None:
        """Remove an object, with whatever suffix it is stored, if there is one.

        Raises
        ------
        OSError
            If that is not possible.
        """
        for suffix in self._suffixes:
            _translated(partial(self._remove_now, key + suffix))

    def _remove_now(self, key: str) -> None:
        self._refuse_linked_locks(key)
        self._kvstore.write(key, None).result()  # None is how TensorStore spells it

    def _refuse_linked_locks(self, key: str | None = None) -> None:
        """Raise OSError where TensorStore's lock file, of an object or of any, would be a link.

        An object is written into its lock file, which is then renamed: through a link it would go
        to wherever that leads. A link in the place of the object itself is merely replaced.
        """
        if self._folder is None:
            return
        folder = Path(self._folder)
        for lock in [folder / f"{key}{_LOCK}"] if key is not None else folder.glob(f"*{_LOCK}"):
            if lock.is_symlink():
                raise OSError(f"{lock} is a link: remove it")

    def has_matching(self, pattern: re.Pattern[str]) -> bool:
        """Tell whether there is an object in this folder whose whole name matches.

        Raises
        ------
        OSError
            If that cannot be found out.
        """
        keys = _translated(lambda: self._kvstore.list().result())
        return any(pattern.fullmatch(key.decode(errors="replace")) for key in keys)

    def remove_matching(self, pattern: re.Pattern[str]) -> None:
        """Remove the objects of this folder whose whole names match, and no others.

        On a disk, the lock files go with them that somebody left who was killed while writing or
        removing such an object.

        Raises
        ------
        OSError
            If that is not possible.
        """

        def remove() -> None:
            for key in self._kvstore.list().result():
                if pattern.fullmatch(key.decode(errors="replace")):
                    self._remove_now(key.decode())
            folder = Path(self._spec["path"])
            if self._spec["driver"] == "file" and folder.is_dir():
                # Not among the keys that TensorStore lists.
                for lock in folder.glob(f"*{_LOCK}"):
                    if pattern.fullmatch(lock.name.removesuffix(_LOCK)):
                        lock.unlink(missing_ok=True)

        _translated(remove)


def _require_file(path: str, limit: int | None) -> None:
    """Raise OSError where reading would wait for ever, or fill the memory."""
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return  # a link that leads nowhere, or a file that somebody has just removed
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path} is not a file")
    if limit is not None and found.st_size > max(limit, _HARMLESS_BYTES):
        raise OSError(f"{path} is {found.st_size} bytes, more than {limit}: it cannot be right")


def _settle(outcome: Reading, result: StoredObject | BaseException | None) -> None:
    if not outcome.set_running_or_notify_cancel():
        return  # nobody wants it any more
    if isinstance(result, BaseException):
        outcome.set_exception(result)
    else:
        outcome.set_result(result)


_in_flight: set[Any] = set()
_calling: set[object] = set()
_ending = threading.Event()


@atexit.register
def _stop_reading() -> None:
    """Let no read begin or end after the interpreter: that would bring the process down."""
    _ending.set()
    for read in list(_in_flight):
        read.cancel()
    deadline = time.monotonic() + 5
    while (_in_flight or _calling) and time.monotonic() < deadline:
        time.sleep(0.001)


# A server that says nothing, or stops in the middle, would keep one of TensorStore's 32 connections
# for good. These can only be set in the environment; what the user has set there stays.
_PATIENCE = {
    "TENSORSTORE_CURL_CONNECT_TIMEOUT_SECONDS": "15",
    "TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS": "30",
    "TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES": "100",
}


@cache
def _context() -> Any:
    """Return the one context of the process: memory:// volumes live in it."""
    for variable, value in _PATIENCE.items():
        os.environ.setdefault(variable, value)
    import tensorstore as ts

    # TensorStore's own 32 retries take minutes to report that a server is not there.
    return ts.Context(
        {
            # Of shards, the indices.
            "cache_pool": {"total_bytes_limit": 64 << 20},
            "http_request_retries": {
                "max_retries": 4,
                "initial_delay": "200ms",
                "max_delay": "1s",
            },
            "gcs_request_retries": {
                "max_retries": 6,
                "initial_delay": "500ms",
                "max_delay": "4s",
            },
            "s3_request_retries": {
                "max_retries": 6,
                "initial_delay": "500ms",
                "max_delay": "4s",
            },
        }
    )


_Result = TypeVar("_Result")

# What TensorStore raises where Python would raise OSError; NotImplementedError is among them.
_FAILURES = (OSError, RuntimeError, ValueError, OverflowError)


def _translated(action: Callable[[], _Result]) -> _Result:
    try:
        return action()
    except _FAILURES as error:
        raise OSError(_reason(error)) from error


def _reason(error: Exception) -> str:
    return str(error).partition(" [source locations=")[0]
