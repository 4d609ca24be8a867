"""Slaney's mel scale: the place of a frequency among mel bands."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cache.file.settings import Setting


def hz_to_mel(frequencies: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert Hz to mels: linear up to 1 kHz, logarithmic from there on.

    The scale of M. Slaney's Auditory Toolbox (Interval Research Corporation, Technical Report 1998-010), which librosa
    takes when `htk` is False: 3 f / 200 below 1 kHz, and 15 + 27 log(f / 1000) / log(6.4) above.
    """
    f = np.asarray(frequencies, np.float64)
    return np.where(f < 1000.0, f * 3 / 200, 15.0 + 27.0 * np.log(np.maximum(f, 1000.0) / 1000.0) / np.log(6.4))


def mel_to_hz(mels: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert mels to Hz, the inverse of `hz_to_mel`."""
    m = np.asarray(mels, np.float64)
    return np.where(m < 15.0, m * 200 / 3, 1000.0 * np.exp(np.log(6.4) / 27.0 * (m - 15.0)))


def band(hz: float, settings: Mapping[str, Setting]) -> float:
    """Return the place of a frequency from fmin to fmax among the mel bands of a cache.

    It is i at the peak of band i, -1 at fmin and n_mels at fmax: the n_mels triangles are spaced evenly on the mel
    scale, and the outer corners of the first and the last one are at fmin and fmax.
    """
    low, high, here = hz_to_mel([float(settings["fmin"]), float(settings["fmax"]), hz])
    return float((here - low) / (high - low) * (int(settings["n_mels"]) + 1) - 1)
