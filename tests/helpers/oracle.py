"""The authority that features are tested against: the course notebook's steps, by librosa's own calls.

`featurize.features.check` has the calls, in terms of the settings; the notebook's settings are written down here.
"""

from pathlib import Path

import av
import librosa
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
    return librosa_spectrogram(path, NOTEBOOK)[..., np.newaxis]


def by_ffmpeg(path: Path) -> npt.NDArray[np.float32]:
    """One clip as FFmpeg decodes it to floats and librosa goes on, shape (128, 128, 1), float32.

    The padding at the end of an MP4 is left out, whose header says where the sound ends.
    """
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        to_float = av.AudioResampler(format="fltp")
        frames = [part for frame in container.decode(stream) for part in to_float.resample(frame)]
        sr = frames[0].sample_rate
        y = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
        if container.format.name.startswith("mov"):
            y = y[:, : round(stream.duration * stream.time_base * sr)]
    return row_of(librosa.resample(librosa.to_mono(y), orig_sr=sr, target_sr=16000, res_type="soxr_hq"))
