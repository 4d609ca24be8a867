"""Clips of several rows: each counts once, whatever is trained, chosen, scored or calibrated."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from cache import Cache, open_cache
from cache.shared.errors import UserError
from cache.shared.segment import Crop
from tests.helpers.caches import in_windows, rewritten
from tests.helpers.tables import predictions, table
from tests.helpers.tiny import OF_FIT, OPTIONS
from train import crossval, evaluate, fit
from train.dataset.given import choose_split
from train.dataset.rows import Batches, mean_by_clip, rows_of
from train.dataset.splits import SPLITS, groups_of
from train.models.calibration import best_thresholds, calibrated, fit_temperature
from train.models.inference import forward_of, predict_rows
from train.runs.directory import load_model, open_run
from train.runs.record import read_record
from train.runs.tables import read_history, read_predictions, read_split
from train.score.baselines import band_statistics
from train.score.compare import compare


@pytest.fixture(scope="module")
def repeated(tones_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """The tones, in which some clips have several rows, each of which is the clip itself."""
    cache = open_cache(tones_cache)
    file = tmp_path_factory.mktemp("repeated") / "features.h5"
    return open_cache(in_windows(cache, file, [1 + i % 4 for i in range(len(cache))]))


@pytest.fixture(scope="module")
def mixed(tones_cache: Path, repeated: Cache, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """The same clips and windows, but the second half of each clip's windows are those of clips of another class."""
    cache, rows = open_cache(tones_cache), np.arange(len(repeated))
    other = (repeated.clips + len(cache) // 3) % len(cache)
    X = np.where((rows - repeated.first_rows[repeated.clips] > 1)[:, None, None, None], cache.X[other], repeated.X)
    file = tmp_path_factory.mktemp("mixed") / "features.h5"
    return open_cache(rewritten(replace(repeated, X=X), file, rows, {}))


@pytest.fixture(scope="module")
def mixed_run(tiny: str, mixed: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(mixed.file, tmp_path_factory.mktemp("runs") / "mixed", **OF_FIT)[0]


def test_a_clip_of_equal_rows_trains_chooses_and_scores_as_the_clip_itself(
    run: Path, repeated: Cache, tmp_path: Path
) -> None:
    folder, record = fit(repeated.file, tmp_path / "run", **OF_FIT)
    for name in ("split.csv", "predictions.csv"):
        assert (folder / name).read_text() == (run / name).read_text()
    for ours, weight in zip(*(load_model(open_run(one)).get_weights() for one in (folder, run)), strict=True):
        np.testing.assert_array_equal(ours, weight)
    for ours, row in zip(read_history(folder), read_history(run), strict=True):
        assert ours == pytest.approx(row)
    single = read_record(run)
    assert record.temperature == pytest.approx(single.temperature)
    assert record.thresholds == pytest.approx(single.thresholds)
    assert (record.metrics, record.sanity, record.split) == (single.metrics, single.sanity, single.split)
    assert (record.cache.n_clips, record.cropping) == (48, Crop("segments"))
    # The clips are the same ones by their content, so the two runs may be compared.
    assert [one.clips for one in compare([run, folder]).entries] == [1, 1]


def test_an_epoch_takes_one_window_of_every_clip_and_each_in_turn() -> None:
    rows, clip = np.arange(10) + 100, np.repeat([0, 1, 2, 3], [1, 4, 2, 3])
    batches = Batches(np.zeros((200, 1, 1, 1)), np.zeros((200, 2)), rows, 3, clip=clip)
    assert len(batches) == 2
    drawn = []
    for epoch in range(12):
        batches.shuffle(5, epoch)
        assert sorted(clip[batches.order - 100]) == [0, 1, 2, 3]
        drawn.append(batches.order.copy())
    assert all(
        sorted({*np.concatenate(drawn[i : i + 4]).tolist()} & {101, 102, 103, 104}) == [101, 102, 103, 104]
        for i in range(9)
    )
    assert Counter(np.concatenate(drawn).tolist()) == {
        row: 12 // int(np.bincount(clip)[of]) for row, of in zip(rows.tolist(), clip.tolist(), strict=True)
    }
    batches.shuffle(5, 3)
    assert np.array_equal(batches.order, drawn[3])


def test_the_order_of_clips_of_one_row_is_that_of_a_permutation() -> None:
    rows = np.array([5, 3, 8, 1])
    batches = Batches(np.zeros((9, 1, 1, 1)), np.zeros((9, 2)), rows, 3)
    batches.shuffle(7, 2)
    assert np.array_equal(batches.order, np.random.default_rng([7, 2]).permutation(rows))


def test_every_clip_is_in_the_tables_once_and_no_subset_parts_its_rows(mixed: Cache, mixed_run: Path) -> None:
    split = read_split(mixed_run)
    assert [clip.path for clip in split] == mixed.clip_paths
    record = read_record(mixed_run)
    assert {name: subset.n for name, subset in record.split.items()} == Counter(clip.split for clip in split)
    tested = [clip.path for clip in split if clip.split == "test"]
    assert sorted(row["path"] for row in predictions(mixed_run)) == sorted(tested)
    assert record.metrics is not None
    assert record.metrics.n == len(tested)
    assert sum(one.n for one in record.metrics.per_class.values()) == len(tested)


def test_a_split_that_is_given_names_clips_whatever_rows_they_have(run: Path, repeated: Cache) -> None:
    subset, remarks = choose_split(repeated, groups_of(repeated), 0.2, 0.2, 0, table=str(run / "split.csv"))
    assert [SPLITS[i] for i in subset.tolist()] == [clip.split for clip in read_split(run)]
    assert remarks == []


def test_only_a_run_on_windows_says_so(run: Path, mixed_run: Path) -> None:
    names = {"crop", "overlap", "n_windows"}
    assert names & json.loads((run / "run.json").read_text()).keys() == set()
    assert names <= json.loads((mixed_run / "run.json").read_text()).keys()


@pytest.mark.parametrize(("name", "value"), [("crop", "all"), ("overlap", 1.0), ("overlap", None), ("n_windows", 0)])
def test_a_crop_that_makes_no_sense_is_named(mixed_run: Path, tmp_path: Path, name: str, value: object) -> None:
    content = json.loads((mixed_run / "run.json").read_text()) | {name: value}
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"run.json is damaged: {name} is"):
        read_record(tmp_path)


def test_a_clip_has_the_mean_of_the_probabilities_of_its_rows(mixed: Cache, mixed_run: Path) -> None:
    run = open_run(mixed_run)
    of_rows = calibrated(predict_rows(forward_of(run), mixed.X, np.arange(len(mixed))), run.temperature)
    tested = read_predictions(mixed_run, run.class_names)
    for path, p in zip(tested.paths, tested.mean, strict=True):
        own = of_rows[mixed.clips == mixed.clip_paths.index(path)]
        np.testing.assert_allclose(p, own.mean(axis=0), atol=2e-5)
    again = evaluate(mixed_run)
    assert again.score == run.record.metrics
    assert again.scored == "test split"


def test_temperature_thresholds_and_epoch_are_chosen_by_clips(mixed: Cache, mixed_run: Path) -> None:
    run = open_run(mixed_run)
    val = np.array([i for i, clip in enumerate(read_split(mixed_run)) if clip.split == "val"])
    rows, clip = rows_of(mixed, val)
    of_rows, labels = predict_rows(forward_of(run), mixed.X, rows), mixed.clip_labels[val]

    def loss(log_temperature: float) -> float:
        p = calibrated(of_rows.astype(float), float(np.exp(log_temperature)))
        of_clips = [p[clip == i, label].mean() for i, label in enumerate(labels)]
        return float(-np.log(of_clips).sum() + log_temperature**2 / (2 * 0.35**2))

    expected = np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-6}).x)
    assert run.temperature == pytest.approx(expected, rel=1e-3)
    assert fit_temperature(of_rows, labels, clip) == pytest.approx(expected, rel=1e-3)
    means = np.array([calibrated(of_rows, run.temperature)[clip == i].mean(axis=0) for i in range(len(val))])
    expected = best_thresholds(np.eye(3, dtype=bool)[labels], means, run.class_names)
    assert run.record.thresholds == pytest.approx(expected, abs=1e-4)
    right = np.array([of_rows[clip == i].mean(axis=0).argmax() for i in range(len(val))]) == labels
    assert run.record.validation_accuracy == pytest.approx(right.mean())


