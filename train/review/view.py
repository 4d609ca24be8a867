"""Sound and pictures of clips and recordings: a WAV that every browser plays, and a spectrogram, of a part of them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from cache.shared.segment import samples_of
from cache.shared.types import Float32
from featurize.audio.audio import ClipError
from featurize.audio.decode import open_audio
from featurize.audio.pieces import open_clip
from featurize.audio.resample import resampled
from featurize.features.reference import floors_of, hann_window, mel_filterbank, mel_power, normalise
from featurize.features.row import n_frames_of
from train.report.figures import spectrogram_png
from train.report.players import encoded, original_of

# Seconds of a longer clip that are sent, around what its row shows.
LONGEST = 60.0
_MOST_CHANNELS = 2
# A view of a finding shows at most so many rows of the features, one of them before the finding and one behind it.
_MOST_ROWS = 16


def wav_of(data: Path, path: str, duration: float, middle: float | None = None) -> bytes:
    """Decode a clip, which may be a segment, by its path in the cache; of a long one `LONGEST` as starts_at() says.

    Raises a UserError for the page if the path leads out of DATA, or the clip cannot be read.
    """
    with open_clip(str(original_of(data, path))) as audio:
        start = starts_at(duration, middle)
        first, last = round(start * audio.sr), round((start + min(duration, LONGEST)) * audio.sr) + audio.sr
        blocks = [playable(block) for _, block in audio.pieces([(first, last)])]
        if not blocks:
            raise UserError("it holds no samples")
        return encoded(np.concatenate(blocks)[: round(LONGEST * audio.sr)], audio.sr)


def starts_at(duration: float, middle: float | None = None) -> float:
    """Return where in a clip its WAV begins, in seconds, given the middle of what its row shows; None: its own."""
    middle = duration / 2 if middle is None else middle
    return max(0.0, min(middle - LONGEST / 2, duration - LONGEST))


def playable(block: Float32) -> Float32:
    """Return a block of samples, (n, n_channels), with as many channels as a browser plays."""
    return block if block.shape[1] <= _MOST_CHANNELS else block.mean(axis=1, keepdims=True)


class View(NamedTuple):
    """A part of a recording: a WAV, and a spectrogram as a PNG."""

    sound: bytes
    picture: bytes


def seconds_viewed(span: tuple[float, float], duration: float, view: int, settings: MelSettings) -> tuple[float, float]:
    """Return the seconds around a finding that a view shows; never more than `LONGEST`, however long the finding is.

    The view is moved by so many halves of its length, as far as the recording goes.
    """
    around = settings.row_seconds
    longest = min(LONGEST, _MOST_ROWS * around, duration)
    length = min(span[1] - span[0] + 2 * around, longest)
    last = duration - length
    start = min(max(0.0, min(max(0.0, span[0] - around), last) + view * length / 2), last)
    return start, start + length


def view_of(file: Path, start: float, end: float, settings: MelSettings) -> View:
    """Cut some seconds out of a recording; a ClipError says why they cannot be."""
    with open_audio(str(file)) as audio:
        blocks = [playable(block) for block in audio.span(*samples_of(start, end, audio.sr))]
        if not blocks:
            raise ClipError("the recording ends before")
        samples = np.concatenate(blocks)
        return View(encoded(samples, audio.sr), spectrogram_png(spectrogram(samples, audio.sr, settings)))


def spectrogram(samples: Float32, sr: int, settings: MelSettings) -> Float32:
    """Return a spectrogram like that of a row, of any length: (n, n_channels) to (n_mels, n_frames) in [0, 1]."""
    y = np.nan_to_num(resampled(samples.mean(axis=1), sr, settings.sr), posinf=0.0, neginf=0.0)
    half = np.zeros(settings.n_fft // 2, np.float32)
    filled = np.concatenate((half, y, half, half))  # at least one frame
    mel = mel_power(filled, settings.hop_length, hann_window(settings), mel_filterbank(settings))
    mel = mel[:, : n_frames_of(len(y), settings)]
    return normalise(mel, float(mel.max()), floors_of(settings))
