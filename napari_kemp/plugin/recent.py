"""The volumes that were opened last, kept between sessions."""

from qtpy.QtCore import QSettings

_KEY = "recent_volumes"
_MOST = 20


def recent_volumes() -> list[str]:
    """Return the URLs of the volumes that were opened last, the latest first."""
    stored = _settings().value(_KEY) or []
    # One URL alone comes back as text, not as a list of one.
    return [stored] if isinstance(stored, str) else [str(url) for url in stored]


def remember(url: str) -> None:
    """Put a URL to the front."""
    others = [one for one in recent_volumes() if one != url]
    settings = _settings()
    settings.setValue(_KEY, [url, *others][:_MOST])
    settings.sync()


def _settings() -> QSettings:
    return QSettings(
        QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-kemp", "napari-kemp"
    )
