"""The authority that features are tested against: the course notebook's steps, by librosa's own calls."""

import warnings
from pathlib import Path

import av
import librosa
import numpy as np
import numpy.typing as npt


def db_spectrogram(y: npt.NDArray[np.float32], sr: int = 16000) -> npt.NDArray[np.float32]:
    """Mel spectrogram of a waveform in dB re its maximum, shape (128, n_frames)."""
    with warnings.catch_warnings():
        # librosa remarks on clips shorter than a frame; the notebook has them all the same.
        warnings.simplefilter("ignore")
        S = librosa.feature.melspectrogram(y=y, sr=sr, n_fft=1024, hop_length=512, n_mels=128, power=2.0)
    return librosa.power_to_db(S, ref=np.max)


def fixed(S_db: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Centre crop or pad to 128 frames, then min-max, shape (128, 128, 1)."""
    n_frames = S_db.shape[1]
    if n_frames > 128:
        start = (n_frames - 128) // 2
        S_db = S_db[:, start : start + 128]
    elif n_frames < 128:
        S_db = np.pad(S_db, ((0, 0), (0, 128 - n_frames)), mode="constant", constant_values=(S_db.min(),))
    S_norm = (S_db - S_db.min()) / (S_db.max() - S_db.min() + 1e-8)
    return S_norm.astype("float32")[..., np.newaxis]


def notebook(path: Path) -> npt.NDArray[np.float32]:
    """One clip as the notebook makes it, shape (128, 128, 1), float32."""
    y, _ = librosa.load(path, sr=16000)
    return fixed(db_spectrogram(y))


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
    mono = librosa.to_mono(y)
    return fixed(db_spectrogram(librosa.resample(mono, orig_sr=sr, target_sr=16000, res_type="soxr_hq")))
