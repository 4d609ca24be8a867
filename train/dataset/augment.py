"""augment() and overlay(): spectrograms as other speakers, rooms and microphones might have given them.

They work on the cached features, a batch at a time, in NumPy, and only in training. Levels are in units of the
features: 1 is the whole range after power_to_db, 80 dB unless the cache has another `top_db`.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cache.shared.types import Float32

# The range that the amounts below are meant for, in dB.
_USUAL_DB = 80.0
_N_COSINES = 4
_MAX_TILT = 0.15


@dataclass(frozen=True)
class Augmentation:
    """How far each random change goes; 0 switches it off."""

    time_stretch: float = 0.2  # the clip becomes faster or slower by a factor of up to exp(time_stretch)
    # It moves to either side by up to this share of its frames; frames that move out are lost.
    time_shift: float = 0.125
    # Vocal tract length perturbation (Jaitly & Hinton 2013): the mel axis is scaled by up to 1 + mel_stretch.
    mel_stretch: float = 0.15
    mel_shift: float = 6.0  # the mel axis is moved by up to so many bands
    # Standard deviation of each of four cosines over the mel axis that are added, as another microphone would.
    equalizer: float = 0.05
    noise: float = 0.35  # highest level above silence, which is 0, of coloured noise
    noise_share: float = 0.7  # share of the clips that noise is added to
    gain: float = 0.1  # contrast changes by up to this share, and brightness by up to half of it
    n_masks: int = 2  # how many bands of silence there are on each axis (SpecAugment, Park et al. 2019)
    mel_mask: float = 8.0  # the most mel bands that one covers
    time_mask: float = 0.1  # the largest share of a clip's frames that one covers
    background: float = 0.4  # how far below a clip's own level a clip of the background class is mixed in at most
    background_share: float = 0.5  # share of the other clips that a background is mixed into
    # The `top_db` of the cache: how many decibels lie between the levels 0 and 1. Amounts that are levels are those for
    # 80 dB, and change as many decibels in another range.
    range_db: float = _USUAL_DB

    @property
    def unit(self) -> float:
        """The level that an amount of 1 stands for."""
        return _USUAL_DB / self.range_db

    @property
    def log_energy(self) -> float:
        """The natural logarithm of the ratio of energies between the levels 0 and 1."""
        return self.range_db / 10 * math.log(10)


def augment(
    X: npt.NDArray[np.floating], n_frames: npt.NDArray[np.integer], rng: np.random.Generator, settings: Augmentation
) -> Float32:
    """Return a randomly changed copy, float32 in [0, 1], of spectrograms in [0, 1], shape (n, n_mels, n_columns, 1).

    The columns of a clip from its `n_frames` on are padding, which is still 0 afterwards.
    """
    frames = np.clip(n_frames, 1, X.shape[2])[:, None].astype(np.float32)
    Y, is_clip = _warp(X[..., 0].astype(np.float32, copy=False), frames, rng, settings)
    Y += _equalizer(len(Y), Y.shape[1], rng, settings)[:, :, None]
    _add_noise(Y, rng, settings)
    _rescale(Y, is_clip)
    contrast, brightness = rng.uniform(-settings.gain, settings.gain, (2, len(Y), 1, 1)).astype(np.float32)
    Y *= 1 + contrast
    Y += brightness / 2
    np.clip(Y, 0, 1, out=Y)
    mel_mask, time_mask = _masks(Y.shape, frames, rng, settings)
    Y *= mel_mask[:, :, None]
    Y *= (time_mask & is_clip)[:, None, :]
    return Y[..., None]


def overlay(
    X: Float32,
    n_frames: npt.NDArray[np.integer],
    noise: npt.NDArray[np.floating],
    noise_frames: npt.NDArray[np.integer],
    rng: np.random.Generator,
    settings: Augmentation,
) -> Float32:
    """Mix a background, drawn for each, into spectrograms as augment() takes them.

    A background that is shorter than the clip is repeated. Padding is still 0, and no level is lower than before or
    more than 3 dB above the louder of the two.
    """
    n_columns = X.shape[2]
    rows = np.flatnonzero(rng.random(len(X)) < settings.background_share)
    which = rng.integers(len(noise), size=rows.shape)
    below = rng.uniform(0, settings.background * settings.unit, (len(rows), 1, 1)).astype(np.float32)
    start = rng.integers(n_columns, size=(len(rows), 1))
    column = (start + np.arange(n_columns)) % np.clip(noise_frames[which], 1, n_columns)[:, None]
    heard = np.take_along_axis(noise[which, :, :, 0].astype(np.float32), column[:, None, :], axis=2) - below
    both = _sum_of_levels(X[rows, :, :, 0], heard, settings.log_energy)
    mixed = X.copy()
    mixed[rows, :, :, 0] = both * (np.arange(n_columns) < n_frames[rows, None])[:, None, :]
    return mixed


def _sum_of_levels(a: Float32, b: Float32, log_energy: float) -> Float32:
    """Return the level of the energy of both together."""
    apart = np.abs(a - b)
    apart *= -log_energy
    both: Float32 = np.maximum(a, b) + np.log1p(np.exp(apart)) / log_energy
    return both


def _warp(
    X: Float32, frames: Float32, rng: np.random.Generator, settings: Augmentation
) -> tuple[Float32, npt.NDArray[np.bool_]]:
    """Stretch and shift both axes by linear interpolation; the second result marks the columns that show the clip."""
    n, n_mels, n_columns = X.shape
    column, band = np.arange(n_columns), np.arange(n_mels)
    speed = np.exp(rng.uniform(-settings.time_stretch, settings.time_stretch, (n, 1)))
    shift = rng.uniform(-settings.time_shift, settings.time_shift, (n, 1)) * frames
    source = column * speed + shift
    is_clip = (source >= -0.5) & (source <= frames - 0.5) & (column < frames)
    scale = 1 + rng.uniform(-settings.mel_stretch, settings.mel_stretch, (n, 1))
    offset = rng.uniform(-settings.mel_shift, settings.mel_shift, (n, 1))
    Y = _read(X, np.clip(band * scale + offset, 0, n_mels - 1))
    Y = _read(Y.transpose(0, 2, 1), np.clip(source, 0, frames - 1)).transpose(0, 2, 1)
    return np.ascontiguousarray(Y), is_clip


def _read(X: Float32, source: npt.NDArray[np.floating]) -> Float32:
    """Return X, shape (n, length, width), at the positions `source` of its second axis, shape (n, m): (n, m, width)."""
    row, below = np.arange(len(X))[:, None], source.astype(np.intp)
    share = (source - below).astype(np.float32)[:, :, None]
    Y = X[row, below]
    Y += share * (X[row, np.minimum(below + 1, X.shape[1] - 1)] - Y)
    return Y


def _equalizer(n: int, n_mels: int, rng: np.random.Generator, settings: Augmentation) -> Float32:
    turns = np.arange(_N_COSINES)[:, None] * (np.arange(n_mels) + 0.5) / n_mels
    weights = rng.normal(0, settings.equalizer * settings.unit, (n, _N_COSINES))
    return (weights @ np.cos(np.pi * turns)).astype(np.float32)


def _add_noise(Y: Float32, rng: np.random.Generator, settings: Augmentation) -> None:
    """Add the energy of noise with a random level and a random tilt over the mel axis."""
    noisy = np.flatnonzero(rng.random(len(Y)) < settings.noise_share)
    if not (settings.noise and len(noisy)):
        return
    _, n_mels, n_columns = Y.shape
    level = rng.uniform(0, settings.noise * settings.unit, (len(noisy), 1, 1)).astype(np.float32)
    tilt = rng.uniform(-_MAX_TILT, _MAX_TILT, (len(noisy), 1, 1)) * np.linspace(-1, 1, n_mels)[:, None]
    tilt *= settings.unit
    # A mel band averages several bins of the spectrum, so its energy varies less than the exponential of a single bin.
    scatter = np.log(rng.standard_exponential((len(noisy), n_mels, n_columns), np.float32) + 1e-3)
    scatter /= 1.5 * settings.log_energy
    Y[noisy] = _sum_of_levels(Y[noisy], level + tilt.astype(np.float32) + scatter, settings.log_energy)


def _rescale(Y: Float32, is_clip: npt.NDArray[np.bool_]) -> None:
    """Bring each clip back to the range from 0 to 1, as the features of a real clip would have it."""
    # A reduction over the mel axis first, without a condition, takes a fifth of the time.
    low = np.where(is_clip, Y.min(axis=1), np.inf).min(axis=1)[:, None, None]
    high = np.where(is_clip, Y.max(axis=1), -np.inf).max(axis=1)[:, None, None]
    # A clip that has moved out completely stays as it is: all of it is padding.
    low = np.where(np.isfinite(low), low, 0)
    Y -= low
    Y /= np.maximum(np.where(np.isfinite(high), high, 1) - low, 1e-3)


def _masks(
    shape: tuple[int, ...], frames: Float32, rng: np.random.Generator, settings: Augmentation
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which mel bands, shape (n, n_mels), and which columns, shape (n, n_columns), stay visible."""
    n, n_mels, n_columns = shape
    bands, columns = np.ones((n, n_mels), np.bool_), np.ones((n, n_columns), np.bool_)
    for _ in range(settings.n_masks):
        bands &= _outside(n_mels, rng.uniform(0, settings.mel_mask, (n, 1)), np.full((n, 1), n_mels), rng)
        columns &= _outside(n_columns, rng.uniform(0, settings.time_mask, (n, 1)) * frames, frames, rng)
    return bands, columns


def _outside(
    n: int, width: npt.NDArray[np.floating], end: npt.NDArray[np.floating], rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Return which of n positions lie outside of a span of that width, placed at random before `end`."""
    start = rng.uniform(0, 1, width.shape) * (end - width)
    position = np.arange(n)
    return (position < start) | (position >= start + width)
