import dask.array as da
import numpy as np
import pytest
from cloudvolume import CloudVolume
from napari.layers import Image, Labels, Points
from volumes import create_layers, make_volume

from napari_kemp import ExportError, open_volume
from napari_kemp.plugin.layers import volume_layers
from napari_kemp.plugin.writer import write_volume

RNG = np.random.default_rng(0)
PLACE = {"scale": (40, 4, 4), "units": "nm", "translate": (80, -12, 20)}


def affinity_layers(shape=(9, 20, 30), **kwargs):
    return [
        Image(RNG.random(shape, np.float32), name=f"net {axis}", **{**PLACE, **kwargs})
        for axis in "xyz"
    ]


def tuples(layers):
    return [layer.as_layer_data_tuple() for layer in layers]


def test_x_y_and_z_become_one_kempressed_volume(tmp_path):
    layers = affinity_layers()
    folder = str(tmp_path / "volume")
    assert write_volume(folder, tuples([layers[2], layers[0], layers[1]])) == [folder]
    written = CloudVolume(f"file://{folder}", progress=False, fill_missing=False)
    assert written.info["scales"][0]["encoding"] == "kempressed"
    assert written.layer_type == "image"
    assert tuple(written.resolution) == (4, 4, 40)
    assert tuple(written.voxel_offset) == (5, -3, 2)
    for channel, layer in enumerate(layers):
        np.testing.assert_allclose(written[...][..., channel], layer.data.T, rtol=0, atol=2**-23)


def test_units_and_lazy_data_are_taken_as_they_are(tmp_path):
    data = RNG.random((3, 9, 20, 30), np.float32)
    layer = Image(
        da.from_array(data, chunks=(1, 4, 20, 20)),
        scale=(1, 0.04, 0.0045, 0.004),
        translate=(0, 0.08, -0.009, 0.04),
        units=("pixel", "um", "um", "um"),
    )
    folder = str(tmp_path / "volume")
    write_volume(folder, tuples([layer]))
    info = open_volume(folder).info
    assert info.num_channels == 3
    assert info.scales[0].resolution == (4, 4.5, 40)
    assert info.scales[0].voxel_offset == (10, -2, 2)


@pytest.mark.parametrize(
    ("dtype", "limits", "encoding", "stored"),
    [
        (np.uint8, (0, 255), "raw", "uint8"),
        (np.uint16, (0, 999), "raw", "uint16"),
        (np.float32, (0, 1), "kempressed", "float32"),
        (np.float32, (0, 300), "fpzip", "float32"),
        (np.float64, (0, 1), "fpzip", "float64"),
        (np.float16, (0, 1), "kempressed", "float32"),
    ],
)
def test_images_are_encoded_by_what_they_hold(tmp_path, dtype, limits, encoding, stored):
    data = (RNG.random((5, 6, 7)) * limits[1]).astype(dtype)
    write_volume(str(tmp_path / "v"), tuples([Image(data, contrast_limits=limits)]))
    volume = open_volume(tmp_path / "v")
    assert volume.info.scales[0].encoding == encoding
    assert volume.info.data_type == stored
    tolerance = 2**-23 if encoding == "kempressed" else 0
    np.testing.assert_allclose(
        volume.scales[0].array[0], data.astype(stored), rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64])
def test_labels_become_a_segmentation(tmp_path, dtype):
    data = RNG.integers(0, 100, (5, 6, 7)).astype(dtype)
    write_volume(str(tmp_path / "v"), tuples([Labels(data)]))
    volume = open_volume(tmp_path / "v")
    assert volume.info.type == "segmentation"
    assert volume.info.scales[0].encoding == "compressed_segmentation"
    np.testing.assert_array_equal(volume.scales[0].array[0], data)


def test_layers_that_do_not_belong_together_get_folders_of_their_own(tmp_path):
    image = Image(RNG.integers(0, 255, (9, 20, 30), np.uint8), name="EM: raw?", **PLACE)
    labels = Labels(np.ones((9, 20, 30), np.uint32), name="cells", **PLACE)
    layers = [image, *affinity_layers(), labels]
    paths = write_volume(str(tmp_path / "all"), tuples(layers))
    assert paths == [str(tmp_path / "all" / name) for name in ("EM_ raw_", "net", "cells")]
    encodings = [open_volume(path).info.scales[0].encoding for path in paths]
    assert encodings == ["raw", "kempressed", "compressed_segmentation"]


def test_an_opened_volume_saves_as_it_was(tmp_path):
    volume = make_volume(tmp_path / "from", encoding="fpzip")
    layers = create_layers(volume)
    assert layers[0].data.shape == (7, 92, 104)
    write_volume(str(tmp_path / "to"), tuples(layers))
    written = open_volume(tmp_path / "to")
    finest = volume.scales[0]
    assert written.info.scales[0].size == finest.info.size
    assert written.info.scales[0].voxel_offset == finest.info.voxel_offset
    assert written.info.scales[0].encoding == "fpzip"
    np.testing.assert_array_equal(written.scales[0].array, finest.array)


