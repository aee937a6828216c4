"""What a save says of itself, while it runs and when it is done."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """How far a save has come.

    Attributes
    ----------
    done, total : int
        Chunks.
    bytes_raw, bytes_encoded : int
        Of the chunks done: their values, and what was stored of them.
    """

    done: int
    total: int
    bytes_raw: int
    bytes_encoded: int


@dataclass(frozen=True)
class Report:
    """What was saved, and how well.

    Attributes
    ----------
    destination : str
        The volume.
    encoding : str
        How its chunks are encoded.
    chunks : int
        Chunks written.
    bytes_raw, bytes_encoded : int
        Values in, bytes stored.
    max_abs_error : float
        Largest absolute difference between the source and what was stored, found by decoding every
        chunk as it was written. 0 if nothing changed, infinite if a NaN came or went.
    seconds : float
        From the first read to the last write.
    """

    destination: str
    encoding: str
    chunks: int
    bytes_raw: int
    bytes_encoded: int
    max_abs_error: float
    seconds: float

    @property
    def ratio(self) -> float:
        """Bytes stored for each byte of the values; smaller is better."""
        return self.bytes_encoded / self.bytes_raw if self.bytes_raw else 1.0

    def to_json(self) -> dict[str, Any]:
        """Return the report as members of a JSON object."""
        return {**asdict(self), "ratio": self.ratio}

    def __str__(self) -> str:
        rate = self.bytes_raw / 1e6 / self.seconds if self.seconds else 0.0
        return (
            f"{self.destination}: {self.chunks} chunks, {self.encoding}, "
            f"{self.bytes_raw / 1e6:.1f} MB -> {self.bytes_encoded / 1e6:.1f} MB "
            f"({100 * self.ratio:.1f} %), largest absolute error {self.max_abs_error:.3g}, "
            f"{self.seconds:.1f} s ({rate:.0f} MB/s)"
        )