def test_a_crossval_counts_clips_and_tests_each_once(tiny: str, mixed: Cache, tmp_path: Path) -> None:
    folder, record = crossval(mixed.file, tmp_path / "run", n_folds=2, **OPTIONS | {"epochs": 1})
    assert Counter(row["path"] for row in table(folder / "predictions.csv")) == Counter(mixed.clip_paths)
    assert record.metrics is not None
    assert record.metrics.n == record.cache.n_clips == sum(fold.n_test for fold in record.folds) == 48
    assert all(fold.n_train + fold.n_val + fold.n_test == 48 for fold in record.folds)


def test_the_statistics_of_a_clip_for_the_forest_are_the_means_over_its_rows(mixed: Cache) -> None:
    clips = np.array([3, 0, 7])
    expected = [
        np.mean([[*x.mean(axis=1), *x.std(axis=1)] for x in mixed.X[mixed.clips == clip, :, :, 0]], axis=0)
        for clip in clips
    ]
    assert band_statistics(mixed, clips) == pytest.approx(np.array(expected), abs=1e-5)


def test_the_rows_of_clips_come_clip_by_clip(mixed: Cache) -> None:
    rows, clip = rows_of(mixed, np.array([7, 2, 0]))
    assert rows.tolist() == [*np.flatnonzero(mixed.clips == 7), *np.flatnonzero(mixed.clips == 2), 0]
    assert clip.tolist() == [0] * 4 + [1] * 3 + [2]
    assert mean_by_clip(np.arange(8.0)[:, None], clip).ravel().tolist() == [1.5, 5, 7]
