"""A waveform to its normalised mel spectrogram, equal to librosa's to within 1e-4 at a multiple of its speed.

Another feature takes the place of `write_spectrogram`. These follow it: its settings in `cache.file.settings`, the
values that can be computed in `profiles`, `FEATURE_VERSION`, its loops in `kernel`, the same in numpy in `reference`,
its steps by librosa in `check`, and its layer in `train.exporters.frontend`.
"""

import ctypes
import math
import threading
from collections.abc import Iterable
from functools import cache
from itertools import chain

import numpy as np

from cache.file.columns import ROW_SHAPE
from cache.file.settings import MelSettings
from cache.shared.cli import notice
from cache.shared.types import Float32
from featurize.audio.audio import ClipError
from featurize.audio.resample import resampled
from featurize.features.reference import Kernel, floors_of, hann_window, mel_filterbank, reference_kernel

# Part of the cache's fingerprint: raise it whenever a change here may change a bit of X.
FEATURE_VERSION = 2

# Frames are transformed this many at a time: a multiple of the kernel's lanes.
N_FRAMES = 64

# The window lengths that there is machine code for.
COMPILED = tuple(2**i for i in range(6, 14))

_NOT_FINITE = "it has samples that are NaN, infinite or too large to square"

# A line of the processor's cache.
_LINE_FLOATS = 16

# A type of no size, for the address of an array.
_NO_BYTES = ctypes.c_char * 0


def n_frames_of(n_samples: int, settings: MelSettings) -> int:
    """Return how many frames a centred short-time transform of so many samples has, before crop or pad."""
    return 1 + n_samples // settings.hop_length


def check_reach(sr: int, settings: MelSettings) -> None:
    """Raise a ClipError if a clip of a sample rate holds nothing of what a row shows."""
    if sr <= 2 * settings.fmin:
        raise ClipError(f"it holds nothing above {sr / 2000:g} kHz, and a row begins at {settings.fmin / 1000:g} kHz")


def reach_remark(sr: int, settings: MelSettings) -> str:
    """Return a remark if a clip of a sample rate holds only a part of what a row shows; "" if it holds all."""
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
    buffers = prepare(settings)
    n_read = buffers.transform(blocks, n_samples)
    if n_read == n_samples and not math.isfinite(buffers.normalise(n_samples, out)):
        raise ClipError(_NOT_FINITE)
    return n_read


def energy(blocks: Iterable[Float32], n_samples: int, settings: MelSettings) -> float:
    """Return the energy that a row of a waveform shows: the sum of the powers in its bands and frames.

    `blocks` and `n_samples` are as for `write_spectrogram`. Raises a ClipError if a sample is NaN, infinite or too
    large.
    """
    buffers = prepare(settings)
    buffers.transform(blocks, n_samples)
    found = buffers.energy(n_samples)
    if not math.isfinite(found):
        raise ClipError(_NOT_FINITE)
    return found


