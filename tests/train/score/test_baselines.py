"""Sanity baselines and the leak probe: what they must find, and what they must not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cache import Cache, open_cache
from train.dataset.splits import clip_groups
from train.runs.results import Score
from train.score.baselines import BASELINES, band_statistics, leak_probe, warnings

pytestmark = pytest.mark.usefixtures("all_trees")


@pytest.fixture(scope="module")
def cache(tones_cache: Path) -> Cache:
    return open_cache(tones_cache)


@pytest.fixture(scope="module")
def groups(cache: Cache) -> np.ndarray:
    return clip_groups(cache.paths, cache.columns["sha256"])


def test_the_probe_knows_whatever_format_a_decoder_names(cache: Cache, groups: np.ndarray) -> None:
    formats = np.where(cache.labels == 0, b"M4A/AAC", np.where(cache.labels == 1, b"WEBM/OPUS", b"WAV/PCM_16"))
    probe = leak_probe(replace(cache, columns={**cache.columns, "format": formats}), groups, 0)
    assert probe is not None
    assert probe.leaks
    assert probe.accuracy == 1


def test_the_majority_class_is_that_of_the_training_rows(cache: Cache) -> None:
    cats, dogs = (np.flatnonzero(cache.labels == label) for label in (1, 0))
    guess = BASELINES["majority class"](cache, np.concatenate([cats, dogs[:5]]), dogs, 0)
    assert guess.tolist() == [1] * len(dogs)


def test_band_statistics_are_the_mean_and_deviation_of_each_mel_band(cache: Cache) -> None:
    rows = np.array([40, 3, 17])
    spectrograms = np.array(cache.X[rows, :, :, 0], np.float64)
    expected = np.concatenate([spectrograms.mean(axis=2), spectrograms.std(axis=2)], axis=1)
    assert band_statistics(cache, rows) == pytest.approx(expected, abs=1e-5)


def test_the_random_forest_finds_the_bands_that_tell_classes_apart_and_nothing_in_noise(cache: Cache) -> None:
    rng = np.random.default_rng(0)
    noise = rng.random(cache.X.shape, np.float32)
    told = noise.copy()
    for label in range(3):
        told[cache.labels == label, 40 * label : 40 * label + 40] *= 0.9
    rows = rng.permutation(len(cache))
    train, test = rows[:30], rows[30:]
    right = [
        (BASELINES["random forest"](replace(cache, X=X), train, test, 0) == cache.labels[test]).mean()
        for X in (told, noise)
    ]
    assert right[0] == 1
    assert right[1] < 0.75


def test_the_probe_is_silent_where_all_clips_were_recorded_alike(cache: Cache, groups: np.ndarray) -> None:
    probe = leak_probe(cache, groups, 0)
    assert probe is not None
    assert not probe.leaks
    assert probe.majority == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("column", "values"),
    [("sr", [16000, 16000, 44100]), ("format", [b"WAV/PCM_16", b"OGG/VORBIS", b"WAV/PCM_16"]), ("duration", [1, 1, 9])],
)
def test_the_probe_finds_a_class_that_was_recorded_in_another_way(
    cache: Cache, groups: np.ndarray, column: str, values: list[object]
) -> None:
    given_away = replace(cache, columns={**cache.columns, column: np.array(values)[cache.labels]})
    probe = leak_probe(given_away, groups, 0)
    assert probe is not None
    assert probe.leaks
    # One class of three is given away; between the other two it can only guess.
    assert 0.55 < probe.accuracy < 0.8
    assert any("file format alone" in line for line in warnings(None, {}, probe))


def test_the_probe_never_tests_on_a_speaker_it_has_learnt(cache: Cache) -> None:
    # Every speaker has durations of their own and is in one class only: within a speaker the class is certain.
    labels = np.arange(len(cache)) // 4 % 3
    durations = np.arange(len(cache)) // 4 * 1.0
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(12)[np.arange(len(cache)) // 4] * 1.0
    told = replace(cache, y=np.eye(3, dtype=np.float32)[labels], columns={**cache.columns, "duration": shuffled})
    probe = leak_probe(told, durations.astype(int), 0)
    assert probe is not None
    assert not probe.leaks


def test_too_few_groups_for_a_probe_give_none(cache: Cache) -> None:
    assert leak_probe(cache, np.zeros(len(cache), int), 0) is None


def test_a_network_that_does_not_beat_a_baseline_is_called_that() -> None:
    def scored(accuracy: float) -> Score:
        return Score(10, 10, accuracy, (0, 1), accuracy, {}, [])

    sanity = {"majority class": scored(0.4), "random forest": scored(0.8)}
    assert warnings(scored(0.81), sanity, None) == []
    (line,) = warnings(scored(0.8), sanity, None)
    assert "random forest (80.0 %)" in line
    assert len(warnings(scored(0.4), sanity, None)) == 2
