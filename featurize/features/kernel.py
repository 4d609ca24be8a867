"""The two inner loops of the features, compiled for this processor by the LLVM that librosa's numba brings along.

`reference` says in numpy what they compute: `_mel_power` is its mel_power(), `_normalise` its normalise().

numpy is slower because a clip of one second takes some forty calls, each of which costs half a microsecond before it
computes anything and leaves a result that must be read again. For 32 frames these loops take 16 microseconds, numba
105 and scipy.fft 143 on the same machine. Importing numba and compiling Python with it takes many times as long as all
of this, and every short run would have to wait for it.
"""

import ctypes
from collections.abc import Callable
from functools import reduce

import numpy as np
import numpy.typing as npt
from llvmlite import ir

from featurize.features.fft import power_spectrum, twiddles
from featurize.features.llvm import (
    FLOAT,
    FLOATS,
    INDEX,
    INDICES,
    INT,
    INTS,
    LANES,
    Value,
    arguments,
    loop,
    machine_code,
    number,
)
from featurize.features.reference import Kernel

_POINTER = ctypes.c_void_p
_LN2 = float(np.log(2.0))
_SQRT_HALF_BITS = int(np.float32(np.sqrt(0.5)).view(np.int32))


def compile_kernel(
    window: npt.NDArray[np.float32],
    filterbank: npt.NDArray[np.float32],
    hop_length: int,
    n_frames: int,
    mel_stride: int,
) -> Kernel:
    """Compile the loops for a window of shape (n_fft,) and a filterbank of shape (n_mels, 1 + n_fft // 2).

    n_fft is a power of two, 64 at least. `n_frames`, the width of a row, is a multiple of `LANES`; `mel_stride` is the
    distance of one band of `mel` from the next, in floats.
    """
    n_fft, n_mels = len(window), len(filterbank)
    module = ir.Module()
    _mel_power(module, n_fft, hop_length, n_mels, mel_stride)
    _normalise(module, n_mels, n_frames, mel_stride)
    engine = machine_code(module)
    # The interpreter's lock is kept: a thread that released it for these microseconds would wait longer to get it back.
    mel_power = ctypes.PYFUNCTYPE(None, _POINTER, ctypes.c_int64, *[_POINTER] * 5)
    normalise = ctypes.PYFUNCTYPE(ctypes.c_float, _POINTER, ctypes.c_int64, *[_POINTER] * 3)
    return Kernel(
        mel_power(engine.get_function_address("mel_power")),
        normalise(engine.get_function_address("normalise")),
        np.concatenate([window, filterbank.ravel(), twiddles(n_fft)]),
        np.array([_bounds(band) for band in filterbank], np.int64),
        LANES,
        engine,
    )


def _bounds(band: npt.NDArray[np.float32]) -> tuple[int, int]:
    touched = np.flatnonzero(band)
    return (int(touched[0]), int(touched[-1]) + 1) if len(touched) else (0, 0)


def _mel_power(module: ir.Module, n_fft: int, hop_length: int, n_mels: int, mel_stride: int) -> None:
    floats = FLOAT.as_pointer()
    kinds = (floats, INDEX, floats, INDEX.as_pointer(), FLOATS.as_pointer(), floats, floats)
    samples, n_frames, window, bounds, scratch, peak, mel = arguments(module, "mel_power", ir.VoidType(), *kinds)
    n_bins = 1 + n_fft // 2
    weights = window.at(n_fft)
    factors = weights.at(n_mels * n_bins)
    zero = samples.value(ir.Constant(FLOATS, [0.0] * LANES))

    def frames(first: Value) -> None:
        power = power_spectrum(samples.at(first * hop_length), hop_length, n_fft, window, factors, scratch)
        within = _among(first, n_frames)

        def band(m: Value, highest: Value) -> tuple[Value]:
            def add_bin(k: Value, total: Value) -> tuple[Value]:
                return (total + weights.read(m * n_bins + k).spread() * power.read(k),)

            (total,) = loop(bounds.read(m * 2), bounds.read(m * 2 + 1), 1, add_bin, zero)
            mel.at(m * mel_stride + first).vectors().write(0, total)
            return (_highest(highest, within.choose(total, zero)),)

        (highest,) = loop(0, number(samples, n_mels), 1, band, peak.vectors().read())
        peak.vectors().write(0, highest)

    loop(0, n_frames, LANES, frames)
    samples.builder.ret_void()


