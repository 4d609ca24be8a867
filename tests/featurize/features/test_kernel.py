"""The compiled loops: right to a few ulps, and to the bit the same for any place of a frame and any processor."""

import platform
from itertools import product

import llvmlite.binding as llvm
import numpy as np
import pytest
import scipy.fft

from featurize.features.kernel import compile_kernel
from featurize.features.row import COMPILED

N_FRAMES, STRIDE = 24, 40
QUIET = (1e-30, 0.0, 0.0)


def aligned(n, fill=0.0):
    room = np.full(n + 16, fill, np.float32)
    start = -room.ctypes.data // 4 % 16
    return room[start : start + n]


def noise(n_samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, n_samples).astype(np.float32)


def hann(n_fft):
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)


def compiled(n_fft=64, hop_length=32, filterbank=None):
    filterbank = np.eye(1 + n_fft // 2, dtype=np.float32) if filterbank is None else filterbank
    return compile_kernel(hann(n_fft), filterbank, hop_length, N_FRAMES, STRIDE)


def room_for(n_frames, n_fft, hop_length):
    """Samples that the last group of lanes may reach for."""
    return -(-n_frames // 8) * 8 * hop_length + n_fft


def mel_power(kernel, y, n_frames, n_fft, n_mels, peak=None):
    """Mel power of the first frames of y, shape (n_mels, n_frames), and the largest of it in every lane."""
    peak = aligned(8) if peak is None else peak
    scratch, mel = aligned(2 * 8 * n_fft), np.zeros((n_mels, STRIDE), np.float32)
    arrays = kernel.tables, kernel.bounds, scratch, peak, mel
    kernel.mel_power(y.ctypes.data, n_frames, *(array.ctypes.data for array in arrays))
    return mel[:, :n_frames], peak


def spectrum(y, n_frames, n_fft=64, hop_length=32, kernel=None):
    kernel = kernel or compiled(n_fft, hop_length)
    return mel_power(kernel, y, n_frames, n_fft, 1 + n_fft // 2)[0]


def normalised(kernel, power, peak=0.0, floors=QUIET):
    mel = np.full((len(power), STRIDE), np.nan, np.float32)
    mel[:, : power.shape[1]] = power
    row = np.full((len(power), N_FRAMES), np.nan, np.float32)
    arrays = aligned(8, peak), np.array(floors, np.float32), row
    highest = kernel.normalise(mel.ctypes.data, power.shape[1], *(array.ctypes.data for array in arrays))
    return row, highest


def frames(y, n_frames, n_fft, hop_length):
    return np.stack([y[i * hop_length : i * hop_length + n_fft] for i in range(n_frames)])


@pytest.mark.parametrize(
    ("n_fft", "hop_length"),
    [(64, 32), (64, 7), (128, 32), (256, 300), (512, 128), (1024, 512), (4096, 1024), (8192, 512)],
)
def test_the_power_spectrum_is_that_of_a_float64_transform(n_fft, hop_length):
    y = noise(room_for(11, n_fft, hop_length))
    expected = np.abs(np.fft.rfft(frames(y, 11, n_fft, hop_length) * hann(n_fft).astype(np.float64))) ** 2
    actual = spectrum(y, 11, n_fft, hop_length).T
    assert np.abs(actual - expected).max() <= 1e-6 * expected.max()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="scipy's build for other processors fuses operations")
@pytest.mark.parametrize("n_fft", COMPILED)
def test_the_power_spectrum_is_scipys_to_the_bit(n_fft):
    y = noise(room_for(9, n_fft, n_fft // 2))
    transform = scipy.fft.rfft(frames(y, 9, n_fft, n_fft // 2) * hann(n_fft))
    np.testing.assert_array_equal(spectrum(y, 9, n_fft, n_fft // 2).T, transform.real**2 + transform.imag**2)


@pytest.mark.parametrize("bin_", [0, 2, 5, 16, 30, 32])
def test_a_tone_lies_in_its_bin_and_its_neighbours_alone(bin_):
    y = np.cos(2 * np.pi * bin_ * np.arange(room_for(1, 64, 32)) / 64).astype(np.float32)
    power = spectrum(y, 1)[:, 0]
    assert power.argmax() == bin_
    far = np.abs(np.arange(33) - bin_) > 1
    assert power[far].max() <= 1e-10 * power.max()


def test_a_frame_has_the_same_bits_wherever_it_stands():
    kernel, y = compiled(), noise(room_for(30, 64, 32))
    whole = spectrum(y, 24, kernel=kernel)
    for first in range(12):
        for n_frames in (1, 7, 8, 9):
            part = spectrum(np.ascontiguousarray(y[32 * first :]), n_frames, kernel=kernel)
            np.testing.assert_array_equal(part, whole[:, first : first + n_frames])


def test_what_lies_behind_the_last_frame_does_not_matter():
    kernel, y = compiled(), noise(room_for(5, 64, 32))
    expected, expected_peak = mel_power(kernel, y, 5, 64, 33)
    y[4 * 32 + 64 :] = np.nan
    actual, peak = mel_power(kernel, y, 5, 64, 33)
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(peak, expected_peak)
    assert peak.max() == expected.max()


def test_bands_are_sums_over_any_bins_and_none():
    rng = np.random.default_rng(3)
    filterbank = np.zeros((6, 33), np.float32)
    for band, (start, stop) in enumerate([(0, 33), (0, 1), (32, 33), (5, 5), (4, 9), (10, 30)]):
        filterbank[band, start:stop] = rng.random(stop - start)
    filterbank[5, 15] = 0
    y = noise(room_for(10, 64, 32))
    actual, _ = mel_power(compiled(filterbank=filterbank), y, 10, 64, 6)
    np.testing.assert_allclose(actual, filterbank.astype(np.float64) @ spectrum(y, 10), rtol=1e-6)
    assert not actual[3].any()


def test_the_peak_is_kept_from_call_to_call_and_nan_counts_most():
    kernel, peak = compiled(), aligned(8)
    loud, quiet = noise(room_for(3, 64, 32)), 0.1 * noise(room_for(3, 64, 32), 1)
    highest = mel_power(kernel, loud, 3, 64, 33, peak)[0].max()
    mel_power(kernel, quiet, 3, 64, 33, peak)
    assert peak.max() == highest
    cases = [(np.inf, False), (-np.inf, False), (1e30, False), (np.nan, False), (-np.nan, False), (1.0, True)]
    for (bad, expected), where in product(cases, (slice(40, 41), slice(None))):
        y = loud.copy()
        y[where] = bad
        _, peak = mel_power(kernel, y, 3, 64, 33)
        assert np.isfinite(kernel_peak(kernel, peak)) == expected
        mel_power(kernel, quiet, 3, 64, 33, peak)
        assert np.isfinite(kernel_peak(kernel, peak)) == expected


def kernel_peak(kernel, peak):
    """The peak that `normalise` returns."""
    room = np.ones((33, STRIDE), np.float32)
    floors, row = np.array(QUIET, np.float32), np.empty((33, N_FRAMES), np.float32)
    return kernel.normalise(room.ctypes.data, 1, *(array.ctypes.data for array in (peak, floors, row)))


@pytest.mark.parametrize("n_frames", [1, 7, 8, 9, 23, 24])
def test_levels_are_spread_from_zero_to_one_and_the_rest_is_zero(n_frames):
    power = np.exp(np.random.default_rng(n_frames).uniform(-60, 60, (33, n_frames))).astype(np.float32)
    row, _ = normalised(compiled(), power)
    level = np.log(power.astype(np.float64))
    expected = (level - level.min()) / (level.max() - level.min())
    np.testing.assert_allclose(row[:, :n_frames], expected, atol=3e-7)
    assert (row[:, :n_frames].min(), row[:, :n_frames].max()) == (0, 1)
    assert not row[:, n_frames:].any()


def test_levels_differ_between_numbers_that_hardly_do():
    power = np.linspace(0.9, 1.1, 33 * 24, dtype=np.float32).reshape(33, 24)
    row, _ = normalised(compiled(), power)
    level = np.log(power.astype(np.float64))
    np.testing.assert_allclose(row, (level - level.min()) / (level.max() - level.min()), atol=2e-6)


def test_levels_stop_so_far_below_the_peak_and_at_the_least_power():
    power = np.array([[1e-12, 1e-6, 1e-3, 1.0]] * 33, np.float32)
    kernel = compiled()
    row, highest = normalised(kernel, power, peak=10.0, floors=(1e-10, 1e-5, 0.0))
    assert highest == 10.0
    np.testing.assert_allclose(row[0, :4], [0, 0, 0.25, 1], atol=1e-6)
    row, _ = normalised(kernel, power, peak=1e-4, floors=(1e-2, 1e-5, 0.0))
    np.testing.assert_allclose(row[0, :4], [0, 0, 0, 1], atol=1e-6)


def test_silence_is_a_row_of_zeros():
    row, highest = normalised(compiled(), np.zeros((33, 9), np.float32), floors=(1e-10, 1e-8, 1e-9))
    assert highest == 0
    np.testing.assert_array_equal(row, 0)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the processors below are of this family")
@pytest.mark.parametrize(("cpu", "features"), [("x86-64", ""), ("x86-64-v3", ""), ("x86-64-v3", "-fma,-avx2,-avx")])
def test_another_processor_gives_the_same_bits(monkeypatch, cpu, features):
    class Features:
        def flatten(self):
            return features

    rng = np.random.default_rng(5)
    filterbank = np.maximum(0, rng.normal(0, 1, (33, 129))).astype(np.float32)
    y = noise(room_for(20, 256, 100))

    def everything():
        kernel = compiled(256, 100, filterbank)
        mel, peak = mel_power(kernel, y, 20, 256, 33)
        return mel, peak, normalised(kernel, mel, peak.max(), (1e-10, 1e-8, 1e-9))[0]

    here = everything()
    monkeypatch.setattr(llvm, "get_host_cpu_name", lambda: cpu)
    monkeypatch.setattr(llvm, "get_host_cpu_features", Features)
    for mine, other in zip(here, everything(), strict=True):
        np.testing.assert_array_equal(mine, other)
