"""Settings of the features: asked for by name or profile, remembered by the cache, refused where they are senseless."""

import numpy as np
import pytest
import soundfile
import typer

from cache import open_cache
from cache.file.settings import SETTINGS, MelSettings, band
from cache.shared.errors import UserError
from featurize import build, featurize_clip
from featurize.__main__ import Profile, app
from featurize.features.check import compare, librosa_spectrogram
from featurize.features.profiles import PROFILES
from featurize.features.reference import mel_filterbank
from featurize.update.summary import as_json, as_text
from tests.helpers.commands import complaints, start

SR = 250_000


def tone(frequency, sr, seconds=0.5, seed=0):
    t = np.arange(round(seconds * sr)) / sr
    return 0.3 * np.sin(2 * np.pi * frequency * t) + np.random.default_rng(seed).normal(0, 1e-3, len(t))


@pytest.fixture
def bats(tmp_path):
    """Two classes of tones at 250 kHz, and one clip of a recorder that does not reach so high."""
    for name, frequency in (("noctule", 22_000), ("pipistrelle", 45_000)):
        (tmp_path / "bats" / name).mkdir(parents=True)
        for i in range(3):
            soundfile.write(tmp_path / "bats" / name / f"{i}.wav", tone(frequency, SR, seed=i), SR)
    soundfile.write(tmp_path / "bats" / "noctule" / "phone.wav", tone(12_000, 48000), 48000)
    return tmp_path / "bats"


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_has_a_filter_in_every_band_and_rows_that_are_librosas(name, tmp_path):
    settings = PROFILES[name]
    assert mel_filterbank(settings).any(axis=1).all()
    soundfile.write(tmp_path / "clip.wav", tone(settings.fmax / 2, settings.sr, 9), settings.sr)
    row = featurize_clip(tmp_path / "clip.wav", name)
    expected = librosa_spectrogram(tmp_path / "clip.wav", settings)
    np.testing.assert_allclose(row[..., 0], expected, rtol=0, atol=1e-4)


def test_a_tone_of_45_khz_lies_in_its_band(bats):
    cache = build(bats, settings="bats").cache
    row = np.asarray(cache.X[cache.paths.index("pipistrelle/0.wav"), :, :, 0], np.float32)
    assert abs(int(row.mean(axis=1).argmax()) - band(45_000, cache.settings)) <= 1
    assert "rows differ from librosa by at most" in compare(bats, cache.file, 7)


def test_a_cache_remembers_its_settings_and_one_that_changes_costs_all_rows(bats):
    said = []
    assert build(bats, settings="bats").n_computed == 7
    again = build(bats)
    assert (again.n_computed, again.cache.settings) == (0, PROFILES["bats"].as_dict())
    changed = build(bats, settings={"fmin": 15_000}, notify=said.append)
    assert changed.n_computed == 7
    assert "all clips are computed again: fmin is 15000.0, the cache's was 10000.0" in said
    assert any("7 clips to compute; needs up to" in line for line in said)
    assert changed.cache.settings == PROFILES["bats"].as_dict() | {"fmin": 15_000.0}
    speech = build(bats, settings=MelSettings(), notify=said.append)
    assert speech.cache.settings == MelSettings().as_dict()


def test_caches_of_two_profiles_never_mix(bats):
    first = build(bats, settings="bats").cache
    other = build(bats, bats / "other.h5", settings="insects").cache
    back = build(bats, bats / "other.h5", settings="bats", notify=print).cache
    assert first.fingerprint == back.fingerprint != other.fingerprint


def test_the_command_takes_a_profile_and_options_that_change_it(bats):
    assert [profile.value for profile in Profile] == list(PROFILES)
    with start(bats, "--profile", "bats", "--top-db", 60, "--hop-length", 256) as process:
        _, err = process.communicate()
    assert (process.returncode, complaints(err)) == (0, [])
    cache = open_cache(bats / "features.h5")
    assert cache.settings == PROFILES["bats"].as_dict() | {"top_db": 60.0, "hop_length": 256}


def test_the_help_has_the_default_of_each_setting():
    options = {one.name: one for one in typer.main.get_command(app).params}
    settings = [name for name in SETTINGS if name in options]
    assert len(settings) == 6
    for name in settings:
        assert options[name].show_default == f"as the cache has it, else {getattr(MelSettings(), name):g}"


def test_the_command_refuses_a_setting_in_a_line(bats):
    with start(bats, "--sr", 8000) as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert err == (
        "python -m featurize: fmax is 8000 Hz, and at sr = 8000 there is nothing above 4000 Hz; give a lower fmax or a"
        " higher sr\n"
    )


def test_clips_of_a_lower_rate_than_the_profile_are_named(bats):
    result = build(bats, settings="bats")
    words = "1 of 7 clips holds nothing above 24 kHz, half the rate of the recording; a row shows up to 120 kHz"
    assert words in as_text(result).splitlines()
    assert as_json(result)["n_low_rate"] == 1
    assert "nothing above" not in as_text(build(bats, settings="speech", notify=print))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sr": 8000}, "fmax is 8000 Hz, and at sr = 8000 there is nothing above 4000 Hz"),
        (PROFILES["bats"].as_dict() | {"fmax": 2e5}, "at sr = 250000 there is nothing above 125000 Hz"),
        ({"fmin": 9000, "fmax": 8000}, "0 <= fmin < fmax only"),
        ({"fmin": 8000}, "0 <= fmin < fmax only"),
        ({"n_fft": 1001}, "an even n_fft of 16 to 65536 only, not 1001"),
        ({"hop_length": 0}, "a hop_length of 1 to n_fft = 1024, not 0"),
        ({"hop_length": 2000}, "a hop_length of 1 to n_fft = 1024, not 2000"),
        ({"top_db": 0}, "a top_db above 0 only"),
        ({"sr": 0}, "an sr of 1000 to 1000000 Hz only"),
        ({"fmax": float("nan")}, "fmax is nan; give a number"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_a_line_and_nothing_is_written(bats, settings, words):
    with pytest.raises(UserError, match=words):
        build(bats, settings=settings)
    assert not (bats / "features.h5").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("dolphins", "there is no profile 'dolphins'; there are speech, birds, bats"),
        ({"rate": 1}, "there is no setting 'rate'; there are sr, "),
        ({"sr": "48000"}, "sr is '48000'; give a whole number"),
        ({"fmax": "high"}, "fmax is 'high'; give a number"),
    ],
)
def test_a_wish_that_is_not_a_setting_is_refused_in_words(bats, settings, words):
    with pytest.raises(UserError, match=words):
        build(bats, settings=settings)
    with pytest.raises(UserError, match=words):
        featurize_clip(bats / "noctule" / "0.wav", settings)
