"""A run on windows of long clips: predict cuts a file as featurize did, and its answer is what was scored."""

from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache import Cache, open_cache
from featurize import build
from tests.helpers.tiny import OF_FIT
from tests.helpers.tones import tone
from train import classify, evaluate, fit
from train.models.calibration import calibrated
from train.models.inference import forward_of, predict_rows
from train.predict.recordings import Kind, Recording, Window
from train.report.report import write_report
from train.runs.directory import open_run
from train.runs.tables import read_predictions

CLASSES = ("dog", "cat", "bird")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of 0.5 to 14 s in which something calls now and then, at several rates, some in stereo, with silence."""
    folder, rng = tmp_path_factory.mktemp("long") / "data", np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for i in range(10):
            sr, seconds = (8000, 16000, 22050, 44100)[i % 4], float(rng.choice([0.5, 3.0, 4.096, 6.0, 9.5, 14.0]))
            y = np.zeros((round(seconds * sr), 1 + i % 2))
            for start in np.arange(0, seconds - 0.4, 3.7):
                call = tone(name, 0.4) * rng.uniform(0.2, 1)
                part = y[round(start * sr) :][: len(call)]
                part += call[: len(part), None]
            if i % 3:
                y += rng.normal(0, 1e-3, y.shape)
            soundfile.write(folder / name / f"s{i}_nohash_0.wav", y, sr)
    return folder


@pytest.fixture(scope="module", params=["segments", "loudest"])
def cache_and_run(
    request: pytest.FixtureRequest, tiny: str, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Cache, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    more = {"n_windows": 2} if request.param == "loudest" else {"overlap": 0.3}
    cache = build(data, folder / "features.h5", crop=request.param, notify=lambda _: None, **more).cache
    return cache, fit(cache.file, folder / "run", notify=lambda _: None, **OF_FIT)[0]


def test_each_window_of_a_file_is_a_row_of_the_cache_and_the_answer_is_their_mean(
    cache_and_run: tuple[Cache, Path], data: Path
) -> None:
    cache, folder = cache_and_run
    assert 1.1 * cache.n_clips < len(cache)
    run = open_run(folder)
    of_rows = calibrated(predict_rows(forward_of(run), cache.X, np.arange(len(cache))), run.temperature)
    tested = read_predictions(folder, run.class_names)
    found = {
        Path(path): list(parts)
        for path, parts in groupby(classify(folder, [data / path for path in cache.clip_paths]), lambda one: one.path)
    }
    for i, path in enumerate(cache.clip_paths):
        rows = np.flatnonzero(cache.clips == i)
        *windows, whole = found[data / path]
        heard = [one for one in windows if one.probabilities] or [whole]
        assert len(heard) == len(rows)
        for one, row in zip(heard, rows.tolist(), strict=True):
            if cache.columns["clip"][row]:
                times = [cache.columns[name][row] for name in ("start", "end")]
                assert [one.start, one.end] == pytest.approx(times, abs=1e-6)
            assert [*one.probabilities.values()] == pytest.approx(of_rows[row].tolist(), abs=1e-6)
        mean = [*whole.probabilities.values()]
        assert mean == pytest.approx(of_rows[rows].mean(axis=0).tolist(), abs=1e-6)
        if path in tested.paths:
            clip = tested.paths.index(path)
            assert mean == pytest.approx(tested.mean[clip].tolist(), abs=2e-5)
            assert whole.label == run.class_names[tested.predicted[clip]]


def test_a_cache_of_another_crop_is_scored_by_its_own_rows(
    cache_and_run: tuple[Cache, Path], data: Path, tmp_path: Path
) -> None:
    cache, folder = cache_and_run
    middle = build(data, tmp_path / "middle.h5", notify=lambda _: None).cache
    run = open_run(folder)
    p = calibrated(predict_rows(forward_of(run), middle.X, np.arange(len(middle))), run.temperature)
    labels = np.array([middle.clip_labels[middle.clip_paths.index(path)] for path in cache.clip_paths])
    order = [middle.clip_paths.index(path) for path in cache.clip_paths]
    found = evaluate(folder, middle.file)
    own = [clip in read_predictions(folder, run.class_names).paths for clip in cache.clip_paths]
    scored = np.array(own) if found.scored == "test split" else np.ones(len(labels), bool)
    assert found.score.n == scored.sum()
    assert found.score.accuracy == pytest.approx((p[order].argmax(axis=1) == labels)[scored].mean())


def test_the_report_says_the_crop_and_shows_a_clip_once(cache_and_run: tuple[Cache, Path]) -> None:
    cache, folder = cache_and_run
    page = write_report(folder).read_text()
    crop = cache.header.crop
    words = {
        "segments": "windows of 4.1 s that overlap by 30 %, averaged",
        "loudest": "the 2 windows of 4.1 s with the most energy, averaged",
    }
    assert words[crop] in page
    assert "#0.000000-" not in page
    n_rows = dict(zip(cache.clip_paths, np.bincount(cache.clips).tolist(), strict=True))
    for path in read_predictions(folder, cache.class_names).paths:
        card = page.split(f'<p class="path">{path}</p>')[1].split('<p class="path">')[0]
        note = f"The picture shows the first of its {n_rows[path]} windows; the probabilities are the mean of all."
        assert (note in card) == (n_rows[path] > 1)


def test_a_silent_file_is_silent(cache_and_run: tuple[Cache, Path], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(160_000), 16000)
    *windows, whole = classify(cache_and_run[1], tmp_path / "silent.wav")
    assert all(isinstance(one, Window) and one.reason == "silent" for one in windows)
    assert isinstance(whole, Recording)
    assert (whole.kind, whole.end, whole.reason) == (Kind.RECORDING, 10.0, "silent")


def test_an_open_cache_knows_its_crop(cache_and_run: tuple[Cache, Path]) -> None:
    cache, folder = cache_and_run
    assert open_run(folder).record.cropping == open_cache(cache.file).header.cropping
