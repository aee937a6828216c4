"""What a save says of itself, while it runs and when it is done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """How far a save has come.

    Attributes
    ----------
    done, total : int
        Chunks of all scales; those that were there already count as done.
    bytes_raw, bytes_encoded : int
        Of the chunks done: their values, and what is stored of them.
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
    scales : int
        The finest and those made of it.
    chunks : int
        Chunks written, of all scales.
    kept : int
        Chunks that were there already, of a save that was taken up again.
    verified : int
        Chunks that were read back and compared.
    bytes_raw, bytes_encoded : int
        Values in, bytes stored, of all chunks written or kept.
    max_abs_error : float
        Largest absolute difference between the source and what was written of it at the finest
        scale. 0 if nothing changed, infinite if a NaN or an infinity came or went.
    outside, nan, infinite : int
        Values of the source, among those written, that are finite but outside [0, 1], that are
        NaN, and that are infinite; always 0 where the source holds integers.
    seconds : float
        From the first read to the last write.
    """

    destination: str
    encoding: str
    scales: int
    chunks: int
    kept: int
    verified: int
    bytes_raw: int
    bytes_encoded: int
    max_abs_error: float
    outside: int
    nan: int
    infinite: int
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
        rows = [
            ("encoding", self.encoding),
            ("scales", str(self.scales)),
            ("chunks written", str(self.chunks)),
            ("chunks kept", str(self.kept) if self.kept else ""),
            ("chunks verified", str(self.verified) if self.verified else ""),
            ("raw", f"{self.bytes_raw / 1e6:.1f} MB"),
            ("stored", f"{self.bytes_encoded / 1e6:.1f} MB ({100 * self.ratio:.1f} %)"),
            ("largest absolute error", f"{self.max_abs_error:.3g}"),
            ("values outside [0, 1]", str(self.outside) if self.outside else ""),
            ("NaN", str(self.nan) if self.nan else ""),
            ("infinite", str(self.infinite) if self.infinite else ""),
            ("time", f"{self.seconds:.1f} s ({rate:.0f} MB/s)"),
        ]
        return "\n".join(
            [self.destination, *(f"  {name:<24}{value}" for name, value in rows if value)]
        )
