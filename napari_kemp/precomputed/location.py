"""Where a volume or a scale lies: paths and URLs, and what lies below them."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from napari_kemp.errors import InfoError

_SCHEMES = ("file", "http", "https", "gs", "s3", "memory")


@dataclass(frozen=True, slots=True)
class Location:
    """A folder on a disk, a web server or an object store.

    Attributes
    ----------
    scheme : str
        One of "file", "http", "https", "gs", "s3", "memory".
    authority : str
        The host or bucket; empty for the others.
    path : str
        Unquoted, without a slash at its end.
    query : str
        What follows the question mark of an HTTP URL.
    """

    scheme: str
    authority: str
    path: str
    query: str = ""

    @classmethod
    def parse(cls, url: str | os.PathLike[str]) -> "Location":
        """Read a path or a URL, with or without ``precomputed://`` in front.

        Raises
        ------
        InfoError
            If it is empty or malformed, or its scheme is not supported.
        """
        try:
            return cls._parse(url)
        except InfoError:
            raise
        except (ValueError, RuntimeError, OSError) as error:
            # A bracket or a port that is none, a home that nobody has, a name that is too long.
            raise InfoError(f"{url!r} is not the path or the URL of a volume: {error}") from None

    @classmethod
    def _parse(cls, url: str | os.PathLike[str]) -> "Location":
        if not isinstance(url, str):
            return cls._local(Path(url))
        text = url.removeprefix("precomputed://")
        scheme, separator, rest = text.partition("://")
        scheme = scheme.lower()
        if not text or (separator and not rest):
            raise InfoError(f"{url!r} is not the path or the URL of a volume")
        if not separator:
            return cls._local(Path(text))
        if scheme == "file":
            return cls._local(_path_of_file_url(rest))
        _refuse_null(text)
        text.encode()  # a lone surrogate can be in the name of a file, and in no URL
        if scheme in ("http", "https"):
            parts = urlsplit(text)
            if not parts.hostname or parts.port == 0:
                raise ValueError("there is no host")
            return cls(scheme, parts.netloc, unquote(parts.path).rstrip("/"), parts.query)
        if scheme in ("gs", "s3"):
            bucket, _, path = rest.partition("/")
            return cls(scheme, bucket, path.rstrip("/"))
        if scheme == "memory":
            return cls(scheme, "", rest.rstrip("/"))
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise InfoError(f"{url}: expected a path or a URL that begins with one of {known}")

    @classmethod
    def _local(cls, path: Path) -> "Location":
        _refuse_null(str(path))
        path = path.expanduser().absolute()
        if ".." in path.parts:
            path = path.resolve()
        return cls("file", "", path.as_posix().rstrip("/"))

    @property
    def url(self) -> str:
        """The location as people write it; opens the same location again."""
        if self.scheme == "file":
            return self.path or "/"
        if self.scheme in ("http", "https"):
            query = f"?{self.query}" if self.query else ""
            return f"{self.scheme}://{self.authority}{quote(self.path)}{query}"
        if self.scheme == "memory":
            return f"memory://{self.path}"
        return f"{self.scheme}://{self.authority}/{self.path}"

    @property
    def is_local(self) -> bool:
        """Whether this is a folder on a disk."""
        return self.scheme == "file"

    def child(self, key: str) -> "Location":
        """Return the location that a relative path leads to.

        Raises
        ------
        ValueError
            If ``..`` leads out of the file system, host or bucket.
        """
        path = self.path
        for part in key.split("/"):
            if part == "..":
                if not path:
                    raise ValueError(f"{key!r} leads out of {self.url}")
                path = path.rpartition("/")[0]
            elif part not in ("", "."):
                rooted = path or self.scheme in ("file", "http", "https")
                path = f"{path}/{part}" if rooted else part
        return replace(self, path=path)

    def contains(self, other: "Location") -> bool:
        """Whether the other location is this one or lies below it."""
        return replace(other, path=self.path) == self and f"{other.path}/".startswith(
            f"{self.path}/" if self.path else ""
        )

    def object_url(self, name: str) -> str:
        """Return the URL of an object in this folder, for messages."""
        return self.child(name).url

    def spec(self) -> dict[str, Any]:
        """Return the TensorStore KvStore spec of the folder."""
        path = f"{self.path}/" if self.path or self.is_local else ""
        if self.scheme in ("http", "https"):
            query = f"?{self.query}" if self.query else ""
            base_url = f"{self.scheme}://{self.authority}{query}"
            return {"driver": "http", "base_url": base_url, "path": path or "/"}
        if self.scheme == "gs":
            return {"driver": "gcs", "bucket": self.authority, "path": path}
        if self.scheme == "s3":
            return {"driver": "s3", "bucket": self.authority, "path": path, **_s3_endpoint()}
        return {"driver": self.scheme, "path": path}


def _s3_endpoint() -> dict[str, str]:
    """Return where S3 is, for those who have their own: Amazon's tools read the same variables."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return {}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return {"endpoint": endpoint, "aws_region": region}


def _refuse_null(text: str) -> None:
    if "\0" in text:
        raise ValueError("it holds a null character")


def _path_of_file_url(rest: str) -> Path:
    # CloudVolume takes what follows file:// literally, browsers and TensorStore unquote it.
    literal = Path(rest).expanduser()
    return literal if literal.exists() else Path(unquote(rest))
