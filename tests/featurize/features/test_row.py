"""The kernel: equal to librosa on any waveform, and to the bit the same however a waveform is cut."""

import librosa
import numpy as np
import pytest

from cache.file.settings import SETTINGS, MelSettings
from cache.shared.errors import UserError
from featurize.audio.audio import ClipError
from featurize.features import row
from featurize.features.check import librosa_row
from featurize.features.profiles import computable
from featurize.features.reference import mel_filterbank
from featurize.features.row import energy, n_frames_of, write_spectrogram
from tests.helpers.oracle import NOTEBOOK, row_of

SETTING = MelSettings()


def spectrogram(y, cuts=()):
    out = np.full((128, 128), np.nan, np.float32)
    n_samples = write_spectrogram(np.split(y, cuts), len(y), SETTING, out)
    assert n_samples == len(y)
    return out[..., np.newaxis]


def noise(n_samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, n_samples).astype(np.float32)


def tone(frequency, n_samples=16000):
    return np.sin(2 * np.pi * frequency * np.arange(n_samples) / 16000).astype(np.float32)


def test_the_settings_are_those_of_the_file_format_and_of_the_notebook():
    settings = SETTING.as_dict()
    assert tuple(settings) == tuple(SETTINGS)
    assert settings == NOTEBOOK.as_dict()


def test_librosas_steps_are_those_of_the_notebook_where_it_leaves_them_to_librosa():
    y = noise(16000)
    S = librosa.feature.melspectrogram(y=y, sr=16000, n_fft=1024, hop_length=512, n_mels=128, power=2.0)
    S_db = librosa.power_to_db(S, ref=np.max)
    S_db = np.pad(S_db, ((0, 0), (0, 128 - S_db.shape[1])), mode="constant", constant_values=(S_db.min(),))
    np.testing.assert_array_equal(row_of(y)[..., 0], (S_db - S_db.min()) / (S_db.max() - S_db.min() + 1e-8))


def test_a_setting_that_the_kernel_does_not_compute_is_refused():
    with pytest.raises(UserError, match="power"):
        computable(MelSettings(power=1.0))


@pytest.mark.parametrize(
    ("name", "value"), [("n_fft", 1001), ("n_fft", 8), ("n_fft", 1 << 20), ("hop_length", 0), ("hop_length", 1025)]
)
def test_a_frame_that_cannot_be_cut_or_transformed_is_refused(name, value):
    with pytest.raises(UserError, match=f"{name} of .* not {value}"):
        computable(MelSettings(**{name: value}))


@pytest.mark.parametrize(
    "settings",
    [
        MelSettings(n_fft=128, hop_length=32),
        MelSettings(n_fft=2048, hop_length=512, fmax=15000.0, sr=48000),
        MelSettings(n_fft=8192, hop_length=4096, sr=2000, fmin=5.0, fmax=500.0),
        MelSettings(n_fft=400, hop_length=160),
        MelSettings(n_fft=3000, hop_length=1000, sr=250_000, fmin=10_000.0, fmax=120_000.0, top_db=60.0),
    ],
)
def test_rows_of_other_settings_are_librosas(settings):
    y = (0.2 * noise(5 * settings.sr) + tone(1000, 5 * settings.sr)).astype(np.float32)
    expected = librosa_row(y, settings)
    np.testing.assert_allclose(row.spectrogram(y, settings.sr, settings)[..., 0], expected, rtol=0, atol=1e-4)


def test_a_length_without_machine_code_says_what_that_costs(capsys):
    row.spectrogram(noise(16000), 16000, MelSettings(n_fft=1002))
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "there is no machine code for n_fft = 1002; numpy computes the rows, which takes about four times as long"
    )


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sr", [0, -16000, 2_000_000]),
        ("fmin", [-1.0, 8000.0, 9000.0, np.nan]),
        ("fmax", [0.0, np.nan, np.inf]),
        ("amin", [0.0, -1e-10, np.nan]),
        ("top_db", [0.0, -80.0, np.nan]),
    ],
)
def test_a_range_without_anything_in_it_is_refused_in_words(name, values):
    for value in values:
        with pytest.raises(UserError, match=rf"this program computes .*\b{name}\b.* only, not .*{value}"):
            computable(MelSettings(**{name: value}))


def test_settings_at_the_ends_of_their_ranges_are_computed():
    settings = MelSettings(sr=22050, hop_length=1024, fmin=0.0, fmax=11025.0, amin=1e-30, top_db=0.1)
    assert computable(settings) is settings


