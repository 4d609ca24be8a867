"""A waveform to its normalised mel spectrogram, equal to librosa's to within 1e-4 at a multiple of its speed.

Another feature takes the place of `write_spectrogram`. What must follow it: its settings in `cache.file.settings`, what
of them can be computed in `computable`, `FEATURE_VERSION`, its loops in `kernel`, the same in numpy in `twin`, its
steps by librosa in `check`, and its layer in `train.exporters.frontend`.
"""

import math
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain

import numpy as np
import numpy.typing as npt

from cache.file.columns import ROW_SHAPE
from cache.file.settings import MelSettings
from cache.look.mel_scale import hz_to_mel, mel_to_hz
from cache.shared.cli import notice
from cache.shared.errors import UserError
from featurize.audio.audio import ClipError
from featurize.audio.resample import resampled
from featurize.features.reference import Kernel, reference_kernel

Float32 = npt.NDArray[np.float32]

# Part of the cache's fingerprint: raise it whenever a change here may change a bit of X.
FEATURE_VERSION = 2

# Frames are transformed this many at a time: a multiple of the kernel's lanes.
_FRAMES_PER_CALL = 64

# Clips of a second, from the file to the row, on one core.
_TWIN_COSTS = "which takes about four times as long"

# A line of the processor's cache.
_LINE_FLOATS = 16

# The kernel is written for these, and the file format for the shape; the other settings are free.
_FIXED = ("mono", "res_type", "window", "center", "pad_mode", "n_mels", "htk", "norm", "power", "ref", "n_frames")


def computable(settings: MelSettings) -> MelSettings:
    """Return the settings if there is code for them.

    Raises
    ------
    UserError
        One of those that the kernel or the file format fixes is another, the kernel cannot cut or transform frames of
        this length, or a range is empty.
    """
    s = settings
    for name in _FIXED:
        if getattr(settings, name) != getattr(MelSettings, name):
            raise UserError(
                f"this program computes {name} = {getattr(MelSettings, name)!r} only, not {getattr(settings, name)!r}"
            )
    for fits, words in (
        (s.sr > 0, f"an sr above 0 only, not {s.sr}"),
        (s.n_fft in (64, 256, 1024, 4096), f"an n_fft of 64, 256, 1024 or 4096 only, not {s.n_fft}"),
        (0 < s.hop_length <= s.n_fft, f"a hop_length of 1 to n_fft = {s.n_fft}, not {s.hop_length}"),
        (0 <= s.fmin < s.fmax, f"0 <= fmin < fmax only, not {s.fmin} to {s.fmax}"),
        (s.amin > 0, f"an amin above 0 only, not {s.amin}"),
        (s.top_db > 0, f"a top_db above 0 only, not {s.top_db}"),
    ):
        if not fits:
            raise UserError(f"this program computes {words}")
    return settings


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


