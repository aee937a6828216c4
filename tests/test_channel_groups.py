import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_kemp.plugin.channel_groups import group_channels, group_name
from napari_kemp.plugin.layer_source import layer_source


def groups_of(*names, layer_type=Image):
    data = np.zeros((2, 3, 4), np.uint8)
    sources = [layer_source(*layer_type(data, name=n).as_layer_data_tuple()) for n in names]
    groups = group_channels(sources)
    return [[source.name for source in group] for group in groups], [*map(group_name, groups)]


@pytest.mark.parametrize(
    ("names", "stem"),
    [
        (("aff x", "aff y", "aff z"), "aff"),
        (("net_x", "net_y", "net_z"), "net"),
        (("a-b.X", "a-b.Y", "a-b.Z"), "a-b"),
        (("x", "y", "z"), "x"),
        (("aff x [1]", "aff y [1]", "aff z [1]"), "aff"),
    ],
)
def test_layers_named_alike_but_for_the_axis_belong_together(names, stem):
    for order in (names, names[::-1]):
        assert groups_of(*order) == ([list(names)], [stem])


def test_sets_are_told_apart():
    groups, names = groups_of("em", "b x", "a x", "a z", "a y", "b y", "b z", "a x [1]")
    assert groups == [["em"], ["b x", "b y", "b z"], ["a x", "a y", "a z"], ["a x [1]"]]
    assert names == ["em", "b", "a", "a x [1]"]


def test_incomplete_sets_and_labels_stay_apart():
    assert groups_of("a x", "a y")[0] == [["a x"], ["a y"]]
    assert groups_of("max", "may", "maz")[0] == [["max"], ["may"], ["maz"]]
    assert groups_of("a x", "a y", "a z", layer_type=Labels)[0] == [["a x"], ["a y"], ["a z"]]