def _normalise(module: ir.Module, n_mels: int, n_frames: int, mel_stride: int) -> None:
    floats = FLOAT.as_pointer()
    mel, n_used, peaks, floors, out = arguments(module, "normalise", FLOAT, floats, INDEX, floats, floats, floats)
    peak = _of_lanes(_highest, peaks.vectors().read())
    amin, dynamic_range, epsilon = (floors.read(i) for i in range(3))
    floor = _greater(amin, _greater(amin, peak) * dynamic_range).spread()

    def levels_of(m: Value, *extremes: Value) -> tuple[Value, ...]:
        def levels_at(c: Value, lowest: Value, highest: Value) -> tuple[Value, Value]:
            place = mel.at(m * mel_stride + c).vectors()
            level = _log(_greater(floor, place.read()))
            place.write(0, level)
            within = _among(c, n_used)
            return _lesser(lowest, within.choose(level, lowest)), _greater(highest, within.choose(level, highest))

        return loop(0, n_used, LANES, levels_at, *extremes)

    some_level = _log(floor)
    lowest, highest = loop(0, number(mel, n_mels), 1, levels_of, some_level.like(np.inf), some_level.like(-np.inf))
    lowest, highest = _of_lanes(_lesser, lowest).spread(), _of_lanes(_greater, highest).spread()
    width = highest - lowest + epsilon.spread()

    def row(m: Value) -> None:
        def columns(c: Value, _: Value) -> tuple[Value]:
            level = mel.at(m * mel_stride + c).vectors().read()
            scaled = (level - lowest) / width
            out.at(m * n_frames + c).vectors().write(0, _among(c, n_used).choose(scaled, zero))
            return (c + LANES,)

        def padding(c: Value) -> None:
            out.at(m * n_frames + c).vectors().write(0, zero)

        (end,) = loop(0, n_used, LANES, columns, number(mel, 0))
        loop(end, number(mel, n_frames), LANES, padding)

    zero = lowest.like(0.0)
    loop(0, number(mel, n_mels), 1, row)
    mel.builder.ret(peak.raw)


def _among(first: Value, n: Value) -> Value:
    """Whether the items that start with `first` are among n, lane by lane."""
    return first.spread() + first.value(ir.Constant(INDICES, list(range(LANES)))) < n.spread()


def _lesser(a: Value, b: Value) -> Value:
    return (b < a).choose(b, a)


def _greater(a: Value, b: Value) -> Value:
    return (a < b).choose(b, a)


def _highest(a: Value, b: Value) -> Value:
    """Return the greater of two powers, or NaN if one is: read as integers they are in order, and NaN is last."""
    kind = INTS if isinstance(a.raw.type, ir.VectorType) else INT
    return a.value(a.builder.icmp_unsigned("<", a.as_type(kind).raw, b.as_type(kind).raw)).choose(b, a)


def _of_lanes(combine: Callable[[Value, Value], Value], vector: Value) -> Value:
    lanes = [vector.value(vector.builder.extract_element(vector.raw, ir.Constant(INT, i))) for i in range(LANES)]
    return reduce(combine, lanes)


def _log(x: Value) -> Value:
    """Append the natural logarithm of positive numbers, within an ulp or two.

    With x = 2**e m and m from sqrt(1/2) to sqrt(2), it is e ln 2 + 2 artanh s for s = (m - 1) / (m + 1); |s| is below
    0.172, so five terms of the series are enough (Abramowitz and Stegun, Handbook of Mathematical Functions, 4.1.27).
    """
    b = x.builder
    bits = x.as_type(INTS)
    e = bits.value(b.ashr((bits - _SQRT_HALF_BITS).raw, bits.like(23).raw))
    m = (bits - bits.value(b.shl(e.raw, bits.like(23).raw))).as_type(FLOATS)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = s.like(2 / 9)
    for k in (7, 5, 3, 1):
        series = series * z + 2 / k
    return bits.value(b.sitofp(e.raw, FLOATS)) * _LN2 + series * s
