"""Slaney's mel scale: where a frequency lies among mel bands."""

import math
from collections.abc import Mapping

from cache.file.settings import Setting

_HZ_PER_MEL = 200 / 3  # below the break
_BREAK_HZ, _BREAK_MEL = 1000.0, 15.0
_LOG_STEP = math.log(6.4) / 27  # above the break


def mel(hz: float) -> float:
    """Return a frequency in mel: linear up to 1 kHz, logarithmic from there on.

    The scale of M. Slaney's Auditory Toolbox (Interval Research Corporation, Technical Report 1998-010), which librosa
    takes when `htk` is False: 3 f / 200 below 1 kHz, and 15 + 27 log(f / 1000) / log(6.4) above.
    """
    return hz / _HZ_PER_MEL if hz < _BREAK_HZ else _BREAK_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP


def band(hz: float, settings: Mapping[str, Setting]) -> float:
    """Return where a frequency lies among the mel bands of a cache.

    The n_mels triangles stand evenly on the mel scale between fmin and fmax, which the first and the last reach with
    their outer corner.

    Parameters
    ----------
    hz
        From fmin to fmax.
    settings
        `fmin`, `fmax` and `n_mels`.

    Returns
    -------
    float
        i at the peak of band i; -1 at fmin and n_mels at fmax.
    """
    low, high = mel(float(settings["fmin"])), mel(float(settings["fmax"]))
    return (mel(hz) - low) / (high - low) * (int(settings["n_mels"]) + 1) - 1
