"""The reference in numpy says what the compiled loops compute, and computes where there is no machine code."""

import doctest
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import featurize.features.kernel
from cache import open_cache
from cache.file.settings import MelSettings
from featurize import build
from featurize.features import llvm, reference, row
from featurize.features.check import compare
from featurize.features.kernel import compile_kernel
from tests import ROOT
from tests.helpers.oracle import row_of
from tests.helpers.sounds import noise

T = np.arange(16000) / 16000
WAVEFORMS = {
    "noise": np.random.default_rng(0).normal(0, 0.1, 16000),
    "a tone": np.sin(2 * np.pi * 440 * T),
    "a chirp": np.sin(2 * np.pi * (50 + 3500 * T) * T),
    "a voice": sum(np.sin(2 * np.pi * 220 * k * T) / k for k in range(1, 30)),
    "loud, then hardly anything": np.random.default_rng(1).normal(0, 1, 16000) * np.where(T < 0.5, 1, 1e-5),
    "a click": np.eye(1, 16000, 777)[0],
    "a constant": np.ones(16000),
    "silence": np.zeros(16000),
    "three samples": np.array([0.1, -0.2, 0.3]),
    "longer than a row": np.random.default_rng(2).normal(0, 0.1, 300_000),
    "below the least power": np.random.default_rng(3).normal(0, 1e-7, 16000),
    "clipped beyond measure": np.random.default_rng(4).normal(0, 100, 16000),
}
NO_CODE = """
import llvmlite.binding
def refuse(*_):
    raise RuntimeError("no target for this triple")
llvmlite.binding.Target.from_default_triple = refuse
"""


@pytest.fixture
def without_kernel(monkeypatch):
    """Calls a function with the reference in place of the kernel."""

    def refuse(*_):
        raise RuntimeError("no target for this triple")

    def by_reference(function, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(featurize.features.kernel, "compile_kernel", refuse)
            forget()
            try:
                return function(*arguments)
            finally:
                forget()

    yield by_reference
    forget()


def forget():
    row._kernel.cache_clear()
    row._PER_THREAD.buffers.clear()


def test_the_toy_example_compiles_and_adds_two_vectors():
    result = doctest.testmod(llvm)
    assert result.attempted > 5
    assert result.failed == 0


@pytest.mark.parametrize("name", WAVEFORMS)
def test_a_row_computed_by_the_reference_is_the_kernels_and_librosas(without_kernel, name):
    y = WAVEFORMS[name].astype(np.float32)
    by_reference = without_kernel(row.spectrogram, y, 16000, MelSettings())
    np.testing.assert_allclose(by_reference, row.spectrogram(y, 16000, MelSettings()), rtol=0, atol=1e-5)
    np.testing.assert_allclose(by_reference, row_of(y), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("n_fft", "hop_length"), [(64, 7), (256, 256), (512, 100), (4096, 1024), (8192, 64)])
def test_with_other_frames_and_bands_the_reference_is_the_kernel_too(without_kernel, n_fft, hop_length):
    settings = MelSettings(n_fft=n_fft, hop_length=hop_length, fmin=100.0, fmax=5000.0, top_db=60.0, amin=1e-6)
    y = WAVEFORMS["a chirp"].astype(np.float32)
    by_reference = without_kernel(row.spectrogram, y, 22050, settings)
    np.testing.assert_allclose(by_reference, row.spectrogram(y, 22050, settings), rtol=0, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_the_reference_refuses_the_samples_that_the_kernel_refuses(without_kernel, bad):
    y = WAVEFORMS["noise"].astype(np.float32)
    y[5000] = bad
    for compute in (
        lambda *arguments: row.spectrogram(*arguments),
        lambda *arguments: without_kernel(row.spectrogram, *arguments),
    ):
        with pytest.raises(row.ClipError, match="NaN, infinite or too large to square"):
            compute(y, 16000, MelSettings())


def test_the_power_of_a_bin_of_the_reference_is_that_of_the_fourier_sum():
    frames = np.random.default_rng(5).normal(0, 1, (3, 64)).astype(np.float32)
    window = np.random.default_rng(6).uniform(0, 1, 64).astype(np.float32)
    sums = (frames * window) @ np.exp(-2j * np.pi * np.outer(np.arange(64), np.arange(33)) / 64)
    np.testing.assert_allclose(reference.power_spectrum(frames, window), np.abs(sums) ** 2, rtol=1e-4, atol=1e-4)


def test_the_compiled_loops_leave_the_mel_power_of_the_reference():
    rng = np.random.default_rng(7)
    y, window = rng.normal(0, 0.1, 64 + 23 * 20).astype(np.float32), rng.uniform(0, 1, 64).astype(np.float32)
    filterbank = rng.uniform(0, 1, (5, 33)).astype(np.float32)
    kernel, mel = compile_kernel(window, filterbank, 20, 24, 24), np.zeros((5, 24), np.float32)
    peak, scratch = np.zeros(8, np.float32), np.zeros(2 * 8 * 64, np.float32)
    arrays = kernel.tables, kernel.bounds, scratch, peak, mel
    kernel.mel_power(y.ctypes.data, 24, *(array.ctypes.data for array in arrays))
    np.testing.assert_allclose(mel, reference.mel_power(y, 20, window, filterbank), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_run_without_llvm_says_once_what_that_costs_and_makes_the_same_cache(tones, tones_cache, tmp_path, n_jobs):
    def run(*options):
        code = f"{NO_CODE}\nimport runpy, sys; sys.argv = ['featurize', *sys.argv[1:]]\n"
        code += "runpy.run_module('featurize', run_name='__main__')"
        command = [sys.executable, "-c", code, tones, "--jobs", n_jobs, *options]
        return subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=True)

    said = [
        line for line in run("--cache", tmp_path / "loud.h5").stderr.splitlines() if "to compute; needs" not in line
    ]
    assert len(said) == 1
    assert said[0].startswith(
        "LLVM makes no code for this processor (no target for this triple); numpy computes the rows"
    )
    assert "four times as long" in said[0]
    assert run("--cache", tmp_path / "quiet.h5", "--quiet").stderr == ""
    expected, cache = open_cache(tones_cache), open_cache(tmp_path / "loud.h5")
    assert cache.paths == expected.paths
    np.testing.assert_allclose(cache.X, expected.X, rtol=0, atol=1e-5)


def test_the_row_of_a_channel_is_librosas(tmp_path):
    soundfile.write(tmp_path / "four.wav", noise(32000, 4), 16000)
    header = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tSpecies"
    (tmp_path / "four.txt").write_text(f"{header}\n1\tSpectrogram 3\t3\t0.25\t1.5\tfrog\n")
    cache = build(tmp_path, labels=tmp_path).cache
    assert cache.paths == ["four.wav#0.250000-1.500000@ch3"]
    assert compare(tmp_path, cache.file, 1).startswith("1 rows differ from librosa by at most")
