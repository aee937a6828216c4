"""A line of text for three numbers, x, y and z."""

import math
import re
from typing import Any

from magicgui.widgets import LineEdit

from napari_kemp.errors import ExportError


def parse_triple(text: str, what: str, *, whole: bool = False) -> tuple[Any, Any, Any]:
    """Read three numbers, separated by commas, blanks and the like.

    Raises
    ------
    ExportError
        If the text is something else; ``what`` says in the message what it should be.
    """
    words = [word for word in re.split(r"[\s,;×\[\]()]+", text) if word]
    try:
        a, b, c = (int(word) if whole else float(word) for word in words)
    except ValueError:
        numbers = "whole numbers" if whole else "numbers"
        raise ExportError(f"{what}: expected three {numbers}, x, y, z, not {text!r}") from None
    return a, b, c


class TripleEdit(LineEdit):  # type: ignore[misc]
    """Three numbers separated by commas or blanks, as one would copy them from an ``info`` file.

    Parameters
    ----------
    triple
        The first value.
    whole
        Whether only integers will do.
    above_zero
        Whether all of them must be above 0.
    **kwargs
        As for `magicgui.widgets.LineEdit`.
    """

    def __init__(
        self, triple: tuple[float, float, float], *, whole: bool, above_zero: bool, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._whole = whole
        self._above_zero = above_zero
        self.triple = triple

    @property
    def triple(self) -> tuple[Any, Any, Any]:
        """The three numbers.

        Raises
        ------
        ExportError
            If the text is something else.
        """
        a, b, c = parse_triple(self.value, self.label.strip(), whole=self._whole)
        if self._above_zero and not all(0 < number < math.inf for number in (a, b, c)):
            raise ExportError(f"{self.label.strip()}: the three numbers must be above 0")
        return a, b, c

    @triple.setter
    def triple(self, triple: tuple[float, float, float]) -> None:
        self.value = ", ".join(f"{number:.9g}" for number in triple)
