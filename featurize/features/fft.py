"""The power spectrum of real frames: a fast Fourier transform as machine code, with one frame in each lane.

`reference.power_spectrum` says what it computes. The algorithm is FFTPACK's for real sequences (P. N. Swarztrauber,
Vectorizing the FFTs, in Parallel Computations, Academic Press 1982), which scipy has, too, with the passes in this
order. As frames lie side by side in the lanes, a pass is the same for all of them and moves nothing across lanes.

**Recurrence.** A pass of radix 4 takes the transforms A, B, C and D of four sequences of m samples each and makes of
them the transform X of these sequences interleaved, a[0] b[0] c[0] d[0] a[1] b[1] .. With w = exp(-2 pi i / 4m)::

    X[h + q m] = A[h]  +  (-i)^q w^h B[h]  +  (-1)^q w^2h C[h]  +  i^q w^3h D[h]        h < m, q = 0 to 3

Samples are real, so X[4m - k] is the conjugate of X[k], and the bins from 0 to 2m are all there is to know. Bin h of A,
B, C and D gives four of them, h, m - h, m + h and 2m - h; bin 0 gives 0, m and 2m; bin m/2 gives m/2 and 3m/2.

**Storage** (half-complex). The transform of m real samples takes m numbers, in place of the samples::

    | Re 0 | Re 1 | Im 1 | Re 2 | Im 2 | .. | Re m/2 |

**Passes**, for n_fft = 1024; a set is four sequences, which lie a quarter of the buffer apart::

    samples, times the window    | 1024 sequences of 1 sample   |  256 sets
                                 |  256 transforms of 4         |   64 sets
                                 |   64 transforms of 16        |   16 sets
                                 |   16 transforms of 64        |    4 sets
                                 |    4 transforms of 256       |    1 set
    bins 0 to 512                |    1 transform of 1024, of which the last pass writes the power

Where n_fft is twice a power of four, a last pass of radix 2 joins two transforms: X[h + q m] = A[h] + (-1)^q w^h B[h]
with w = exp(-2 pi i / 2m).
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from featurize.features.llvm import LANES, Value, loop, number, transposed

_HALF_SQRT2 = float(np.float32(np.sqrt(0.5)))

# A bin of a transform: real and imaginary part.
_Bin = tuple[Value, Value]

# Writes a bin of X, given its number, real part and imaginary part; the first and the last have no imaginary part.
_Keep = Callable[[Value | int, Value, Value | None], None]


def _passes(n_fft: int) -> Iterator[tuple[int, int]]:
    """Yield the radix of every pass, and the number m of samples of the sequences that it takes."""
    m = 1
    while m < n_fft:
        radix = 4 if 4 * m <= n_fft else 2
        yield radix, m
        m *= radix


def _twiddles_of(radix: int, m: int) -> list[tuple[int, int]]:
    return [(j, h) for j in range(1, radix) for h in range(1, (m + 1) // 2)]


def twiddles(n_fft: int) -> npt.NDArray[np.float32]:
    """Return cosine and sine of 2 pi j h / (radix m) for every pass, j from 1 to radix - 1, h from 1 to m/2 - 1."""
    turns = [j * h / (radix * m) for radix, m in _passes(n_fft) for j, h in _twiddles_of(radix, m)]
    angles = 2 * np.pi * np.array(turns)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32).ravel()


def power_spectrum(frames: Value, hop_length: int, n_fft: int, window: Value, factors: Value, scratch: Value) -> Value:
    """Append the code that transforms `LANES` frames; n_fft is a power of two, 64 at least.

    `frames` points to the first sample of the first frame, and each further frame starts `hop_length` samples later.
    `window` and `factors` point to the window and the `twiddles`, and `scratch` to room for 2 n_fft vectors. The result
    points, into `scratch`, to the vectors of the bins from 0 to n_fft / 2.
    """
    source, target = scratch, scratch.at(n_fft)
    (_, *passes) = _passes(n_fft)
    _first_pass(frames, hop_length, n_fft, window, source)
    for radix, m in passes:
        join = _join_four if radix == 4 else _join_two
        join(n_fft // (radix * m), m, source, factors, target)
        factors = factors.at(2 * len(_twiddles_of(radix, m)))
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
            _first_of_four(samples, 1, _halfcomplex(target, (k + i) * 4, 4))

    loop(0, number(frames, quarter), LANES, sets)


def _join_four(n_sets: int, m: int, source: Value, factors: Value, target: Value) -> None:
    def set_of_four(k: Value) -> None:
        starts = [(k + j * n_sets) * m for j in range(4)]
        keep = _power(target) if n_sets == 1 else _halfcomplex(target, k * (4 * m), 4 * m)
        _first_of_four([source.read(start) for start in starts], m, keep)
        _middle_of_four([source.read(start + (m - 1)) for start in starts], m, keep)

        def bins(h: Value) -> None:
            first, *others = (_bin(source, start, h) for start in starts)
            turned = [_turned(one, factors.at(h * 2 + (j * (m - 2) - 2))) for j, one in enumerate(others)]
            _others_of_four(first, turned, h, m, keep)

        loop(1, number(source, m // 2), 1, bins)

    loop(0, number(source, n_sets), 1, set_of_four)


def _first_of_four(x: Sequence[Value], m: int, keep: _Keep) -> None:
    """Join the bins 0 of four transforms, which are real."""
    odd, even = x[3] + x[1], x[0] + x[2]
    keep(0, even + odd, None)
    keep(m, x[0] - x[2], x[3] - x[1])
    keep(2 * m, even - odd, None)


def _middle_of_four(x: Sequence[Value], m: int, keep: _Keep) -> None:
    """Join the bins m/2 of four transforms, which are real; w^h is an eighth of a turn."""
    re, im = (x[1] - x[3]) * _HALF_SQRT2, (x[1] + x[3]) * -_HALF_SQRT2
    keep(m // 2, x[0] + re, im - x[2])
    keep(3 * m // 2, x[0] - re, im + x[2])


def _others_of_four(first: _Bin, turned: Sequence[_Bin], h: Value, m: int, keep: _Keep) -> None:
    """Join bin h of four transforms, three of them times their powers of w^h."""
    (re0, im0), (re1, im1), (re2, im2), (re3, im3) = first, *turned
    re02, re0_2, im02, im0_2 = re0 + re2, re0 - re2, im0 + im2, im0 - im2
    re13, re3_1, im13, im1_3 = re3 + re1, re3 - re1, im1 + im3, im1 - im3
    keep(h, re02 + re13, im13 + im02)
    keep(h * -1 + 2 * m, re02 - re13, im13 - im02)
    keep(h + m, re0_2 + im1_3, re3_1 + im0_2)
    keep(h * -1 + m, re0_2 - im1_3, re3_1 - im0_2)


def _join_two(n_sets: int, m: int, source: Value, factors: Value, target: Value) -> None:
    assert n_sets == 1, "only the last pass has radix 2"
    keep, other = _power(target), number(source, m)
    first_re, other_re = source.read(), source.read(other)
    keep(0, first_re + other_re, None)
    keep(m, first_re - other_re, None)
    # The bins m/2 are real, and the one that is turned, by a quarter, becomes the imaginary part.
    keep(m // 2, source.read(m - 1), source.read(other + (m - 1)))

    def bins(h: Value) -> None:
        re0, im0 = _bin(source, number(source, 0), h)
        re1, im1 = _turned(_bin(source, other, h), factors.at(h * 2 - 2))
        keep(h, re0 + re1, im1 + im0)
        keep(h * -1 + m, re0 - re1, im1 - im0)

    loop(1, number(source, m // 2), 1, bins)


def _bin(source: Value, start: Value, h: Value) -> _Bin:
    return source.read(start + h * 2 - 1), source.read(start + h * 2)


def _turned(x: _Bin, factor: Value) -> _Bin:
    (re, im), cos, sin = x, factor.read().spread(), factor.read(1).spread()
    return cos * re + sin * im, cos * im - sin * re


def _halfcomplex(target: Value, start: Value, n: int) -> _Keep:
    """Write bins of the transform of n samples as half-complex numbers from `start` on."""

    def keep(h: Value | int, re: Value, im: Value | None) -> None:
        if im is None:
            target.write(start + (n - 1 if h else 0), re)
        else:
            target.write(start + h * 2 - 1, re)
            target.write(start + h * 2, im)

    return keep


def _power(target: Value) -> _Keep:
    def keep(h: Value | int, re: Value, im: Value | None) -> None:
        target.write(h, re * re if im is None else re * re + im * im)

    return keep
