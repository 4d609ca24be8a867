"""Views: some seconds of a recording to see and to hear, around a finding; never more, however long the two are."""

from typing import NamedTuple

import numpy as np

from cache.file.settings import MelSettings
from cache.shared.segment import samples_of
from cache.shared.types import Float32
from featurize.audio.audio import ClipError
from featurize.audio.decode import open_audio
from featurize.audio.resample import resampled
from featurize.features.reference import hann_window, mel_filterbank, mel_power, normalise
from featurize.features.row import n_frames_of
from train.findings.find import Finding
from train.report.figures import spectrogram_png
from train.review.sound import LONGEST, encoded, playable

# A view shows at most so many rows of the features, one of them before its finding and one behind it.
_MOST_ROWS = 16


class View(NamedTuple):
    """A part of a recording: a WAV, and a spectrogram as a PNG."""

    sound: bytes
    picture: bytes


def span_of(finding: Finding, shift: int, settings: MelSettings) -> tuple[float, float]:
    """Return the seconds that a view shows: around the finding, or moved by so many halves of its length."""
    around = settings.row_seconds
    longest = min(LONGEST, _MOST_ROWS * around, finding.duration)
    length = min(finding.end - finding.start + 2 * around, longest)
    last = finding.duration - length
    start = min(max(0.0, min(max(0.0, finding.start - around), last) + shift * length / 2), last)
    return start, start + length


def view_of(finding: Finding, shift: int, settings: MelSettings) -> View:
    """Cut a view out of a recording; a ClipError says why it cannot be."""
    start, end = span_of(finding, shift, settings)
    with open_audio(str(finding.file)) as audio:
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
    floors = np.array([settings.amin, 10 ** (-settings.top_db / 10), 1e-9 * np.log(10)], np.float32)
    return normalise(mel, float(mel.max()), floors)
