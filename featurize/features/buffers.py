"""Buffers: the memory in which one thread transforms a clip, and the loops that work on it."""

import threading
from functools import cache

import numpy as np

from cache.file.settings import MelSettings
from cache.shared.cli import notice
from cache.shared.types import Float32
from featurize.features.reference import Kernel, hann_window, mel_filterbank, reference_kernel

# Frames are transformed this many at a time: a multiple of the kernel's lanes.
N_FRAMES = 64

# The window lengths that there is machine code for.
COMPILED = tuple(2**i for i in range(6, 14))

# For clips of a second, from the file to the row, on one core.
_COST = "which takes about four times as long"

# A line of the processor's cache.
_LINE_FLOATS = 16


class Buffers:
    """The memory of one thread, whose addresses are kept: to ask numpy for one takes longer than to transform a frame.

    The power of each mel band lies in a line of its own::

        | 64 columns | the centre of the clip, which becomes the row: 128 columns | 64 columns | 16 columns |

    Frames before the centre go to the columns left of it and frames behind it to those right of it, where they
    overwrite each other: only their peak counts. The last columns keep the kernel from writing bands that follow each
    other to the same part of the processor's cache.

    Attributes
    ----------
    segment
        Samples of the frames to transform next.
    silence
        Zeros, over which the first and the last frame lie with one half.
    """

    def __init__(self, settings: MelSettings) -> None:
        kernel = _kernel(settings)
        n_fft, self._n_columns = settings.n_fft, settings.n_frames
        self.segment = _aligned((N_FRAMES - 1) * settings.hop_length + n_fft)
        self.silence = np.zeros(n_fft // 2, np.float32)
        self._peak, scratch = _aligned(kernel.n_lanes), _aligned(2 * kernel.n_lanes * n_fft)
        mel = _aligned(settings.n_mels * _stride(settings))
        # The notebook adds 1e-8 dB to the range; ln(10) / 10 of that where the level is a natural logarithm of power.
        floors = np.array([settings.amin, 10.0 ** (-settings.top_db / 10.0), 1e-9 * np.log(10.0)], np.float32)
        self._mel_power, self._normalise = kernel.mel_power, kernel.normalise
        self._at_segment, self._at_peak, self._at_floors = map(_address, (self.segment, self._peak, floors))
        self._at_tables = [_address(array) for array in (kernel.tables, kernel.bounds, scratch)]
        self._at_mel = _address(mel[N_FRAMES:])
        self._kept_alive = kernel, floors, scratch
        self._centre = mel.reshape(settings.n_mels, -1)[:, N_FRAMES : N_FRAMES + settings.n_frames]

    def begin(self) -> None:
        """Forget the peak of the clip before."""
        self._peak[:] = 0

    def transform(self, n_frames: int, column: int) -> None:
        """Transform the first frames of `segment` into the columns from `column` on; the centre begins at 0."""
        column = min(max(column, -N_FRAMES), self._n_columns)
        self._mel_power(self._at_segment, n_frames, *self._at_tables, self._at_peak, self._at_mel + 4 * column)

    def energy(self, n_used: int) -> float:
        """Return the sum of the powers in the first `n_used` columns, before they are normalised.

        It is not finite if any power of the clip is not.
        """
        return float(self._centre[:, :n_used].sum(dtype=np.float64)) + 0 * float(self._peak.max())

    def normalise(self, n_used: int, out: Float32) -> float:
        """Write the levels of the first `n_used` columns to `out`, and 0 behind them; return the peak of the clip."""
        return self._normalise(self._at_mel, n_used, self._at_peak, self._at_floors, _address(out))


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[MelSettings, Buffers] = {}


_PER_THREAD = _PerThread()


def buffers_of(settings: MelSettings) -> Buffers:
    """Return this thread's buffers for some settings; the first call compiles the kernel, which takes 0.2 s."""
    made = _PER_THREAD.buffers
    try:
        return made[settings]
    except KeyError:
        made[settings] = Buffers(settings)
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

    # A worker's main process says so for all.
    if multiprocessing.parent_process() is None:
        notice(f"{reason}; numpy computes the rows, {_COST}")
    return reference_kernel(window, filterbank, *shape)


def _stride(settings: MelSettings) -> int:
    return settings.n_frames + 2 * N_FRAMES + _LINE_FLOATS


def _aligned(n: int) -> Float32:
    """Return zeros that start on a line of the cache, or half of the kernel's vectors would lie on two."""
    room = np.zeros(n + _LINE_FLOATS, np.float32)
    start = -_address(room) // 4 % _LINE_FLOATS
    return room[start : start + n]


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]  # twice as fast as array.ctypes.data
    return address
