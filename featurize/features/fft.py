"""The power spectrum of real frames: a fast Fourier transform as machine code, a frame a lane.

What it computes is `twin`'s power_spectrum(), and this is how.

The algorithm is FFTPACK's for real sequences (P. N. Swarztrauber, Vectorizing the FFTs, in Parallel Computations,
Academic Press 1982), which scipy has, too, in passes of radix 4. A pass takes sets of four sequences of which it knows
the transforms, each of length ido, and makes of every set the transform of the four sequences interleaved.

A transform of m real samples is kept in m numbers: the real part of bin 0, the real and imaginary parts of the bins
from 1 to m / 2 - 1, and the real part of bin m / 2. As frames lie side by side in the lanes, a pass is the same for all
of them and moves nothing across lanes.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from featurize.features.llvm import LANES, Value, loop, number, transposed

_HALF_SQRT2 = float(np.float32(np.sqrt(0.5)))

# Keeps a bin of a transform, given its number, real part and imaginary part; the first and last have no imaginary part.
_Keep = Callable[[Value | int, Value, Value | None], None]


def _passes(n_fft: int) -> Iterator[tuple[int, int]]:
    """Yield the number of sets and ido of every pass."""
    ido = 1
    while ido < n_fft:
        yield n_fft // (4 * ido), ido
        ido *= 4


def twiddles(n_fft: int) -> npt.NDArray[np.float32]:
    """Return cosine and sine of 2 pi j h / (4 ido) for every pass, j from 1 to 3 and h from 1 to ido / 2 - 1."""
    turns = [j * h / (4 * ido) for _, ido in _passes(n_fft) for j in (1, 2, 3) for h in range(1, (ido + 1) // 2)]
    angles = 2 * np.pi * np.array(turns)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32).ravel()


def power_spectrum(frames: Value, hop_length: int, n_fft: int, window: Value, factors: Value, scratch: Value) -> Value:
    """Append the code that transforms `LANES` frames.

    Parameters
    ----------
    frames
        Pointer to the first sample of the first frame; each other one starts `hop_length` samples further.
    hop_length, n_fft
        In samples; n_fft is a power of four, 64 at least.
    window, factors
        Pointers to the window and the `twiddles`.
    scratch
        Pointer to room for 2 n_fft vectors.

    Returns
    -------
    Value
        Pointer, into `scratch`, to the vectors of the bins from 0 to n_fft / 2.
    """
    source, target = scratch, scratch.at(n_fft)
    _first_pass(frames, hop_length, n_fft, window, source)
    for n_sets, ido in list(_passes(n_fft))[1:]:
        _pass(n_sets, ido, source, factors, target)
        factors = factors.at(3 * (ido - 2))
        source, target = target, source
    return source


def _first_pass(frames: Value, hop_length: int, n_fft: int, window: Value, target: Value) -> None:
    quarter = n_fft // 4

    def windowed(start: Value) -> list[Value]:
        rows = [frames.at(start + lane * hop_length).vectors().read() for lane in range(LANES)]
        return [sample * window.read(start + i).spread() for i, sample in enumerate(transposed(rows))]

    def sets(k: Value) -> None:
        quarters = [windowed(k + j * quarter) for j in range(4)]
        for i, samples in enumerate(zip(*quarters, strict=True)):
            _first_bins(samples, 1, _halfcomplex(target, (k + i) * 4, 1))

    loop(0, number(frames, quarter), LANES, sets)


def _pass(n_sets: int, ido: int, source: Value, factors: Value, target: Value) -> None:
    def set_of_four(k: Value) -> None:
        starts = [(k + j * n_sets) * ido for j in range(4)]
        keep = _power(target) if n_sets == 1 else _halfcomplex(target, k * (4 * ido), ido)
        _first_bins([source.read(start) for start in starts], ido, keep)
        _middle_bins([source.read(start + (ido - 1)) for start in starts], ido, keep)

        def bins(h: Value) -> None:
            parts = [(source.read(start + h * 2 - 1), source.read(start + h * 2)) for start in starts]
            turns = [factors.at(h * 2 + ((j - 1) * (ido - 2) - 2)) for j in (1, 2, 3)]
            _other_bins(parts, turns, h, ido, keep)

        loop(1, number(source, ido // 2), 1, bins)

    loop(0, number(source, n_sets), 1, set_of_four)


def _first_bins(x: Sequence[Value], ido: int, keep: _Keep) -> None:
    """Combine the first bins of four transforms, which are real."""
    odd, even = x[3] + x[1], x[0] + x[2]
    keep(0, even + odd, None)
    keep(ido, x[0] - x[2], x[3] - x[1])
    keep(2 * ido, even - odd, None)


def _middle_bins(x: Sequence[Value], ido: int, keep: _Keep) -> None:
    """Combine the last bins of four transforms, which are real; they turn by eighths of a circle."""
    re, im = (x[1] - x[3]) * _HALF_SQRT2, (x[1] + x[3]) * -_HALF_SQRT2
    keep(ido // 2, x[0] + re, im - x[2])
    keep(3 * ido // 2, x[0] - re, im + x[2])


def _other_bins(x: Sequence[tuple[Value, Value]], turns: Sequence[Value], h: Value, ido: int, keep: _Keep) -> None:
    """Combine bin h of four transforms."""
    (re0, im0), (re1, im1), (re2, im2), (re3, im3) = x[0], *map(_turned, x[1:], turns)
    re02, re0_2, im02, im0_2 = re0 + re2, re0 - re2, im0 + im2, im0 - im2
    re13, re3_1, im13, im1_3 = re3 + re1, re3 - re1, im1 + im3, im1 - im3
    keep(h, re02 + re13, im13 + im02)
    keep(h * -1 + 2 * ido, re02 - re13, im13 - im02)
    keep(h + ido, re0_2 + im1_3, re3_1 + im0_2)
    keep(h * -1 + ido, re0_2 - im1_3, re3_1 - im0_2)


def _turned(x: tuple[Value, Value], factor: Value) -> tuple[Value, Value]:
    (re, im), cos, sin = x, factor.read().spread(), factor.read(1).spread()
    return cos * re + sin * im, cos * im - sin * re


def _halfcomplex(target: Value, start: Value, ido: int) -> _Keep:
    def keep(h: Value | int, re: Value, im: Value | None) -> None:
        if im is None:
            target.write(start + (4 * ido - 1 if h else 0), re)
        else:
            target.write(start + h * 2 - 1, re)
            target.write(start + h * 2, im)

    return keep


def _power(target: Value) -> _Keep:
    def keep(h: Value | int, re: Value, im: Value | None) -> None:
        target.write(h, re * re if im is None else re * re + im * im)

    return keep