def spectrogram(y: Float32, sr: int, settings: MelSettings) -> Float32:
    """Compute the spectrogram of a waveform, as that of a file with these samples.

    Parameters
    ----------
    y
        Shape (n,), or (n, n_channels), of which the mean is taken.
    sr
        Its sample rate in Hz.
    settings
        What to compute.

    Returns
    -------
    ndarray
        Shape (128, 128, 1), float32, in [0, 1].

    Raises
    ------
    ClipError
        A sample is NaN, infinite or too large.
    """
    y = resampled(y if y.ndim == 1 else y.mean(axis=1), sr, settings.sr)
    out = np.empty(ROW_SHAPE, np.float32)
    write_spectrogram([y], len(y), settings, out[:, :, 0])
    return out


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
        Takes the result, shape (n_mels, n_frames), float32, contiguous.

    Returns
    -------
    int
        The samples that there were. If they are not `n_samples`, nothing was written: it must be computed again.

    Raises
    ------
    ClipError
        A sample is NaN or infinite, or so large that its power is.
    ValueError
        `out` is of another kind.
    """
    if out.shape != (settings.n_mels, settings.n_frames) or out.dtype != np.float32 or not out.flags.c_contiguous:
        # The kernel would write beside it.
        raise ValueError(f"out is {out.dtype} {out.shape}, not contiguous float32 of a row's shape")
    work = _workspace(settings)
    n_total = n_frames_of(n_samples, settings)
    first = max(0, (n_total - settings.n_frames) // 2)
    position = 0
    work.peak[:] = 0
    for n in _frames(blocks, settings, work):
        # What lies before the centre or behind it goes to the margins.
        column = min(max(position - first, -_FRAMES_PER_CALL), settings.n_frames)
        work.mel_power(work.at_segment, n, *work.at_tables, work.at_peak, work.at_mel + 4 * column)
        position += n
    if work.n_samples == n_samples:
        n_kept = min(n_total, settings.n_frames)
        peak = work.normalise(work.at_mel, n_kept, work.at_peak, work.at_floors, out.ctypes.data)
        if not math.isfinite(peak):
            raise ClipError("it has samples that are NaN, infinite or too large to square")
    return work.n_samples


class _Workspace(threading.local):
    """One thread's buffers, and where the kernel finds them; to ask for that takes longer than to transform a frame."""

    def __init__(self, settings: MelSettings) -> None:
        kernel = _kernel(computable(settings))
        self.mel_power, self.normalise = kernel.mel_power, kernel.normalise
        self.n_samples = 0
        self.silence = np.zeros(settings.n_fft // 2, np.float32)
        self.segment = _aligned((_FRAMES_PER_CALL - 1) * settings.hop_length + settings.n_fft)
        self.peak = _aligned(kernel.n_lanes)
        # The notebook adds 1e-8 dB to the range; ln(10) / 10 of that where the level is a natural logarithm of power.
        floors = np.array([settings.amin, 10.0 ** (-settings.top_db / 10.0), 1e-9 * np.log(10.0)], np.float32)
        scratch, mel = _aligned(2 * kernel.n_lanes * settings.n_fft), _aligned(settings.n_mels * _mel_stride(settings))
        self.at_segment, self.at_peak, self.at_floors = (a.ctypes.data for a in (self.segment, self.peak, floors))
        self.at_tables = [array.ctypes.data for array in (kernel.tables, kernel.bounds, scratch)]
        self.at_mel = mel[_FRAMES_PER_CALL:].ctypes.data
        self.kept_alive = kernel, floors, scratch, mel


def _mel_stride(settings: MelSettings) -> int:
    # A line more than are used, so that neighbouring bands do not crowd into the same part of the cache.
    return settings.n_frames + 2 * _FRAMES_PER_CALL + _LINE_FLOATS


def _aligned(n: int) -> Float32:
    """Return zeros that start on a cache line, or half of the kernel's vectors would lie on two."""
    room = np.zeros(n + _LINE_FLOATS, np.float32)
    start = -room.ctypes.data // 4 % _LINE_FLOATS
    return room[start : start + n]


def prepare(settings: MelSettings) -> None:
    """Do now what the first clip would have to wait for."""
    _workspace(settings)


@cache
def _workspace(settings: MelSettings) -> _Workspace:
    return _Workspace(settings)


@cache
def _kernel(settings: MelSettings) -> Kernel:
    # The periodic Hann window, as scipy.signal.get_window("hann", n_fft) has it.
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(settings.n_fft) / settings.n_fft)).astype(np.float32)
    filterbank, stride = mel_filterbank(settings), _mel_stride(settings)
    try:
        # Here and not above: a run that finds nothing to do must not pay for it.
        from featurize.features.kernel import compile_kernel

        return compile_kernel(window, filterbank, settings.hop_length, settings.n_frames, stride)
    except (ImportError, OSError, RuntimeError) as error:
        import multiprocessing

        # A worker's main process says so for all.
        if multiprocessing.parent_process() is None:
            reason = str(error).partition("\n")[0]
            notice(f"LLVM makes no code for this processor ({reason}); numpy computes the rows, {_TWIN_COSTS}")
        return reference_kernel(window, filterbank, settings.hop_length, settings.n_frames, stride)


def _frames(blocks: Iterable[Float32], settings: MelSettings, work: _Workspace) -> Iterator[int]:
    """Put the samples into `work.segment` and yield how many frames are there, until none are left."""
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
                yield _FRAMES_PER_CALL
                # The frames overlap, so the end of this segment starts the next.
                segment[: n_fft - hop] = segment[hop * _FRAMES_PER_CALL :]
                filled = n_fft - hop
    if filled >= n_fft:
        yield 1 + (filled - n_fft) // hop
