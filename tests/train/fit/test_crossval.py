"""crossval: every clip tested once a repeat, by a network that never saw its group."""

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from cache import open_cache
from cache.shared.errors import UserError
from tests.conftest import OPTIONS
from train.dataset.splits import clip_groups
from train.fit.crossval import crossval, make_folds
from train.report.report import write_report
from train.runs.record import Record


@pytest.fixture(scope="module")
def result(tiny: str, tones_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    options = replace(OPTIONS, epochs=2)
    return crossval(tones_cache, tmp_path_factory.mktemp("crossval") / "run", options, n_folds=2, n_repeats=2)


def predictions(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_every_clip_is_tested_once_in_every_repeat(result: tuple[Path, Record], tones_cache: Path) -> None:
    tested = Counter((row["repeat"], row["path"]) for row in predictions(result[0]))
    assert tested == Counter((repeat, path) for repeat in "12" for path in open_cache(tones_cache).paths)


def test_the_pooled_numbers_are_scikit_learns(result: tuple[Path, Record]) -> None:
    folder, record = result
    rows, metrics = predictions(folder), record.metrics or {}
    true, predicted = ([row[column] for row in rows] for column in ("class", "predicted"))
    assert metrics["n"] == len(rows) == 96
    assert metrics["accuracy"] == pytest.approx(accuracy_score(true, predicted))
    assert metrics["macro_f1"] == pytest.approx(f1_score(true, predicted, average="macro"))
    assert metrics["confusion"] == confusion_matrix(true, predicted, labels=record.class_names).tolist()
    assert metrics["interval"][0] < metrics["accuracy"] <= metrics["interval"][1]


def test_every_fold_has_its_own_score_and_time_beside_the_baselines(result: tuple[Path, Record]) -> None:
    folder, record = result
    assert [(fold["repeat"], fold["fold"]) for fold in record.folds] == [(r, f) for r in (1, 2) for f in (1, 2)]
    for fold in record.folds:
        rows = [r for r in predictions(folder) if (r["repeat"], r["fold"]) == (str(fold["repeat"]), str(fold["fold"]))]
        assert fold["accuracy"] == pytest.approx(np.mean([row["class"] == row["predicted"] for row in rows]))
        assert set(fold["sanity"]) == {"majority class", "random forest"}
        assert fold["seconds"] > 0
    assert record.sanity["random forest"]["accuracy"] > 0.6


def test_the_learning_curve_of_every_fold_is_kept(result: tuple[Path, Record]) -> None:
    folder, record = result
    with (folder / "history.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["repeat"], row["fold"], row["epoch"]) for row in rows] == [
        (str(fold["repeat"]), str(fold["fold"]), str(epoch + 1))
        for fold in record.folds
        for epoch in range(fold["n_epochs"])
    ]
    assert all(float(row["loss"]) > 0 and 0 <= float(row["val_accuracy"]) <= 1 for row in rows)


def test_it_has_a_report_with_the_curves_of_its_folds(result: tuple[Path, Record], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(result[0], tmp_path / "run"))
    page = write_report(folder).read_text(encoding="utf-8")
    assert "Each thin line is a fold" in page
    assert f"{100 * (result[1].metrics or {})['accuracy']:.1f}\N{NARROW NO-BREAK SPACE}%" in page
    assert (folder / "figures" / "loss.png").stat().st_size > 10_000


def test_the_run_directory_says_what_it_is(result: tuple[Path, Record]) -> None:
    record = json.loads((result[0] / "run.json").read_text())
    assert (record["command"], record["state"]) == ("crossval", "finished")
    assert record["options"]["folds"] == 2


def test_no_group_is_on_two_sides_of_a_fold_and_every_side_holds_every_class(tones_cache: Path) -> None:
    cache = open_cache(tones_cache)
    groups = clip_groups(cache.paths, cache.columns["sha256"])
    for fold in make_folds(cache, groups, OPTIONS, n_folds=4, n_repeats=3):
        parts = (fold.train, fold.val, fold.test)
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(cache)))
        assert sum(len(np.unique(groups[part])) for part in parts) == len(np.unique(groups))
        assert all(set(cache.labels[part].tolist()) == {0, 1, 2} for part in parts)


def test_repeats_draw_other_folds(tones_cache: Path) -> None:
    cache = open_cache(tones_cache)
    folds = list(make_folds(cache, np.arange(len(cache)), OPTIONS, n_folds=2, n_repeats=2))
    assert set(folds[0].test.tolist()) not in (set(folds[2].test.tolist()), set(folds[3].test.tolist()))


def test_more_folds_than_groups_are_refused_with_the_counts(tiny: str, tones_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dog 8, cat 8, bird 8"):
        crossval(tones_cache, tmp_path / "run", OPTIONS, n_folds=9, n_repeats=1)
    assert not (tmp_path / "run").exists()
