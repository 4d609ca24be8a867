"""The reference: the window, the filterbank and the compiled loops in a few lines of numpy, which their tests compare.

Read this first; `fft` and `kernel` say the same in machine code. `reference_kernel` takes their place where there is no
machine code, at a fraction of the speed; its rows are the kernel's to within 1e-5.
"""

import ctypes
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cache.file.settings import MelSettings, hz_to_mel, mel_to_hz
from cache.shared.types import Float32


class Kernel(NamedTuple):
    """The two loops, which take addresses and trust them, and the tables that they need."""

    # mel_power(samples, n_frames, tables, bounds, scratch, peak, mel) transforms frames of samples. `tables` are the
    # window, the filterbank and the twiddles, `bounds` the bins that each band touches, first and past the last, `peak`
    # one vector that is raised to the largest results, NaN counting as more than infinity.
    mel_power: Callable[..., None]
    # normalise(mel, n_frames, peak, floors, out) turns what `mel_power` left into a row, and returns the largest of
    # `peak`. `floors` are those of floors_of().
    normalise: Callable[..., float]
    # For `mel_power`.
    tables: Float32
    bounds: npt.NDArray[np.int64]
    # Floats of a vector. Frames are transformed in groups of so many, the last of which may reach beyond n_frames.
    n_lanes: int
    engine: object  # owns the code


def hann_window(settings: MelSettings) -> Float32:
    """Return the periodic Hann window, as `scipy.signal.get_window("hann", n_fft)` has it, shape (n_fft,)."""
    turns = 2 * np.pi * np.arange(settings.n_fft) / settings.n_fft
    window: Float32 = (0.5 - 0.5 * np.cos(turns)).astype(np.float32)
    return window


def mel_filterbank(settings: MelSettings) -> Float32:
    """Triangles on the mel scale, each of unit area in Hz, as `librosa.filters.mel(norm="slaney")` makes them.

    The weights have the shape (n_mels, 1 + n_fft // 2).
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


def floors_of(settings: MelSettings) -> Float32:
    """Return the least power, the dynamic range as a ratio of powers, and what is added to the range of levels.

    The notebook adds 1e-8 dB, which is ln(10) / 10 of that where the level is a natural logarithm of power.
    """
    return np.array([settings.amin, 10.0 ** (-settings.top_db / 10.0), 1e-9 * np.log(10.0)], np.float32)


def power_spectrum(frames: Float32, window: Float32) -> Float32:
    """Return the power of the bins of every frame, from (n_frames, n_fft) to (n_frames, 1 + n_fft // 2), in float32.

    scipy's transform takes float32 through the same steps as the compiled one. numpy's rounds otherwise, and a row
    could differ by more than 1e-5 where a clear tone stands over near silence.
    """
    import scipy.fft

    transform = scipy.fft.rfft(frames * window)
    power: Float32 = transform.real**2 + transform.imag**2
    return power


def mel_power(samples: Float32, hop_length: int, window: Float32, filterbank: Float32) -> Float32:
    """Cut a waveform into frames, a step of `hop_length` samples apart, and sum the power of each in the mel bands.

    The result has the shape (n_mels, n_frames).
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, len(window))[::hop_length]
    result: Float32 = filterbank @ power_spectrum(frames, window).T
    return result


def normalise(mel: Float32, peak: float, floors: Float32) -> Float32:
    """Take powers, shape (n_mels, n_frames), to levels between 0 and 1; `floors` are those of floors_of().

    `peak` is the largest power of the clip, including the frames that are not in `mel`.
    """
    amin, dynamic_range, epsilon = floors
    level = np.log(np.maximum(mel, max(amin, max(amin, peak) * dynamic_range)))
    lowest, highest = level.min(), level.max()
    result: Float32 = (level - lowest) / (highest - lowest + epsilon)
    return result


def reference_kernel(window: Float32, filterbank: Float32, hop_length: int, n_frames: int, mel_stride: int) -> Kernel:
    """Return the functions above with the parameters of `featurize.features.kernel.compile_kernel`."""
    n_fft, n_mels = len(window), len(filterbank)

    def mel_at(address: int, n: int) -> Float32:
        rows = _floats(address, (n_mels - 1) * mel_stride + n)
        return np.lib.stride_tricks.as_strided(rows, (n_mels, n), (4 * mel_stride, 4))

    def mel_power_at(samples: int, n: int, _tables: int, _bounds: int, _scratch: int, peak: int, mel: int) -> None:
        with np.errstate(all="ignore"):
            power = mel_power(_floats(samples, (n - 1) * hop_length + n_fft), hop_length, window, filterbank)
            mel_at(mel, n)[:] = power
            _floats(peak, 1)[:] = np.maximum(_floats(peak, 1), power.max())

    def normalise_at(mel: int, n: int, peak: int, floors: int, out: int) -> float:
        highest, row = float(_floats(peak, 1)[0]), _floats(out, n_mels * n_frames).reshape(n_mels, n_frames)
        with np.errstate(all="ignore"):
            row[:, :n] = normalise(mel_at(mel, n), highest, _floats(floors, 3))
        row[:, n:] = 0
        return highest

    return Kernel(mel_power_at, normalise_at, window, np.zeros(0, np.int64), 1, None)


def _floats(address: int, n: int) -> Float32:
    return np.ctypeslib.as_array((ctypes.c_float * n).from_address(address))
