"""A waveform to its normalised mel spectrogram, equal to librosa's to within 1e-4 at a multiple of its speed.

Another feature takes the place of `write_spectrogram`. These follow it: its settings in `cache.file.settings`, the
values that can be computed in `computable`, `FEATURE_VERSION`, its loops in `kernel`, the same in numpy in `reference`,
its steps by librosa in `check`, and its layer in `train.exporters.frontend`.
"""

import math
from collections.abc import Iterable
from itertools import chain

import numpy as np

from cache.file.columns import ROW_SHAPE
from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from cache.shared.types import Float32
from featurize.audio.audio import ClipError
from featurize.audio.resample import resampled
from featurize.features.buffers import N_FRAMES, Buffers, buffers_of

# Part of the cache's fingerprint: raise it whenever a change here may change a bit of X.
FEATURE_VERSION = 2

# The kernel is written for these, and the file format for the shape; the other settings are free.
_FIXED = ("mono", "res_type", "window", "center", "pad_mode", "n_mels", "htk", "norm", "power", "ref", "n_frames")

_NOT_FINITE = "it has samples that are NaN, infinite or too large to square"


def computable(settings: MelSettings) -> MelSettings:
    """Return the settings if there is code for them.

    Raises a UserError if a setting that the code or the file format fixes has another value, or a value makes no sense.
    """
    s = settings
    for name in _FIXED:
        if getattr(settings, name) != getattr(MelSettings, name):
            raise UserError(
                f"this program computes {name} = {getattr(MelSettings, name)!r} only, not {getattr(settings, name)!r}"
            )
    for fits, words in (
        (1000 <= s.sr <= 1_000_000, f"an sr of 1000 to 1000000 Hz only, not {s.sr}"),
        (16 <= s.n_fft <= 65536 and s.n_fft % 2 == 0, f"an even n_fft of 16 to 65536 only, not {s.n_fft}"),
        (0 < s.hop_length <= s.n_fft, f"a hop_length of 1 to n_fft = {s.n_fft}, not {s.hop_length}"),
        (0 <= s.fmin < s.fmax < math.inf, f"0 <= fmin < fmax only, not {s.fmin} to {s.fmax}"),
        (s.fmin < s.sr / 2, f"an fmin below half of sr = {s.sr} only, not {s.fmin}"),
        (s.amin > 0, f"an amin above 0 only, not {s.amin}"),
        (s.top_db > 0, f"a top_db above 0 only, not {s.top_db}"),
    ):
        if not fits:
            raise UserError(f"this program computes {words}")
    return settings


def n_frames_of(n_samples: int, settings: MelSettings) -> int:
    """Return how many frames a centred short-time transform of so many samples has, before crop or pad."""
    return 1 + n_samples // settings.hop_length


def check_reach(sr: int, settings: MelSettings) -> None:
    """Raise a ClipError if a clip of a sample rate holds nothing of what a row shows."""
    if sr <= 2 * settings.fmin:
        raise ClipError(f"it holds nothing above {sr / 2000:g} kHz, and a row begins at {settings.fmin / 1000:g} kHz")


def reach_remark(sr: int, settings: MelSettings) -> str:
    """Return in words that a clip of a sample rate holds only a part of what a row shows, or ""."""
    if sr >= min(settings.sr, 2 * settings.fmax):
        return ""
    return f"nothing above {sr / 2000:g} kHz, and a row shows up to {settings.fmax / 1000:g} kHz"


def spectrogram(y: Float32, sr: int, settings: MelSettings) -> Float32:
    """Compute the spectrogram, shape (128, 128, 1), of a waveform, as that of a file with these samples.

    `y` has the shape (n,), or (n, n_channels), of which the mean is taken; `sr` is its sample rate in Hz. Raises a
    ClipError if a sample is NaN, infinite or too large.
    """
    y = resampled(y if y.ndim == 1 else y.mean(axis=1), sr, settings.sr)
    out = np.empty(ROW_SHAPE, np.float32)
    write_spectrogram([y], len(y), settings, out[:, :, 0])
    return out


def write_spectrogram(blocks: Iterable[Float32], n_samples: int, settings: MelSettings, out: Float32) -> int:
    """Compute the normalised mel spectrogram of one clip; return the number of samples that there were.

    If it is not `n_samples`, nothing was written: compute it again.

    The steps are those of `librosa.feature.melspectrogram` and `librosa.power_to_db(ref=np.max)`, then a centre crop or
    a right pad with the minimum, then min-max to [0, 1]. The reference in the dB cancels in the min-max, so natural
    logarithms of the power, cut off `top_db` below the whole clip's maximum, give the same result. Raises a ClipError
    if a sample is NaN or infinite, or so large that its power is, and a ValueError if `out` does not fit.

    Parameters
    ----------
    blocks
        The mono waveform at `settings.sr` in consecutive blocks of any length, in [-1, 1] unless it is clipped.
        A clip gives the same bits however it is cut.
    n_samples
        The expected number of samples in all blocks together, which decides where the centre is.
    out
        Takes the result, shape (n_mels, n_frames), float32, contiguous.
    """
    if out.shape != (settings.n_mels, settings.n_frames) or out.dtype != np.float32 or not out.flags.c_contiguous:
        # The kernel would write beside it.
        raise ValueError(f"out is {out.dtype} {out.shape}, not contiguous float32 of a row's shape")
    buffers = buffers_of(settings)
    n_read = _transform(blocks, n_samples, settings, buffers)
    n_used = min(n_frames_of(n_samples, settings), settings.n_frames)
    if n_read == n_samples and not math.isfinite(buffers.normalise(n_used, out)):
        raise ClipError(_NOT_FINITE)
    return n_read


def energy(blocks: Iterable[Float32], n_samples: int, settings: MelSettings) -> float:
    """Return the energy that a row of a waveform shows: the sum of the powers in its bands and frames.

    `blocks` and `n_samples` are as for `write_spectrogram`. Raises a ClipError if a sample is NaN, infinite or too
    large.
    """
    buffers = buffers_of(settings)
    _transform(blocks, n_samples, settings, buffers)
    found = buffers.energy(min(n_frames_of(n_samples, settings), settings.n_frames))
    if not math.isfinite(found):
        raise ClipError(_NOT_FINITE)
    return found


def _transform(blocks: Iterable[Float32], n_samples: int, settings: MelSettings, buffers: Buffers) -> int:
    """Leave the power of the bands in the buffers, and return the number of samples that there were."""
    segment, silence, n_fft, hop = buffers.segment, buffers.silence, settings.n_fft, settings.hop_length
    n_total = n_frames_of(n_samples, settings)
    column = -max(0, (n_total - settings.n_frames) // 2)
    buffers.begin()
    # Frames are centred, so the first and the last one lie half over silence.
    filled, n_read = len(silence), -len(silence)
    segment[:filled] = 0
    for block in chain(blocks, [silence]):
        taken, length = 0, len(block)
        n_read += length
        while taken < length:
            n = min(length - taken, len(segment) - filled)
            segment[filled : filled + n] = block[taken : taken + n]
            taken, filled = taken + n, filled + n
            if filled == len(segment):
                buffers.transform(N_FRAMES, column)
                column += N_FRAMES
                # The frames overlap, so the end of this segment starts the next.
                filled = n_fft - hop
                segment[:filled] = segment[hop * N_FRAMES :]
    if filled >= n_fft:
        buffers.transform(1 + (filled - n_fft) // hop, column)
    return n_read


def prepare(settings: MelSettings) -> None:
    """Compile the kernel now, so that workers that are forked have it."""
    buffers_of(settings)