class _Buffers:
    """The memory of one thread, whose addresses are kept: to ask numpy for one takes longer than to transform a frame.

    The power of each mel band lies in a line of its own::

        | 64 columns | the centre of the clip, which becomes the row: 128 columns | 64 columns | 16 columns |

    Frames before the centre go to the columns left of it and frames behind it to those right of it, where they
    overwrite each other: only their peak counts. The last columns keep the kernel from writing bands that follow each
    other to the same part of the processor's cache.
    """

    def __init__(self, settings: MelSettings) -> None:
        kernel = _kernel(settings)
        self._settings = settings
        # Samples of the frames to transform next; and zeros, over which the first and the last frame lie with one half.
        self._segment = _aligned((N_FRAMES - 1) * settings.hop_length + settings.n_fft)
        self._silence = np.zeros(settings.n_fft // 2, np.float32)
        self._peak, scratch = _aligned(kernel.n_lanes), _aligned(2 * kernel.n_lanes * settings.n_fft)
        mel, floors = _aligned(settings.n_mels * _stride(settings)), floors_of(settings)
        self._mel_power, self._normalise = kernel.mel_power, kernel.normalise
        self._at_segment, self._at_peak, self._at_floors = map(_address, (self._segment, self._peak, floors))
        self._at_tables = [_address(array) for array in (kernel.tables, kernel.bounds, scratch)]
        self._at_mel = _address(mel[N_FRAMES:])
        self._kept_alive = kernel, floors, scratch
        self._centre = mel.reshape(settings.n_mels, -1)[:, N_FRAMES : N_FRAMES + settings.n_frames]

    def transform(self, blocks: Iterable[Float32], n_samples: int) -> int:
        """Take a clip to the powers of its bands, and return the number of samples that there were."""
        segment, silence, n_fft, hop = self._segment, self._silence, self._settings.n_fft, self._settings.hop_length
        column = -max(0, (n_frames_of(n_samples, self._settings) - self._settings.n_frames) // 2)
        self._peak.fill(0)
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
                    self._transform_segment(N_FRAMES, column)
                    column += N_FRAMES
                    # The frames overlap, so the end of this segment starts the next.
                    filled = n_fft - hop
                    segment[:filled] = segment[hop * N_FRAMES :]
        if filled >= n_fft:
            self._transform_segment(1 + (filled - n_fft) // hop, column)
        return n_read

    def _transform_segment(self, n_frames: int, column: int) -> None:
        """Transform the first frames of the segment into the columns from `column` on; the centre begins at 0."""
        column = min(max(column, -N_FRAMES), self._settings.n_frames)
        self._mel_power(self._at_segment, n_frames, *self._at_tables, self._at_peak, self._at_mel + 4 * column)

    def energy(self, n_samples: int) -> float:
        """Return the sum of the powers in the centre, before they are normalised.

        It is not finite if any power of the clip is not.
        """
        return float(self._centre[:, : self._n_used(n_samples)].sum(dtype=np.float64)) + 0 * float(self._peak.max())

    def normalise(self, n_samples: int, out: Float32) -> float:
        """Write the levels in the centre to `out`, and 0 behind a clip that is shorter; return the clip's peak."""
        n_used = self._n_used(n_samples)
        return self._normalise(self._at_mel, n_used, self._at_peak, self._at_floors, _address(out))

    def _n_used(self, n_samples: int) -> int:
        return min(n_frames_of(n_samples, self._settings), self._settings.n_frames)


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[MelSettings, _Buffers] = {}


_PER_THREAD = _PerThread()


def prepare(settings: MelSettings) -> _Buffers:
    """Return this thread's buffers for some settings.

    The first call compiles the kernel, which takes 0.2 s; workers that are forked after it have it.
    """
    made = _PER_THREAD.buffers
    try:
        return made[settings]
    except KeyError:
        made[settings] = _Buffers(settings)
        return made[settings]


@cache
def _kernel(settings: MelSettings) -> Kernel:
    window, filterbank = hann_window(settings), mel_filterbank(settings)
    shape = settings.hop_length, settings.n_frames, _stride(settings)
    if settings.n_fft not in COMPILED:
        reason = f"there is no machine code for n_fft = {settings.n_fft}"
    else:
        try:
            # Imported here, because a run that finds nothing to do must not wait for it.
            from featurize.features.kernel import compile_kernel

            return compile_kernel(window, filterbank, *shape)
        except (ImportError, OSError, RuntimeError) as error:
            reason = f"LLVM makes no code for this processor ({str(error).partition(chr(10))[0]})"
    import multiprocessing

    # A worker's main process says so for all. Four times is for clips of a second, from the file to the row.
    if multiprocessing.parent_process() is None:
        notice(f"{reason}; numpy computes the rows, which takes about four times as long")
    return reference_kernel(window, filterbank, *shape)


def _stride(settings: MelSettings) -> int:
    return settings.n_frames + 2 * N_FRAMES + _LINE_FLOATS


def _aligned(n: int) -> Float32:
    """Return zeros that start on a line of the cache, or half of the kernel's vectors would lie on two."""
    room = np.zeros(n + _LINE_FLOATS, np.float32)
    start = -_address(room) // 4 % _LINE_FLOATS
    return room[start : start + n]


def _address(array: np.ndarray) -> int:
    return ctypes.addressof(_NO_BYTES.from_buffer(array.data))  # in less than half of the time of numpy's own ways
