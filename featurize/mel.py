"""A waveform to its normalised mel spectrogram, equal to librosa's to within 1e-4 at a multiple of its speed."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cache.layout import Setting
from cache.terminal import UserError
from featurize.audio import ClipError

Float32 = npt.NDArray[np.float32]

# Part of the cache's fingerprint: raise it whenever a change here may change a bit of X.
FEATURE_VERSION = 1

# Frames are transformed this many at a time, always counted from the clip's first: the FFT treats a
# frame by its place in the call, so a clip read in blocks must meet the same calls as one read whole.
_FRAMES_PER_CALL = 64

# Mel bands multiplied together: a few neighbouring triangles touch only a narrow range of FFT bins.
_BANDS_PER_MATMUL = 16

# The kernel is written for these, and the file format for the shape; the other settings are free.
_FIXED = ("mono", "res_type", "window", "center", "pad_mode", "n_mels", "htk", "norm", "power", "ref", "n_frames")


@dataclass(frozen=True)
class MelSettings:
    """What the features depend on, by librosa's names; the defaults are the project's contract.

    Attributes
    ----------
    sr
        Sample rate in Hz to which every clip is resampled.
    n_fft, hop_length
        Frame length and step in samples.
    n_mels
        Mel bands, the height of a spectrogram.
    fmin, fmax
        Range of the mel filterbank in Hz.
    amin
        Power below which nothing is told apart from silence.
    top_db
        Dynamic range in dB below the clip's maximum.
    n_frames
        Frames after centre crop or right pad, the width of a spectrogram.
    """

    sr: int = 16000
    mono: bool = True
    res_type: str = "soxr_hq"
    n_fft: int = 1024
    hop_length: int = 512
    window: str = "hann"
    center: bool = True
    pad_mode: str = "constant"
    n_mels: int = 128
    fmin: float = 0.0
    fmax: float = 8000.0
    htk: bool = False
    norm: str = "slaney"
    power: float = 2.0
    ref: str = "max"
    amin: float = 1e-10
    top_db: float = 80.0
    n_frames: int = 128

    def __post_init__(self) -> None:
        for name in _FIXED:
            if getattr(self, name) != MelSettings.__dataclass_fields__[name].default:
                raise UserError(
                    f"this program computes {name} = {getattr(MelSettings, name)!r} only, not {getattr(self, name)!r}"
                )

    def __hash__(self) -> int:
        # Asked for once a clip; of all fields it would take longer than reading the clip.
        return hash((self.sr, self.n_fft, self.hop_length))

    def as_dict(self) -> dict[str, Setting]:
        """Return the settings by name, as the cache stores them."""
        return asdict(self)


def hz_to_mel(frequencies: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert Hz to Slaney's mels: linear below 1000 Hz, logarithmic above.

    Source: M. Slaney, Auditory Toolbox, Interval Research technical report 1998-010; the variant that
    `librosa.hz_to_mel(htk=False)` computes.
    """
    f = np.asarray(frequencies, np.float64)
    return np.where(f < 1000.0, f * 3 / 200, 15.0 + 27.0 * np.log(np.maximum(f, 1000.0) / 1000.0) / np.log(6.4))


