"""The waveform of a clip: mono float32 at the wanted sample rate, as `librosa.load` gives it, in blocks."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from cache.file.layout import ABOVE
from featurize.audio.audio import Audio, Float32

# Up to so many samples are resampled in one go.
_RESAMPLED_WHOLE = 1 << 18

# Channels cancel if together they are at most two steps of 16 bits, and each alone so many times as much.
_QUIET = 2.0**-14
_CANCELLED = 100
# Nearly always so few samples tell that all of them are not quiet.
_PROBED = 1024

# A clip is named if more than this share of its energy lies where the features do not reach.
_MUCH = 0.5
_NO_ENERGY = 1e-30


def n_resampled(n_samples: int, sr_in: int, sr_out: int) -> int:
    """Return how many samples so many become, by the formula of `librosa.resample`."""
    return n_samples if sr_in == sr_out else math.ceil(n_samples * (float(sr_out) / sr_in))


def resampled(y: Float32, sr_in: int, sr_out: int) -> Float32:
    """Resample a whole waveform, (n,), as `librosa.resample(res_type="soxr_hq")` does."""
    if sr_in == sr_out:
        return y
    import soxr

    return _of_length(soxr.resample(y, sr_in, sr_out, quality="soxr_hq"), n_resampled(len(y), sr_in, sr_out))


def mono_blocks(audio: Audio, sr: int) -> Iterable[Float32]:
    """Give the waveform: the mean of the channels, resampled by soxr's HQ filter.

    Parameters
    ----------
    audio
        An open clip.
    sr
        Sample rate of the result in Hz.

    Returns
    -------
    iterable of ndarray
        Consecutive samples, shape (n,), float32; the next block overwrites one. All of them together are what
        `librosa.load(path, sr=sr, res_type="soxr_hq")` returns, whatever the size of the blocks.

    Raises
    ------
    ClipError
        The file cannot be decoded to its end, or holds no samples.
    """
    if audio.sr == sr:
        return (_mix(audio, block) for block in audio.blocks())
    return _resampled_whole(audio, sr) if 0 < audio.n_samples <= _RESAMPLED_WHOLE else _resampled(audio, sr)


def _resampled_whole(audio: Audio, sr: int) -> Iterator[Float32]:
    # Bit for bit what the stream gives, in four fifths of the time, or half of it where the clip is short.
    y, n = np.empty(audio.n_samples, np.float32), 0
    for block in audio.blocks():
        if n + len(block) > len(y):
            # Longer than was expected.
            y = np.concatenate((y[:n], np.empty(len(y) + len(block), np.float32)))
        _mix(audio, block, y[n : n + len(block)])
        n += len(block)
    result = resampled(y[:n], audio.sr, sr)
    audio.lost = 1 - _energy(result, sr) / max(_energy(y[:n], audio.sr), _NO_ENERGY)
    yield result


def _energy(y: Float32, sr: int) -> float:
    return float(np.dot(y, y)) / sr


def _of_length(y: Float32, n_samples: int) -> Float32:
    # librosa makes the length exact: cut, or filled up with zeros.
    n_missing = n_samples - len(y)
    return y[:n_samples] if n_missing <= 0 else np.concatenate([y, np.zeros(n_missing, np.float32)])


def _resampled(audio: Audio, sr: int) -> Iterator[Float32]:
    import soxr

    stream = soxr.ResampleStream(audio.sr, sr, 1, dtype="float32", quality="soxr_hq")
    n_in = n_out = 0
    heard, kept = _NO_ENERGY, 0.0
    for block in audio.blocks():
        n_in += len(block)
        y = _mix(audio, block)
        chunk = stream.resample_chunk(y)
        n_out += len(chunk)
        heard, kept = heard + _energy(y, audio.sr), kept + _energy(chunk, sr)
        yield chunk
    tail = stream.resample_chunk(np.empty(0, np.float32), last=True)
    audio.lost = 1 - (kept + _energy(tail, sr)) / heard
    yield _of_length(tail, max(0, n_resampled(n_in, audio.sr, sr) - n_out))


def sound_remark(audio: Audio, x: Float32, seconds: float, sr: int) -> str:
    """Say of a clip that was read why there is little or nothing to see of it; "" if that needs no words.

    Parameters
    ----------
    audio
        The clip.
    x
        Its row.
    seconds
        How much of a clip a row shows.
    sr
        The sample rate of the features in Hz.
    """
    if audio.mixed_peak < _QUIET and audio.channel_peak > _CANCELLED * audio.mixed_peak:
        return "its channels are in opposite phase and cancel"
    if audio.n_decoded > seconds * audio.sr and not x.any() and any(block.any() for block in audio.blocks()):
        return f"no sound in the {seconds:.1f} s that are used; there is sound elsewhere"
    if audio.lost > _MUCH and x.any():
        return f"{audio.lost:.0%} {ABOVE} {sr / 2000:g} kHz, which the features leave out"
    return ""


def _mix(audio: Audio, block: Float32, out: Float32 | None = None) -> Float32:
    n_channels, scale = block.shape[1], audio.scale
    if n_channels == 1:
        y = block[:, 0]
        return y if out is None and scale == 1.0 else np.multiply(y, scale, out=y if out is None else out)
    # Channel by channel: numpy's mean over a short last axis is ten times slower.
    # Samples that are NaN or beyond measure are answered for the clip as a whole, at the end.
    with np.errstate(over="ignore", invalid="ignore"):
        out = np.add(block[:, 0], block[:, 1], out=out)
        for channel in range(2, n_channels):
            out += block[:, channel]
        # A scale is a power of two, so the order matters to no bit.
        out /= n_channels / scale
    for part in (out[:_PROBED], out):
        if audio.mixed_peak < _QUIET:
            audio.mixed_peak = max(audio.mixed_peak, float(part.max()), -float(part.min()))
    if audio.mixed_peak < _QUIET:
        audio.channel_peak = max(audio.channel_peak, scale * float(block.max()))
    return out
