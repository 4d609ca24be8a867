"""Compare rows of a cache with what librosa itself makes of the same clips: librosa is the authority."""

import warnings
from pathlib import Path

import numpy as np

from cache.file.reader import Cache, open_cache
from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from cache.shared.segment import Segment, segment_of
from cache.shared.text import printable
from cache.shared.types import Float32

TOLERANCE = 1e-4

# Half of the distance between neighbouring float16 values just below 1.
_FLOAT16_ERROR = 2.0**-12


def compare(data: Path, cache_file: Path, n_rows: int) -> str:
    """Recompute `n_rows` random rows with librosa's own calls; return a line with the largest absolute difference.

    Raises a UserError if a row differs by more than 1e-4 (and float16's rounding), or its clip is not what it was.
    """
    cache = open_cache(cache_file)
    rows = np.sort(np.random.default_rng().choice(len(cache), min(n_rows, len(cache)), replace=False))
    tolerance = TOLERANCE + (_FLOAT16_ERROR if cache.X.dtype == np.float16 else 0.0)
    differences = [_difference(data, cache, int(i)) for i in rows]
    worst = int(np.argmax(differences))
    path = printable(cache.columns["path"][rows[worst]].decode())
    if differences[worst] > tolerance:
        raise UserError(
            f"{path} differs from librosa by {differences[worst]:.2g}, more than {tolerance:.2g};"
            f" please report it with the clip, and with these versions: {cache.header.versions}"
        )
    return f"{len(rows)} rows differ from librosa by at most {differences[worst]:.2g} ({path})"


def _difference(data: Path, cache: Cache, i: int) -> float:
    clip = cache.columns["path"][i].decode()
    segment = segment_of(clip)
    path = data / (segment.recording if segment else clip)
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the folder the cache was made from") from None
    if (status.st_size, status.st_mtime_ns) != (cache.columns["size"][i], cache.columns["mtime_ns"][i]):
        raise UserError(f"{path} changed since the cache was made; bring the cache up to date first")
    expected = librosa_spectrogram(path, cache.header.settings, segment)
    return float(np.abs(cache.X[i, :, :, 0].astype(np.float32) - expected).max())


def librosa_spectrogram(path: Path, s: MelSettings, segment: Segment | None = None) -> Float32:
    """Compute the normalised mel spectrogram of a file or a segment of it with librosa's own calls, step by step.

    The result has the shape (128, 128).
    """
    import librosa

    part: dict[str, float] = {}
    channel = 0
    if segment is not None:
        sr = librosa.get_samplerate(path)
        (first, last), channel = segment.samples(sr), segment.channel
        # librosa cuts seconds down to samples, so it is told half of one more.
        part = {"offset": (first + 0.5) / sr, "duration": (last - first + 0.5) / sr}
    y, _ = librosa.load(path, sr=s.sr, mono=s.mono and not channel, res_type=s.res_type, **part)
    return librosa_row(np.atleast_2d(y)[channel - 1] if channel else y, s)


def librosa_row(y: Float32, s: MelSettings) -> Float32:
    """Compute the normalised mel spectrogram of a mono waveform at `s.sr`, see `librosa_spectrogram`."""
    import librosa

    with warnings.catch_warnings():
        # librosa remarks on clips shorter than a frame, which have a row all the same.
        warnings.simplefilter("ignore")
        S = librosa.feature.melspectrogram(
            y=y,
            sr=s.sr,
            n_fft=s.n_fft,
            hop_length=s.hop_length,
            window=s.window,
            center=s.center,
            pad_mode=s.pad_mode,
            power=s.power,
            n_mels=s.n_mels,
            fmin=s.fmin,
            fmax=s.fmax,
            htk=s.htk,
            norm=s.norm,
        )
    S_db = librosa.power_to_db(S, ref=np.max, amin=s.amin, top_db=s.top_db)
    n_frames = S_db.shape[1]
    if n_frames > s.n_frames:
        start = (n_frames - s.n_frames) // 2
        S_db = S_db[:, start : start + s.n_frames]
    else:
        S_db = np.pad(S_db, ((0, 0), (0, s.n_frames - n_frames)), constant_values=S_db.min())
    lowest, highest = S_db.min(), S_db.max()
    normalised: Float32 = ((S_db - lowest) / (highest - lowest + 1e-8)).astype(np.float32)
    return normalised
