"""A list of layers in a chosen order: one drop-down a channel."""

from collections.abc import Callable, Sequence
from typing import Any

from magicgui.widgets import ComboBox, Container
from napari.layers import Layer

_TOOLTIPS = {
    0: "First channel; of affinities, the one in x. A layer with four axes (c, z, y, x) brings "
    "all of its channels.",
    1: "Second channel; of affinities, the one in y.",
    2: "Third channel; of affinities, the one in z.",
}


class ChannelPicker(Container):  # type: ignore[misc]
    """Drop-downs for the channels of a volume; there is always an empty one to add the next.

    Parameters
    ----------
    choices
        Returns the layers that can be chosen.
    changed
        Called after the chosen layers, or their order, have changed.
    """

    def __init__(self, choices: Callable[[], Sequence[Layer]], changed: Callable[[], None]) -> None:
        super().__init__(
            name="channels",
            label="channels",
            labels=True,
            tooltip="The layers that become the channels of the volume, in their order.",
        )
        self.margins = (0, 0, 0, 0)
        self._choices = choices
        self._on_changed = changed
        self._settling = False
        self._set_count(1)

    @property
    def layers(self) -> list[Layer]:
        """The chosen layers, in the order of the channels."""
        return [combo.value for combo in self if combo.value is not None]

    @layers.setter
    def layers(self, layers: Sequence[Layer]) -> None:
        self._settling = True
        self._set_count(max(1, len(layers)))
        for combo, layer in zip(self, layers, strict=False):
            combo.value = layer
        self._settling = False
        self._settle()

    def reset_choices(self, *_: Any) -> None:
        """Offer the layers that the viewer has now, keeping what is chosen while it is there."""
        before = self.layers
        self._settling = True
        for combo in self:
            combo.reset_choices()
        self._settling = False
        if self.layers != before:
            self._settle()

    def _settle(self) -> None:
        """Close gaps and leave one empty drop-down at the end, unless the volume is complete."""
        if self._settling:
            return
        self._settling = True
        layers = self.layers
        complete = bool(layers) and layers[0].ndim == 4
        self._set_count(max(1, len(layers)) if complete else len(layers) + 1)
        for combo, layer in zip(self, [*layers, None], strict=False):
            combo.value = layer
        self._settling = False
        self._on_changed()

    def _set_count(self, count: int) -> None:
        while len(self) > count:
            self.pop()
        while len(self) < count:
            number = len(self)
            combo = ComboBox(
                name=f"channel_{number + 1}",
                label=f"{number + 1}",
                choices=lambda _: [(layer.name, layer) for layer in self._choices()],
                nullable=True,
                value=None,
                tooltip=_TOOLTIPS.get(number, f"Channel {number + 1}."),
            )
            combo.changed.connect(self._settle)
            self.append(combo)