def test_channels_of_an_opened_volume_keep_together_under_new_names(tmp_path):
    volume = make_volume(tmp_path / "from", channels=2, levels=1)
    layers = create_layers(volume)
    layers[0].name, layers[1].name = "first", "second"
    paths = write_volume(str(tmp_path / "to"), tuples(layers[::-1]))
    assert paths == [str(tmp_path / "to")]
    np.testing.assert_array_equal(
        open_volume(tmp_path / "to").scales[0].array, volume.scales[0].array
    )


def test_what_is_there_is_never_overwritten(tmp_path):
    folder = tmp_path / "volume"
    write_volume(str(folder), tuples(affinity_layers()))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ExportError, match=r"there is a volume already; save under another name"):
        write_volume(str(folder), tuples(affinity_layers()))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("keep me")
    with pytest.raises(ExportError, match="holds other files"):
        write_volume(str(tmp_path / "other"), tuples(affinity_layers()))
    with pytest.raises(ExportError, match="is a file"):
        write_volume(str(tmp_path / "other" / "notes.txt"), tuples(affinity_layers()))
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]


def test_a_volume_is_not_saved_into_itself(tmp_path):
    volume = make_volume(tmp_path / "v", levels=1)
    with pytest.raises(ExportError, match="is being read from there"):
        write_volume(str(tmp_path / "v" / "inside"), [*volume_layers(volume)])


IMAGE = np.zeros((5, 6, 7), np.float32)
TILTED = np.eye(4) + 0.01 * np.eye(4, k=1) * [[1], [1], [0], [0]]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Points(np.zeros((1, 3)), name="spots")], "'spots' is a points layer"),
        ([Image(np.zeros((5, 6)), name="flat")], "'flat' has 2 axes"),
        ([Labels(np.zeros((2, 5, 6, 7), int), name="t")], "'t' has 4 axes"),
        ([Image(np.zeros((5, 6, 7, 3)), rgb=True, name="rgb")], "RGB"),
        ([Image(IMAGE, rotate=(0, 0, 30), name="turned")], "'turned' is rotated"),
        ([Image(IMAGE, shear=(0.5, 0, 0), name="skew")], "'skew' is rotated, sheared"),
        ([Image(IMAGE, affine=TILTED, name="affine")], "affine transform that turns it"),
        ([Image(IMAGE, scale=(1, -1, 1), name="mirror")], "'mirror' is mirrored"),
        ([Image(IMAGE, affine=np.diag([1, 1, -1, 1]), name="flip")], "'flip' is mirrored"),
    ],
)
@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_layers_that_no_volume_can_hold_are_refused(tmp_path, layers, message):
    good = Image(IMAGE, name="good")
    with pytest.raises(ExportError, match=message):
        write_volume(str(tmp_path / "v"), tuples([good, *layers]))
    assert not (tmp_path / "v").exists()


def test_channels_must_fit_each_other(tmp_path):
    x, y, z = affinity_layers()
    moved = Image(z.data, name="net z", **{**PLACE, "translate": (0, 0, 0)})
    with pytest.raises(ExportError, match="cannot be channels of one volume: their voxel offset"):
        write_volume(str(tmp_path / "v"), tuples([x, y, moved]))
    assert not (tmp_path / "v").exists()


def test_the_viewer_saves_layers_through_the_plugin(plugin, make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    for layer in affinity_layers():
        viewer.add_layer(layer)
    viewer.add_points(np.zeros((1, 3)))
    viewer.layers.selection = set(viewer.layers[:3])
    folder = str(tmp_path / "volume")
    assert viewer.layers.save(folder, selected=True, plugin="napari-kemp") == [folder]
    assert open_volume(folder).info.num_channels == 3


def test_the_save_dialog_offers_a_folder(plugin, make_napari_viewer, tmp_path, monkeypatch):
    from qtpy.QtWidgets import QFileDialog

    viewer = make_napari_viewer()
    for layer in affinity_layers():
        viewer.add_layer(layer)
    viewer.layers.selection = set(viewer.layers)
    folder = str(tmp_path / "volume.v1")
    offered = []

    def answer(*args, filter="", **kwargs):
        offered.extend(filter.split(";;"))
        return folder, next(entry for entry in offered if entry.startswith("napari-kemp"))

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    viewer.window._qt_viewer._save_layers_dialog(selected=True)
    assert open_volume(folder).info.num_channels == 3
    # napari's own way to save several layers stays the first choice.
    assert offered.index("napari-kemp Precomputed Folder (*.*)") > 0


def test_saving_to_folders_stays_naparis_own_unless_we_are_asked(plugin):
    writer, _ = plugin.get_writer("folder", ["image", "image"])
    assert writer.command == "napari.write_directory"
    writer, path = plugin.get_writer("folder", ["image", "image"], "napari-kemp")
    assert (writer.command, path) == ("napari-kemp.write_volume", "folder")
