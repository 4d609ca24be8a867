"""Profiles: settings that suit a kind of sound, by name, what a run asks of them, and which can be computed."""

import math
from collections.abc import Mapping

from cache.file.settings import SETTINGS, MelSettings, Setting
from cache.shared.errors import UserError
from cache.shared.options import checked_value

# The kernel is written for these, and the file format for the shape; the other settings are free.
_FIXED = ("mono", "res_type", "window", "center", "pad_mode", "n_mels", "htk", "norm", "power", "ref", "n_frames")

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
    asked = wish or {}
    if unknown := [name for name in asked if name not in SETTINGS]:
        raise UserError(f"there is no setting {unknown[0]!r:.40}; there are {', '.join(SETTINGS)}")
    return {name: checked_value(name, value, SETTINGS[name]) for name, value in asked.items()}


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


def computable(settings: MelSettings) -> MelSettings:
    """Return the settings if there is code for them.

    Raises a UserError if a setting that the code or the file format fixes has another value, or a value makes no sense.
    """
    s = settings
    for name in _FIXED:
        if getattr(settings, name) != getattr(MelSettings, name):
            raise UserError(
                f"this program computes {name} = {getattr(MelSettings, name)!r} only, not {getattr(settings, name)!r}"
            )
    for fits, words in (
        (1000 <= s.sr <= 1_000_000, f"an sr of 1000 to 1000000 Hz only, not {s.sr}"),
        (16 <= s.n_fft <= 65536 and s.n_fft % 2 == 0, f"an even n_fft of 16 to 65536 only, not {s.n_fft}"),
        (0 < s.hop_length <= s.n_fft, f"a hop_length of 1 to n_fft = {s.n_fft}, not {s.hop_length}"),
        (0 <= s.fmin < s.fmax < math.inf, f"0 <= fmin < fmax only, not {s.fmin} to {s.fmax}"),
        (s.fmin < s.sr / 2, f"an fmin below half of sr = {s.sr} only, not {s.fmin}"),
        (s.amin > 0, f"an amin above 0 only, not {s.amin}"),
        (s.top_db > 0, f"a top_db above 0 only, not {s.top_db}"),
    ):
        if not fits:
            raise UserError(f"this program computes {words}")
    return settings