def mel_to_hz(mels: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert Slaney's mels to Hz, the inverse of `hz_to_mel`."""
    m = np.asarray(mels, np.float64)
    return np.where(m < 15.0, m * 200 / 3, 1000.0 * np.exp(np.log(6.4) / 27.0 * (m - 15.0)))


def mel_filterbank(settings: MelSettings) -> Float32:
    """Triangles on the mel scale, each of unit area in Hz, as `librosa.filters.mel(norm="slaney")` makes them.

    Returns
    -------
    ndarray
        Weights, shape (n_mels, 1 + n_fft // 2), float32.
    """
    bins = np.fft.rfftfreq(settings.n_fft, 1 / settings.sr)
    lowest, highest = hz_to_mel([settings.fmin, settings.fmax])
    corners = mel_to_hz(np.linspace(lowest, highest, settings.n_mels + 2))
    widths = np.diff(corners)
    distance = corners[:, None] - bins
    rising = -distance[:-2] / widths[:-1, None]
    falling = distance[2:] / widths[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    return (triangles * (2.0 / (corners[2:] - corners[:-2]))[:, None]).astype(np.float32)


def n_frames_of(n_samples: int, settings: MelSettings) -> int:
    """Return how many frames a centred short-time transform of so many samples has, before crop or pad."""
    return 1 + n_samples // settings.hop_length


# Samples that are NaN or beyond measure are answered for the clip as a whole, at the end.
@np.errstate(over="ignore", invalid="ignore")
def write_spectrogram(blocks: Iterable[Float32], n_samples: int, settings: MelSettings, out: Float32) -> int:
    """Compute the normalised mel spectrogram of one clip.

    The steps are those of `librosa.feature.melspectrogram` and `librosa.power_to_db(ref=np.max)`, then a centre crop or
    a right pad with the minimum, then min-max to [0, 1]. The reference in the dB cancels in the min-max, so natural
    logarithms of the power, cut off `top_db` below the whole clip's maximum, give the same result.

    Parameters
    ----------
    blocks
        The mono waveform at `settings.sr` in consecutive blocks of any length, in [-1, 1] unless it is clipped.
        A clip gives the same bits however it is cut.
    n_samples
        The samples in all blocks together, or so it is announced; they decide which frames are the centre.
    settings
        What to compute.
    out
        Takes the result, shape (n_mels, n_frames), float32.

    Returns
    -------
    int
        The samples that there were. If they are not `n_samples`, the result is not centred and must be computed again.

    Raises
    ------
    ClipError
        A sample is NaN or infinite, or so large that its power is.
    """
    work = _workspace(settings)
    n_total = n_frames_of(n_samples, settings)
    first = max(0, (n_total - settings.n_frames) // 2)
    kept = work.kept[: min(n_total, settings.n_frames)]
    peak = np.float32(0)
    position = 0
    for mel in _mel_power(blocks, settings, work):
        peak = np.maximum(peak, mel.max())
        start, stop = max(first - position, 0), min(first + len(kept) - position, len(mel))
        if start < stop:
            kept[position + start - first : position + stop - first] = mel[start:stop]
        position += len(mel)
    if not np.isfinite(peak):
        raise ClipError("it has samples that are NaN, infinite or too large to square")
    # A clip that ends before the frames it announced leaves no stale frames of the clip before it.
    kept[max(0, position - first) :] = 0
    _normalise(kept, peak, work, out[:, : len(kept)])
    # The minimum of a spectrogram, which fills what is missing of it, becomes 0.
    out[:, len(kept) :] = 0
    return work.n_samples


def _normalise(kept: Float32, peak: np.float32, work: "_Workspace", out: Float32) -> None:
    floor = max(work.amin, max(peak, work.amin) * work.dynamic_range)
    level = np.log(np.maximum(kept, floor, out=kept), out=kept)
    lowest, highest = level.min(), level.max()
    np.divide(np.subtract(level, lowest, out=level).T, highest - lowest + work.epsilon, out=out)


class _Views(NamedTuple):
    """The parts of the buffers that so many frames use; a slice made anew costs as much as a small product."""

    frames: Float32
    windowed: Float32
    power: Float32
    mel: Float32
    products: list[tuple[Float32, Float32, Float32]]


class _Workspace(threading.local):
    """One thread's buffers: memory that is fresh for every clip costs a page fault for every 4 KiB of it."""

    def __init__(self, settings: MelSettings) -> None:
        # Here and not above: a run that finds nothing to do must not pay for it.
        from scipy.fft import rfft

        self.rfft = rfft
        self.n_samples = 0
        n_fft, hop = settings.n_fft, settings.hop_length
        n_bins = 1 + n_fft // 2
        # The periodic Hann window, as scipy.signal.get_window("hann", n_fft) has it.
        self.window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)
        self.silence = np.zeros(n_fft // 2, np.float32)
        self.segment = np.zeros((_FRAMES_PER_CALL - 1) * hop + n_fft, np.float32)
        self.frames = np.lib.stride_tricks.sliding_window_view(self.segment, n_fft)[::hop]
        self.windowed = np.empty((_FRAMES_PER_CALL, n_fft), np.float32)
        self.power = np.empty((_FRAMES_PER_CALL, n_bins), np.float32)
        self.mel = np.empty((_FRAMES_PER_CALL, settings.n_mels), np.float32)
        self.bands = list(_bands(mel_filterbank(settings)))
        self.views = [self._views(n) for n in range(_FRAMES_PER_CALL + 1)]
        self.kept = np.empty((settings.n_frames, settings.n_mels), np.float32)
        self.amin = np.float32(settings.amin)
        self.dynamic_range = np.float32(10.0 ** (-settings.top_db / 10.0))
        # The notebook adds 1e-8 dB to the range; ln(10) / 10 of that where the level is a natural logarithm of power.
        self.epsilon = np.float32(1e-8 * np.log(10.0) / 10.0)

    def _views(self, n: int) -> _Views:
        power, mel = self.power[:n], self.mel[:n]
        products = [(power[:, bins], weights, mel[:, bands]) for bands, bins, weights in self.bands]
        return _Views(self.frames[:n], self.windowed[:n], power, mel, products)


def prepare(settings: MelSettings) -> None:
    """Do now what the first clip would have to wait for."""
    _workspace(settings)


@cache
def _workspace(settings: MelSettings) -> _Workspace:
    return _Workspace(settings)


def _bands(filterbank: Float32) -> Iterator[tuple[slice, slice, Float32]]:
    """Cut the filterbank into groups of neighbouring bands: which bands, which bins they touch, their weights."""
    for start in range(0, len(filterbank), _BANDS_PER_MATMUL):
        bands = slice(start, start + _BANDS_PER_MATMUL)
        touched = np.flatnonzero(filterbank[bands].any(axis=0))
        bins = slice(int(touched[0]), int(touched[-1]) + 1) if len(touched) else slice(0, 1)
        yield bands, bins, np.ascontiguousarray(filterbank[bands, bins].T)


def _mel_power(blocks: Iterable[Float32], settings: MelSettings, work: _Workspace) -> Iterator[Float32]:
    """Yield the mel power spectrogram some frames at a time, (n, n_mels); the next overwrites it."""
    segment, n_fft, hop = work.segment, settings.n_fft, settings.hop_length
    # Centred frames: the first and the last are half over silence.
    filled = n_fft // 2
    segment[:filled] = 0
    work.n_samples = -len(work.silence)
    for block in chain(blocks, [work.silence]):
        taken = 0
        work.n_samples += len(block)
        while taken < len(block):
            n = min(len(block) - taken, len(segment) - filled)
            segment[filled : filled + n] = block[taken : taken + n]
            taken += n
            filled += n
            if filled == len(segment):
                yield _transform(_FRAMES_PER_CALL, work)
                # The frames overlap, so the end of this segment starts the next.
                segment[: n_fft - hop] = segment[hop * _FRAMES_PER_CALL :]
                filled = n_fft - hop
    if filled >= n_fft:
        yield _transform(1 + (filled - n_fft) // hop, work)


def _transform(n: int, work: _Workspace) -> Float32:
    frames, windowed, power, mel, products = work.views[n]
    np.multiply(frames, work.window, out=windowed)
    np.abs(work.rfft(windowed), out=power)
    np.square(power, out=power)
    for bins, weights, bands in products:
        np.matmul(bins, weights, out=bands)
    return mel