@pytest.mark.parametrize(
    "out", [np.zeros((128, 127), np.float32), np.zeros((128, 128)), np.zeros((128, 256), np.float32)[:, ::2]]
)
def test_a_row_of_another_kind_is_refused_before_anything_is_written(out):
    with pytest.raises(ValueError, match="contiguous float32"):
        write_spectrogram([noise(100)], 100, SETTING, out)
    assert not out.any()


def test_the_filterbank_is_librosas_to_the_bit():
    for settings in (SETTING, MelSettings(sr=22050, n_fft=4096, fmin=50.0, fmax=10000.0)):
        expected = librosa.filters.mel(
            sr=settings.sr, n_fft=settings.n_fft, n_mels=128, fmin=settings.fmin, fmax=settings.fmax
        )
        np.testing.assert_array_equal(mel_filterbank(settings), expected)


@pytest.mark.parametrize(
    "n_samples", [1, 100, 511, 512, 513, 16000, 64 * 512 - 1, 64 * 512, 126 * 512, 127 * 512, 128 * 512, 300_000]
)
def test_any_length_equals_librosa(n_samples):
    y = noise(n_samples)
    np.testing.assert_allclose(spectrogram(y), row_of(y), atol=1e-4)


@pytest.mark.parametrize("n_frames", [127, 128, 129])
def test_around_the_width_of_a_row_every_frame_is_where_librosa_has_it(n_frames):
    y = np.concatenate([tone(400, 512 * (n_frames - 2)), tone(3000, 700)])
    assert n_frames_of(len(y), SETTING) == n_frames
    np.testing.assert_allclose(spectrogram(y), row_of(y), atol=1e-4)


@pytest.mark.parametrize("level", [1e-7, 1e-5, 1e-3, 1.0, 100.0])
def test_any_level_equals_librosa(level):
    y = (level * (tone(1000) + noise(16000))).astype(np.float32)
    np.testing.assert_allclose(spectrogram(y), row_of(y), atol=1e-4)


def test_a_tone_lies_in_its_band_and_a_louder_one_changes_nothing():
    centres = librosa.mel_frequencies(130, fmin=NOTEBOOK.fmin, fmax=NOTEBOOK.fmax)[1:-1]
    for band in (20, 64, 100):
        row = spectrogram(0.1 * tone(centres[band]))
        assert abs(int(row[:, 5:27, 0].mean(axis=1).argmax()) - band) <= 1
        np.testing.assert_allclose(spectrogram(0.2 * tone(centres[band])), row, atol=1e-4)


def test_silence_and_a_constant_are_finite():
    np.testing.assert_array_equal(spectrogram(np.zeros(16000, np.float32)), 0)
    y = np.ones(16000, np.float32)
    np.testing.assert_allclose(spectrogram(y), row_of(y), atol=1e-4)


def test_rows_span_exactly_zero_to_one():
    for seed in range(20):
        row = spectrogram(noise(16000, seed))
        assert row.min() == 0
        assert row.max() == 1


def test_a_waveform_in_blocks_gives_the_same_bits_as_in_one():
    rng = np.random.default_rng(1)
    for n_samples in (16000, 70_000, 300_001):
        y = noise(n_samples)
        whole = spectrogram(y)
        for n_cuts in (1, 7, 200):
            np.testing.assert_array_equal(spectrogram(y, np.sort(rng.integers(0, n_samples, n_cuts))), whole)


def test_a_wrong_announcement_of_the_length_is_reported_and_leaves_no_trace_of_another_clip():
    y = noise(16000)
    out = np.zeros((128, 128), np.float32)
    write_spectrogram([noise(200_000, 5)], 200_000, SETTING, out)
    assert write_spectrogram([y], 100_000, SETTING, out) == 16000
    assert write_spectrogram([y], 16000, SETTING, out) == 16000
    np.testing.assert_array_equal(out[..., np.newaxis], spectrogram(y))


@pytest.mark.parametrize("n_fft", [1024, 1000])
@pytest.mark.parametrize("n_samples", [3000, 65536, 100_000])
def test_the_energy_that_a_row_shows_is_the_sum_of_its_powers(n_fft: int, n_samples: int) -> None:
    settings = MelSettings(n_fft=n_fft, fmin=500.0)
    y = noise(n_samples)
    S = librosa.feature.melspectrogram(
        y=y, sr=16000, n_fft=n_fft, hop_length=512, n_mels=128, fmin=500.0, fmax=8000.0, pad_mode="constant"
    )
    start = max(0, (S.shape[1] - 128) // 2)
    expected = S[:, start : start + 128].sum(dtype=np.float64)
    assert energy([y], len(y), settings) == pytest.approx(expected, rel=1e-4)
    y[2000] = np.inf
    with pytest.raises(ClipError, match="infinite"):
        energy([y], len(y), settings)
