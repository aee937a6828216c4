"""Which layers belong together, as the channels of one volume."""

import re
from collections.abc import Sequence

from napari_kemp.plugin.layer_source import LayerSource

# "affinities x" or "aff_x"; or "affinities x [1]", as napari calls the second layer of that name.
_AXIS_NAME = re.compile(r"^(?P<stem>.*[\s_.-])?(?P<axis>[xyz])(?P<copy>\s*\[\d+\])?$", re.I)


def group_channels(sources: Sequence[LayerSource]) -> list[list[LayerSource]]:
    """Put layers together that are channels of one volume.

    Layers are, if their names differ only in a last x, y and z, or if they are all the channels of
    the volume that they were opened from.

    Parameters
    ----------
    sources
        Layers in any order.

    Returns
    -------
    list of list of LayerSource
        Each layer once, groups in the order of their first layer, channels in theirs.
    """
    families: dict[object, dict[int, LayerSource]] = {}
    for source in sources:
        for family, channel in _families(source):
            families.setdefault(family, {}).setdefault(channel, source)

    groups: list[list[LayerSource]] = []
    placed: set[int] = set()
    for source in sources:
        if id(source) in placed:
            continue
        group = [source]
        for family, _ in _families(source):
            members = families[family]
            wanted = 3 if isinstance(family, tuple) else _channels_of_origin(source)
            whole = [members[c] for c in range(wanted) if c in members]
            if len(whole) == wanted and source in whole and not placed & {id(m) for m in whole}:
                group = whole
                break
        placed.update(id(member) for member in group)
        groups.append(group)
    return groups


def group_name(group: Sequence[LayerSource]) -> str:
    """Name a volume after the layers that go into it."""
    match = _AXIS_NAME.match(group[0].name) if len(group) > 1 else None
    return ((match["stem"] or "").strip(" _.-") if match else "") or group[0].name


def _families(source: LayerSource) -> list[tuple[object, int]]:
    """List the groups a layer may be part of, and which channel of them it would be."""
    families: list[tuple[object, int]] = []
    if source.layer_type != "image" or len(source.data.shape) != 3:
        return families
    match = _AXIS_NAME.match(source.name)
    if match:
        stem = match["stem"] or "", match["copy"] or ""
        families.append((stem, "xyz".index(match["axis"].lower())))
    if source.origin is not None and source.origin["channel"] is not None:
        families.append((source.origin["url"], source.origin["channel"]))
    return families


def _channels_of_origin(source: LayerSource) -> int:
    return source.origin["num_channels"] if source.origin is not None else 1
