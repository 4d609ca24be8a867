"""Feature settings: their names, types and defaults, each also a root attribute of the cache."""

from dataclasses import asdict, dataclass, fields
from typing import Any

Setting = int | float | str | bool


@dataclass(frozen=True)
class MelSettings:
    """The settings of the features, by librosa's names; the defaults are the project's contract.

    `featurize.features.row.computable` says for which other values there is code.
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
