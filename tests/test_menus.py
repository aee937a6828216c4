"""Which of napari's menus open the dock widgets."""

from napari._app_model import get_app_model

TITLES = {
    "open_widget": "Open precomputed...",
    "inspector": "Affinity inspector",
    "compare_widget": "Compare volumes",
    "save_widget": "Save as kempressed",
}
MENUS = {
    "napari/file/io_utilities": {"open_widget"},
    "napari/layers/visualize": {"inspector"},
    "napari/layers/measure": {"compare_widget"},
    "napari/layers/data": {"save_widget"},
    "napari/plugins/napari-kemp": set(TITLES),
}


def test_the_menus_open_the_widgets(plugin, make_napari_viewer):
    viewer = make_napari_viewer()
    app = get_app_model()
    for menu, names in MENUS.items():
        commands = [getattr(item, "command", None) for item in app.menus.get_menu(menu)]
        ours = {each.id for each in commands if each and each.id.startswith("napari-kemp.")}
        assert {f"napari-kemp.{name}" for name in names} <= ours
        for name in sorted(names):
            app.commands.execute_command(f"napari-kemp.{name}")
            (title,) = viewer.window._wrapped_dock_widgets
            assert title == f"{TITLES[name]} (napari-kemp)"
            viewer.window.remove_dock_widget("all")
