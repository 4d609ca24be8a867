"""crossval(): every clip of a cache tested by a model that never saw its group."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cache import Cache, open_cache
from cache.shared.command import complain, is_watched
from cache.shared.errors import UserError
from cache.shared.text import human_seconds
from train.dataset.splits import clip_groups, split_clips
from train.fit.options import Options, options_of
from train.models import recipes as models
from train.runs.directory import new_run
from train.runs.record import FINISHED, Record, start_record, versions, write_record
from train.runs.tables import History, write_history, write_predictions
from train.score.baselines import BASELINES, leak_probe, warnings
from train.score.metrics import accuracy_interval, score

Rows = npt.NDArray[np.intp]


class Fold(NamedTuple):
    """The rows of one fold; each number counts from 1."""

    repeat: int
    number: int
    train: Rows
    val: Rows
    test: Rows


class FoldJob(NamedTuple):
    """One fold of a cross-validation: all that run_fold() needs, small however many clips there are.

    Attributes
    ----------
    cache_file, fingerprint
        The cache, and what it must still hold.
    options, n_folds, n_repeats
        As for crossval().
    which
        Which of make_folds().
    """

    cache_file: Path
    fingerprint: str
    options: Options
    n_folds: int
    n_repeats: int
    which: int


def crossval(
    cache_file: str | Path,
    run: str | Path | None = None,
    options: Options | None = None,
    n_folds: int = 5,
    n_repeats: int = 1,
    run_all: Callable[[Callable[[FoldJob], "FoldResult"], Iterable[FoldJob]], Iterable["FoldResult"]] = map,
    **chosen: Any,
) -> tuple[Path, Record]:
    """Cross-validate a model on a cache.

    Parameters
    ----------
    cache_file
        What `python -m featurize` wrote.
    run
        The new run directory; None: one named after the time and the model, in `runs`.
    options
        As for fit(); `test` is not used. `val` is the share of all clips that is taken from the training folds to
        choose the epoch.
    n_folds
        At least 2.
    n_repeats
        How often all folds are drawn anew, at least 1.
    run_all
        How the folds are run: `map`, one after another in this process, or another map, such as that of a cluster.
    chosen
        Options by name, as for fit().

    Returns
    -------
    folder : Path
        The run directory: `run.json`, `history.csv` and `predictions.csv`, and no model.
    record : Record
        What its `run.json` says; its `metrics` are those of all test clips of all repeats, with the interval of each
        clip's mean over the repeats.

    Raises
    ------
    UserError
        The cache cannot be used, no folds can be made, the run directory exists, or training diverged.
    """
    options = options_of(**{"val": None} | chosen) if options is None else replace(options, **chosen)
    models.recipe(options.model)
    cache = open_cache(cache_file)
    groups = clip_groups(cache.paths, cache.columns["sha256"], options.group_by)
    jobs = [
        FoldJob(cache.file.absolute(), cache.fingerprint, options, n_folds, n_repeats, i)
        for i in range(n_folds * n_repeats)
    ]
    folds = _folds_of(jobs[0])[1]
    folder = new_run(None if run is None else Path(run), f"crossval-{options.model}")
    asked = {**asdict(options), "folds": n_folds, "repeats": n_repeats}
    record = replace(start_record("crossval", cache, asked), n_groups=len(np.unique(groups)))
    write_record(folder, record)
    started = time.perf_counter()
    results = []
    for result in run_all(run_fold, jobs):
        results.append(result)
        _say(result.summary)
    _write_tables(folder, cache, folds, results)
    metrics, *baselines = (
        _pooled(cache, groups, folds, [result.predicted[name] for result in results]) for name in results[0].predicted
    )
    sanity = dict(zip(BASELINES, baselines, strict=True))
    probe = leak_probe(cache, groups, options.seed)
    record = replace(
        record,
        metrics=metrics,
        sanity=sanity,
        leak_probe=probe,
        warnings=warnings(metrics, sanity, probe),
        folds=[result.summary for result in results],
        versions=versions(),
        state=FINISHED,
        seconds=round(time.perf_counter() - started, 3),
    )
    write_record(folder, record)
    return folder, record


def make_folds(cache: Cache, groups: Rows, options: Options, n_folds: int, n_repeats: int) -> Iterator[Fold]:
    """Draw stratified, grouped folds; every clip is in the test part of one fold of every repeat.

    Raises
    ------
    UserError
        A class has fewer groups than there are folds, or not every training part can hold every class.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels = cache.labels
    n_groups = [len(np.unique(groups[labels == label])) for label in range(len(cache.class_names))]
    if min(n_groups) < n_folds:
        found = ", ".join(f"{name} {n}" for name, n in zip(cache.class_names, n_groups, strict=True))
        raise UserError(f"--folds {n_folds} needs as many independent groups of each class; there are: {found}")
    for repeat in range(n_repeats):
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=options.seed + repeat)
        for number, (train, test) in enumerate(splitter.split(labels, labels, groups), start=1):
            if not len(test):
                raise UserError(f"--folds {n_folds}: the groups are too large for so many folds; ask for fewer")
            _, of_train = np.unique(groups[train], return_inverse=True)
            share = options.val * len(labels) / len(train)
            side = split_clips(labels[train], of_train, cache.class_names, share, 0.0, options.seed + repeat)
            yield Fold(repeat + 1, number, train[side == 0], train[side == 1], test)


