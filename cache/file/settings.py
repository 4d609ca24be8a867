"""Feature settings, each also a root attribute of the cache, and Slaney's mel scale, on which their bands lie."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

Setting = int | float | str | bool


@dataclass(frozen=True)
class MelSettings:
    """The settings of the features, by librosa's names; the defaults are the project's contract.

    `featurize.features.profiles.computable` says for which other values there is code.
    """

    sr: int = 16000  # sample rate in Hz to which every clip is resampled
    mono: bool = True
    res_type: str = "soxr_hq"
    # Frame length and step in samples.
    n_fft: int = 1024
    hop_length: int = 512
    window: str = "hann"
    center: bool = True
    pad_mode: str = "constant"
    n_mels: int = 128  # mel bands, the height of a spectrogram
    # The range of the mel filterbank in Hz.
    fmin: float = 0.0
    fmax: float = 8000.0
    htk: bool = False
    norm: str = "slaney"
    power: float = 2.0
    ref: str = "max"
    amin: float = 1e-10  # power below which everything counts as silence
    top_db: float = 80.0  # dynamic range in dB below the clip's maximum
    n_frames: int = 128  # frames after centre crop or right pad, the width of a spectrogram

    def __hash__(self) -> int:
        # Needed for every clip; a hash of all fields would take longer than reading the clip.
        return hash((self.sr, self.n_fft, self.hop_length))

    @property
    def row_seconds(self) -> float:
        """Seconds that a row shows."""
        return self.n_frames * self.hop_length / self.sr

    def as_dict(self) -> dict[str, Setting]:
        """Return the settings by name, as the cache stores them."""
        return asdict(self)


# The type of every setting by its name, in the order of the cache.
SETTINGS: dict[str, Any] = {setting.name: setting.type for setting in fields(MelSettings)}


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
