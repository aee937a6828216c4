import re
from pathlib import Path

import numpy as np
import pytest

from napari_kemp import KempError, create_volume, settings
from napari_kemp.cli import main
from napari_kemp.precomputed.cache import shared_cache
from napari_kemp.precomputed.decode import worker_threads
from napari_kemp.settings import Settings


@pytest.fixture(autouse=True)
def restored():
    before = settings.current()
    yield
    settings.configure(**vars(before))


def test_the_environment_is_read():
    found = Settings.from_environment(
        {
            "NAPARI_KEMP_CACHE_MB": "64",
            "NAPARI_KEMP_PREFETCH": "0",
            "NAPARI_KEMP_ASYNC_SLICING": "no",
            "PATH": "/bin",
        }
    )
    assert (found.cache_mb, found.prefetch, found.async_slicing) == (64, 0, False)
    assert found.threads == Settings().threads
    for variable in ("NAPARI_KEMP_CACHE_MB=lots", "NAPARI_KEMP_THREADS=0"):
        with pytest.raises(KempError, match=f"^{variable} is not legal"):
            Settings.from_environment(dict([variable.split("=")]))


def test_changes_take_effect_at_once():
    cache = shared_cache()
    cache.keep("large", np.zeros(3 << 20, np.uint8))
    settings.configure(cache_mb=2)
    assert cache.get("large") is None
    settings.configure(cache_mb=4)
    cache.keep("large", np.zeros(3 << 20, np.uint8))
    assert cache.get("large") is not None
    settings.configure(threads=3)
    assert worker_threads()._max_workers == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cash": 1}, "there is no setting cash; there are async_slicing, cache_mb"),
        ({"threads": 0}, "threads must be a whole number of at least 1, not 0"),
        ({"cache_mb": 1.5}, "cache_mb must be a whole number"),
        ({"async_slicing": 1}, "async_slicing must be true or false"),
    ],
)
def test_what_is_not_legal_is_refused(change, message):
    before = settings.current()
    with pytest.raises(KempError, match=message):
        settings.configure(**change)
    assert settings.current() == before


def test_each_setting_is_documented_and_on_the_page(capsys):
    root = Path(__file__).parents[1]
    text = (root / "docs" / "settings.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \|", text, re.M)
    assert documented == list(vars(Settings()))
    for name in documented:
        assert f"| `{name}` | `NAPARI_KEMP_{name.upper()}` | `--" in text
    for flag, commands in re.findall(r"\| `(--[\w-]+)` of ([^|]+) \|", text):
        for command in re.findall(r"`(\w+)`", commands):
            with pytest.raises(SystemExit):
                main([command, "--help"])
            assert flag in capsys.readouterr().out
    page = (root / "napari.yaml").read_text().partition("configurations:")[2]
    for name in documented:
        assert f"        {name}:\n" in page


def test_napari_preferences_are_taken_over(plugin, monkeypatch):
    from napari.settings import get_plugin_settings

    from napari_kemp.plugin import session
    from napari_kemp.plugin.session import take_napari_settings

    monkeypatch.setattr(session, "_taken", {})
    monkeypatch.setattr("napari.settings._PLUGIN_SETTINGS", {})
    page = get_plugin_settings("napari-kemp", path_dir=None).reading
    settings.configure(cache_mb=77)
    take_napari_settings()
    assert settings.current().cache_mb == 77  # left alone, it overrules nothing
    page.cache_mb = 99
    page.async_slicing = False
    take_napari_settings()
    assert (settings.current().cache_mb, settings.current().async_slicing) == (99, False)
    settings.configure(cache_mb=55)
    take_napari_settings()
    assert settings.current().cache_mb == 55  # until the page is changed again
    page.cache_mb = 98
    take_napari_settings()
    assert settings.current().cache_mb == 98


def test_the_command_line_overrules_what_is_saved(plugin, monkeypatch, tmp_path):
    from napari.settings import get_plugin_settings

    from napari_kemp.plugin import session, view

    found = []
    monkeypatch.setattr(session, "_taken", {})
    monkeypatch.setattr("napari.settings._PLUGIN_SETTINGS", {})
    page = get_plugin_settings("napari-kemp", path_dir=None).reading
    page.cache_mb, page.prefetch = 99, 5

    def opened(urls):
        session.take_napari_settings()  # as when each volume is opened
        found.append(settings.current())

    monkeypatch.setattr(view, "view", opened)
    flags = ["--cache", "33", "--threads", "3", "--no-async-slicing"]
    assert main(["view", "volume", *flags]) == 0
    (one,) = found
    assert (one.cache_mb, one.threads, one.prefetch, one.async_slicing) == (33, 3, 5, False)
    assert main(["view", "volume", "--prefetch", "0"]) == 0
    assert found[1].prefetch == 0
    with pytest.raises(SystemExit):
        main(["view", "volume", "--cache", "-1"])


def test_a_save_on_the_command_line_takes_settings(tmp_path):
    create_volume(
        tmp_path / "v",
        size=(8, 8, 8),
        resolution=(1, 1, 1),
        chunk_size=(8, 8, 8),
        encoding="kempressed",
    )
    arguments = [str(tmp_path / "v"), str(tmp_path / "w"), "--cache", "12", "--threads", "3"]
    assert main(["export", *arguments]) == 0
    assert (settings.current().cache_mb, settings.current().threads) == (12, 3)
    assert main(["verify", str(tmp_path / "w"), "--threads", "2"]) == 0
    assert (settings.current().cache_mb, settings.current().threads) == (12, 2)
