"""Profiles: settings that suit a kind of sound, by name, and what a run asks of the settings."""

from collections.abc import Mapping

from cache.file.settings import SETTINGS, MelSettings, Setting
from cache.shared.errors import UserError
from featurize.features.row import computable

# Windows overlap by about a half, as the contract's do; featurize/README.md gives the reason for each number.
PROFILES: dict[str, MelSettings] = {
    "speech": MelSettings(),
    "birds": MelSettings(sr=32000, n_fft=2048, hop_length=768, fmin=150.0, fmax=15000.0),
    "bats": MelSettings(sr=250_000, n_fft=1024, hop_length=512, fmin=10_000.0, fmax=120_000.0),
    "insects": MelSettings(sr=96000, n_fft=2048, hop_length=1024, fmin=1000.0, fmax=44_000.0),
    "whales": MelSettings(sr=4000, n_fft=512, hop_length=256, fmin=10.0, fmax=1800.0),
}

# Settings as a caller may give them: all of them, some by name, or the name of a profile; None for no wish.
Wish = MelSettings | Mapping[str, Setting] | str | None


def asked_settings(wish: Wish) -> dict[str, Setting]:
    """Return the settings that are asked for, by name.

    Raises a UserError if there is no such profile or setting, or a value is of another type.
    """
    if isinstance(wish, str):
        if wish not in PROFILES:
            raise UserError(f"there is no profile {wish!r:.40}; there are {', '.join(PROFILES)}")
        wish = PROFILES[wish]
    if isinstance(wish, MelSettings):
        wish = wish.as_dict()
    return {name: _typed(name, value) for name, value in (wish or {}).items()}


def _typed(name: str, value: Setting) -> Setting:
    kind = SETTINGS.get(name)
    if kind is None:
        raise UserError(f"there is no setting {name!r:.40}; there are {', '.join(SETTINGS)}")
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise UserError(f"{name} is {value!r:.40}; give {_WORDS[kind]}")
    return value


_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}


def resolved_settings(asked: Mapping[str, Setting], remembered: Mapping[str, Setting] | None = None) -> MelSettings:
    """Return all settings: what is asked for, else what the cache remembers, else the contract's.

    Raises a UserError if this program does not compute them, or they reach higher than half the sample rate.
    """
    settings = computable(MelSettings(**{**(remembered or {}), **asked}))  # type: ignore[arg-type]  # they were checked
    if asked and settings.fmax > settings.sr / 2:
        raise UserError(
            f"fmax is {settings.fmax:g} Hz, and at sr = {settings.sr} there is nothing above {settings.sr / 2:g} Hz;"
            " give a lower fmax or a higher sr"
        )
    return settings
