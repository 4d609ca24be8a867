"""The authority that features are tested against: the course notebook's steps, by librosa's own calls.

`featurize.features.check` has the calls, in terms of the settings; the notebook's settings are written down here.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from cache.file.settings import MelSettings
from featurize.features.check import librosa_row, librosa_spectrogram

NOTEBOOK = MelSettings(
    sr=16000,
    mono=True,
    res_type="soxr_hq",
    n_fft=1024,
    hop_length=512,
    window="hann",
    center=True,
    pad_mode="constant",
    n_mels=128,
    fmin=0.0,
    fmax=8000.0,
    htk=False,
    norm="slaney",
    power=2.0,
    ref="max",
    amin=1e-10,
    top_db=80.0,
    n_frames=128,
)


def row_of(y: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A waveform at 16 kHz as the notebook makes it, shape (128, 128, 1), float32."""
    return librosa_row(y, NOTEBOOK)[..., np.newaxis]


def notebook(path: Path) -> npt.NDArray[np.float32]:
    """One clip as the notebook makes it, shape (128, 128, 1), float32."""
    return librosa_spectrogram(path, NOTEBOOK.as_dict())[..., np.newaxis]