class FoldResult(NamedTuple):
    """What became of a fold."""

    summary: dict[str, Any]
    history: History
    probabilities: npt.NDArray[np.float32]
    predicted: dict[str, Rows]  # by the network, then by each baseline


@lru_cache(1)
def _folds_of(job: FoldJob) -> tuple[Cache, list[Fold]]:
    """Open the cache of a job, whose `which` must be 0, and draw its folds; a process does so once for all of them."""
    cache = open_cache(job.cache_file)
    if cache.fingerprint != job.fingerprint:
        raise UserError(f"{job.cache_file} has changed since the cross-validation began; start a new one")
    groups = clip_groups(cache.paths, cache.columns["sha256"], job.options.group_by)
    return cache, list(make_folds(cache, groups, job.options, job.n_folds, job.n_repeats))


def run_fold(job: FoldJob) -> FoldResult:
    """Train and test one fold.

    Raises
    ------
    UserError
        The cache cannot be used or has changed, or training diverged.
    """
    from train.backend.keras import keras, seed_everything
    from train.fit.loop import train_by_recipe
    from train.models.forward import predict_rows

    cache, folds = _folds_of(job._replace(which=0))
    fold, options = folds[job.which], job.options
    started = time.perf_counter()
    keras.utils.clear_session()
    # Every fold starts from weights of its own.
    seed_everything(options.seed + 1000 * fold.repeat + fold.number, options.deterministic)
    title = f"repeat {fold.repeat} fold {fold.number}"
    model, history, best = train_by_recipe(cache, options, fold.train, fold.val, title=title)
    seconds = time.perf_counter() - started
    probabilities = predict_rows(model, cache.X, fold.test)
    predicted = {"network": probabilities.argmax(axis=1)} | {
        name: guess(cache, fold.train, fold.test, options.seed) for name, guess in BASELINES.items()
    }
    accuracies = {name: float((guess == cache.labels[fold.test]).mean()) for name, guess in predicted.items()}
    summary = {
        "repeat": fold.repeat,
        "fold": fold.number,
        "n_train": len(fold.train),
        "n_val": len(fold.val),
        "n_test": len(fold.test),
        "accuracy": accuracies.pop("network"),
        "sanity": accuracies,
        "n_epochs": len(history),
        "best_epoch": best,
        "seconds": round(seconds, 3),
    }
    return FoldResult(summary, history, probabilities, predicted)


def _say(fold: dict[str, Any]) -> None:
    if is_watched():
        seconds = human_seconds(fold["seconds"])
        complain(f"repeat {fold['repeat']} fold {fold['fold']}: {fold['accuracy']:.1%} in {seconds}")


def _pooled(cache: Cache, groups: Rows, folds: list[Fold], predicted: list[Rows]) -> dict[str, Any]:
    rows, guesses = np.concatenate([fold.test for fold in folds]), np.concatenate(predicted)
    labels = cache.labels
    pooled = score(labels[rows], guesses, cache.class_names, groups[rows])
    # Repeats test the same clips again: they steady the mean, and are no further clips.
    n_correct = np.bincount(rows, weights=guesses == labels[rows], minlength=len(labels))
    return {**pooled, "interval": list(accuracy_interval(n_correct / folds[-1].repeat, groups))}


def _write_tables(folder: Path, cache: Cache, folds: list[Fold], results: list[FoldResult]) -> None:
    both = list(zip(folds, results, strict=True))
    write_history(
        folder, [{"repeat": fold.repeat, "fold": fold.number, **row} for fold, result in both for row in result.history]
    )
    rows = np.concatenate([fold.test for fold in folds])
    probabilities = np.concatenate([result.probabilities for result in results])
    write_predictions(folder, cache, rows, probabilities, [(f.repeat, f.number) for f in folds for _ in f.test])
