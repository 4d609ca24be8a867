"""crossval: every clip tested once a repeat, by a network that never saw its group."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from cache import open_cache
from cache.shared.errors import Interrupted, UserError
from tests import ROOT
from tests.helpers.commands import featurize
from tests.helpers.tables import predictions, table
from tests.helpers.tiny import OF_FIT, OPTIONS, knowing_tiny
from train import crossval, fit
from train.dataset.splits import clip_groups, make_folds, shared_by_folds
from train.fitting.crossval import Folding, FoldJob, FoldResult, resume_crossval, run_fold
from train.fitting.options import Options, options_of
from train.fitting.sweep import sweep
from train.fitting.worker import local_map
from train.report.report import write_report
from train.runs.record import Record, read_record


@pytest.fixture(scope="module")
def result(
    tiny: str, all_trees: None, tones_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Record]:
    options = OPTIONS | {"epochs": 2}
    return crossval(tones_cache, tmp_path_factory.mktemp("crossval") / "run", n_folds=2, n_repeats=2, **options)


def test_every_clip_is_tested_once_in_every_repeat(result: tuple[Path, Record], tones_cache: Path) -> None:
    tested = Counter((row["repeat"], row["path"]) for row in predictions(result[0]))
    assert tested == Counter((repeat, path) for repeat in "12" for path in open_cache(tones_cache).paths)


def test_the_clips_most_like_a_clip_are_those_of_the_fold_that_tested_it_first(
    result: tuple[Path, Record], tones_cache: Path
) -> None:
    near = Counter(row["path"] for row in table(result[0] / "nearest.csv"))
    assert near == Counter(dict.fromkeys(open_cache(tones_cache).paths, 6))


def test_the_pooled_numbers_are_scikit_learns(result: tuple[Path, Record]) -> None:
    folder, record = result
    rows, metrics = predictions(folder), record.metrics
    true, predicted = ([row[column] for row in rows] for column in ("class", "predicted"))
    assert metrics.n == len(rows) == 96
    assert metrics.accuracy == pytest.approx(accuracy_score(true, predicted))
    assert metrics.macro_f1 == pytest.approx(f1_score(true, predicted, average="macro"))
    assert metrics.confusion == confusion_matrix(true, predicted, labels=record.class_names).tolist()
    assert metrics.interval[0] < metrics.accuracy <= metrics.interval[1]


def test_every_fold_has_its_own_score_and_time_beside_the_baselines(result: tuple[Path, Record]) -> None:
    folder, record = result
    assert [(fold.repeat, fold.fold) for fold in record.folds] == [(r, f) for r in (1, 2) for f in (1, 2)]
    for fold in record.folds:
        rows = [r for r in predictions(folder) if (r["repeat"], r["fold"]) == (str(fold.repeat), str(fold.fold))]
        assert fold.accuracy == pytest.approx(np.mean([row["class"] == row["predicted"] for row in rows]))
        assert set(fold.sanity) == {"majority class", "random forest"}
        assert fold.seconds > 0
    assert record.sanity["random forest"].accuracy > 0.6


def test_the_learning_curve_of_every_fold_is_kept(result: tuple[Path, Record]) -> None:
    folder, record = result
    rows = table(folder / "history.csv")
    assert [(row["repeat"], row["fold"], row["epoch"]) for row in rows] == [
        (str(fold.repeat), str(fold.fold), str(epoch + 1)) for fold in record.folds for epoch in range(fold.n_epochs)
    ]
    assert all(float(row["loss"]) > 0 and 0 <= float(row["val_accuracy"]) <= 1 for row in rows)


def test_it_has_a_report_with_the_curves_of_its_folds(result: tuple[Path, Record], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(result[0], tmp_path / "run"))
    page = write_report(folder).read_text(encoding="utf-8")
    assert "Each thin line is a fold" in page
    assert f"{100 * result[1].metrics.accuracy:.1f}\N{NARROW NO-BREAK SPACE}%" in page
    assert (folder / "figures" / "loss.png").stat().st_size > 10_000


def test_the_run_directory_says_what_it_is(result: tuple[Path, Record]) -> None:
    record = json.loads((result[0] / "run.json").read_text())
    assert (record["command"], record["state"]) == ("crossval", "finished")
    assert record["options"]["folds"] == 2


def test_no_group_is_on_two_sides_of_a_fold_and_every_side_holds_every_class(tones_cache: Path) -> None:
    cache = open_cache(tones_cache)
    groups = clip_groups(cache.paths, cache.columns["sha256"])
    for fold in make_folds(cache, groups, 0.2, 0, n_folds=4, n_repeats=3):
        parts = (fold.train, fold.val, fold.test)
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(cache)))
        assert sum(len(np.unique(groups[part])) for part in parts) == len(np.unique(groups))
        assert all(set(cache.labels[part].tolist()) == {0, 1, 2} for part in parts)


def test_repeats_draw_other_folds(tones_cache: Path) -> None:
    cache = open_cache(tones_cache)
    folds = make_folds(cache, np.arange(len(cache)), 0.2, 0, n_folds=2, n_repeats=2)
    assert set(folds[0].test.tolist()) not in (set(folds[2].test.tolist()), set(folds[3].test.tolist()))


def test_more_folds_than_groups_are_refused_with_the_counts(tiny: str, tones_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dog 8, cat 8, bird 8"):
        crossval(tones_cache, tmp_path / "run", n_folds=9, **OPTIONS)
    assert not (tmp_path / "run").exists()


def test_an_interrupted_one_keeps_its_finished_folds_and_goes_on_to_the_same_predictions(
    result: tuple[Path, Record], tones_cache: Path, tmp_path: Path
) -> None:
    folder, options = tmp_path / "run", OPTIONS | {"epochs": 2}
    ran: list[int] = []

    def first_two(run_fold: Callable[[FoldJob], FoldResult], jobs: Iterable[FoldJob]) -> Iterator[FoldResult]:
        for job in jobs:
            if len(ran) == 2:
                raise Interrupted(2)
            ran.append(job.which)
            yield run_fold(job)

    with pytest.raises(Interrupted) as stop:
        crossval(tones_cache, folder, n_folds=2, n_repeats=2, run_all=first_two, **options)
    assert stop.value.kept == (
        f"2 of 4 folds are finished and kept; go on with `python -m train crossval --resume {folder}`"
    )
    assert read_record(folder).state == "unfinished"

    def the_others(run_fold: Callable[[FoldJob], FoldResult], jobs: Iterable[FoldJob]) -> Iterator[FoldResult]:
        return map(run_fold, [job for job in jobs if ran.append(job.which) is None])

    _, record = resume_crossval(folder, None, the_others)
    assert ran == [0, 1, 2, 3]
    assert record.state == "finished"
    for name in ("predictions.csv", "nearest.csv"):
        assert (folder / name).read_bytes() == (result[0] / name).read_bytes()
    assert not (folder / "checkpoint").exists()
    with pytest.raises(UserError, match="nothing to go on with"):
        resume_crossval(folder)


def test_folds_in_another_process_come_to_what_they_come_to_here_to_the_bit(tiny: str, tones_cache: Path) -> None:
    options = options_of(48, 2, **OPTIONS | {"epochs": 1})
    folding = Folding(tones_cache, open_cache(tones_cache).fingerprint, options, 2, 1, None)
    jobs = [FoldJob(folding, 0), FoldJob(folding, 1)]
    with local_map(1, deterministic=True) as run_all:
        there = list(run_all(partial(knowing_tiny, run_fold), jobs))
    for one, other in zip(map(run_fold, jobs), there, strict=True):
        assert one.history == other.history
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_another_process_is_told_who_is_at_work_in_the_run_directory(
    result: tuple[Path, Record], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(result[0], tmp_path / "run"))
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"state": "unfinished"}))
    hold = (
        "import sys, pathlib; from train.runs.directory import held\n"
        "with held(pathlib.Path(sys.argv[1])): print(1, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        with pytest.raises(UserError, match=f"process {process.pid} is at work in .*; let it finish first"):
            resume_crossval(folder)
        process.stdin.close()


def test_the_names_can_give_the_folds(tones_cache: Path) -> None:
    cache = open_cache(tones_cache)
    groups = np.arange(len(cache))
    folds = make_folds(cache, groups, 0.0, 0, 5, 1, r"s(\d)_nohash")
    assert [fold.number for fold in folds] == list(range(1, 9))
    for speaker, fold in enumerate(folds):
        assert {cache.paths[row].split("s")[1][0] for row in fold.test.tolist()} == {str(speaker)}
        assert sorted([*fold.train.tolist(), *fold.test.tolist()]) == list(range(len(cache)))
    assert shared_by_folds(cache.paths, groups, folds) == []
    by_take = make_folds(cache, groups, 0.0, 0, 5, 1, r"_(\d)\.wav")
    speakers = clip_groups(cache.paths, cache.columns["sha256"])
    (line,) = shared_by_folds(cache.paths, speakers, by_take)
    assert line.startswith("8 groups of one speaker, recording or content in several folds, so the score flatters")
    with pytest.raises(UserError, match=r"finds no fold in 32 of the 48 paths, such as 'cat/"):
        make_folds(cache, groups, 0.0, 0, 5, 1, r"dog/.*_(\d)\.wav")
    with pytest.raises(UserError, match="finds one fold only"):
        make_folds(cache, groups, 0.0, 0, 5, 1, r"(nohash)")


def test_ten_comes_after_nine(tones_cache: Path) -> None:
    cache: Any = SimpleNamespace(
        clip_paths=[f"{name}/fold{i}-x.wav" for name in ("dog", "cat") for i in range(1, 12)],
        clip_labels=np.repeat([0, 1], 11),
        class_names=("dog", "cat"),
    )
    folds = make_folds(cache, np.arange(22), 0.0, 0, 5, 1, r"fold(\d+)-")
    assert [cache.clip_paths[fold.test[0]] for fold in folds] == [f"dog/fold{i}-x.wav" for i in range(1, 12)]


def test_one_class_is_refused_with_what_to_add(tones: Path, tmp_path: Path) -> None:
    cache_file = featurize(tones, tmp_path / "one.h5", "--classes", "dog")
    for start in (
        lambda: crossval(cache_file, tmp_path / "run", **OPTIONS),
        lambda: fit(cache_file, tmp_path / "run", **OF_FIT),
        lambda: sweep(cache_file, [Options(**OF_FIT)], tmp_path / "sweep"),
    ):
        with pytest.raises(UserError, match=r"has one class only \(dog\).*add a folder of other sounds"):
            start()
