"""The waveform of a clip: mono float32 at the wanted sample rate, as `librosa.load` gives it, in blocks."""

import math
from collections.abc import Generator
from typing import NamedTuple

import numpy as np

from cache.file.columns import ABOVE
from cache.shared.types import Float32
from featurize.audio.audio import Audio, Decoded, Reading

# Up to so many samples are resampled in one go.
_RESAMPLED_WHOLE = 1 << 18

# Channels cancel if together they are at most two steps of 16 bits, and each alone so many times as much.
_QUIET = 2.0**-14
_CANCELLED = 100

# A clip is named if more than this share of its energy lies where the features do not reach.
_MUCH = 0.5
_NO_ENERGY = 1e-30


class Sound(NamedTuple):
    """Properties of a clip that show while it is mixed and resampled."""

    decoded: Decoded  # its end
    lost: float  # the share of its energy that resampling took away
    cancelled: bool  # whether its channels are in opposite phase, so that their mean is next to nothing


Waveform = Generator[Float32, None, Sound]


def n_resampled(n_samples: int, sr_in: int, sr_out: int) -> int:
    """Return how many samples resampling makes of `n_samples`, by the formula of `librosa.resample`."""
    return n_samples if sr_in == sr_out else math.ceil(n_samples * (float(sr_out) / sr_in))


def resampled(y: Float32, sr_in: int, sr_out: int) -> Float32:
    """Resample a whole waveform, (n,), as `librosa.resample(res_type="soxr_hq")` does."""
    if sr_in == sr_out:
        return y
    import soxr

    return _of_length(soxr.resample(y, sr_in, sr_out, quality="soxr_hq"), n_resampled(len(y), sr_in, sr_out))


def mono_blocks(audio: Audio, sr: int) -> Waveform:
    """Yield the waveform at `sr` Hz: the mean of the channels, resampled by soxr's HQ filter.

    The blocks have the shape (n,), and the next one overwrites the one before. All of them together are what
    `librosa.load(path, sr=sr, res_type="soxr_hq")` returns, whatever the size of the blocks. Raises a ClipError if the
    file cannot be decoded to its end, or holds no samples.
    """
    if audio.sr == sr:
        return _mixed(audio)
    return _resampled_whole(audio, sr) if 0 < audio.n_samples <= _RESAMPLED_WHOLE else _resampled(audio, sr)


def _mixed(audio: Audio, room: Float32 | None = None) -> Waveform:
    """Yield the mean of the channels at the clip's own rate, in consecutive parts of `room` as far as that goes."""
    peak_mixed = peak_channel = 0.0
    n = 0
    blocks = Reading(audio.blocks())
    for block in blocks:
        out = None if room is None or n + len(block) > len(room) else room[n : n + len(block)]
        y = _mean(block, audio.scale, out)
        n += len(block)
        if audio.n_channels > 1 and peak_mixed < _QUIET:
            # One sample is nearly always enough to show that the clip is not quiet.
            peak_mixed = max(peak_mixed, abs(float(y[len(y) // 2])))
            if peak_mixed < _QUIET:
                peak_mixed = max(peak_mixed, float(y.max()), -float(y.min()))
                peak_channel = max(peak_channel, audio.scale * float(block.max()))
        yield y
    return Sound(blocks.result, 0.0, peak_mixed < _QUIET and peak_channel > _CANCELLED * peak_mixed)


def _mean(block: Float32, scale: float, out: Float32 | None) -> Float32:
    n_channels = block.shape[1]
    if n_channels == 1:
        y = block[:, 0]
        return y if out is None and scale == 1.0 else np.multiply(y, scale, out=y if out is None else out)
    # NaN and infinite samples are refused for the clip as a whole, when its row is finished.
    with np.errstate(over="ignore", invalid="ignore"):
        # Channel by channel: numpy's mean over a short last axis is ten times slower.
        out = np.add(block[:, 0], block[:, 1], out=out)
        for channel in range(2, n_channels):
            out += block[:, channel]
        # The scale is a power of two, so the order changes no bit.
        out /= n_channels / scale
    return out


def _resampled_whole(audio: Audio, sr: int) -> Waveform:
    # The same bits as from the stream, in four fifths of the time, or half of it where the clip is short.
    y, n = np.empty(audio.n_samples, np.float32), 0
    blocks = Reading(_mixed(audio, y))
    for block in blocks:
        if n + len(block) > len(y):  # longer than was expected
            y = np.concatenate((y[:n], block))
        n += len(block)
    result = resampled(y[:n], audio.sr, sr)
    yield result
    if audio.sr < sr:  # nothing can be lost
        return blocks.result
    return blocks.result._replace(lost=1 - _energy(result, sr) / max(_energy(y[:n], audio.sr), _NO_ENERGY))


def _energy(y: Float32, sr: int) -> float:
    return float(np.dot(y, y)) / sr


def _of_length(y: Float32, n_samples: int) -> Float32:
    # librosa makes the length exact: cut, or filled up with zeros.
    n_missing = n_samples - len(y)
    return y[:n_samples] if n_missing <= 0 else np.concatenate([y, np.zeros(n_missing, np.float32)])


def _resampled(audio: Audio, sr: int) -> Waveform:
    import soxr

    stream = soxr.ResampleStream(audio.sr, sr, 1, dtype="float32", quality="soxr_hq")
    n_in = n_out = 0
    before, after = _NO_ENERGY, 0.0
    blocks = Reading(_mixed(audio))
    for y in blocks:
        chunk = stream.resample_chunk(y)
        n_in, n_out = n_in + len(y), n_out + len(chunk)
        before, after = before + _energy(y, audio.sr), after + _energy(chunk, sr)
        yield chunk
    tail = stream.resample_chunk(np.empty(0, np.float32), last=True)
    yield _of_length(tail, max(0, n_resampled(n_in, audio.sr, sr) - n_out))
    return blocks.result._replace(lost=1 - (after + _energy(tail, sr)) / before)


def sound_remark(audio: Audio, sound: Sound, x: Float32, seconds: float, sr: int) -> str:
    """Return why little or nothing can be seen in a clip's row `x` of so many seconds, or "" if there is no reason."""
    if sound.cancelled:
        return "its channels are in opposite phase and cancel"
    if sound.decoded.n_samples > seconds * audio.sr and not x.any() and any(block.any() for block in audio.blocks()):
        return f"no sound in the {seconds:.2g} s that are used; there is sound elsewhere"
    if sound.lost > _MUCH and x.any():
        return f"{sound.lost:.0%} {ABOVE} {sr / 2000:g} kHz, which the features leave out"
    return ""
