"""crossval(): every clip of a cache tested by a model that never saw its group."""

import json
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cache import Cache, open_cache
from cache.shared.cli import complain, is_watched
from cache.shared.errors import UserError
from cache.shared.files import replacing
from cache.shared.options import checked_value, takes_options
from cache.shared.text import human_percent, human_seconds
from cache.shared.types import Float32, Rows
from train.dataset.splits import Fold, groups_of, make_folds, refuse_one_class, shared_by_folds
from train.fitting.checkpoint import resumed, unfinished
from train.fitting.options import Options, checked, idle_patience, options_of, warn_caller
from train.fitting.worker import Map
from train.models.inference import forward, nearest_clips, predict_clips
from train.runs.directory import CHECKPOINT, new_run
from train.runs.record import FINISHED, Record, start_record, versions, write_record
from train.runs.results import FoldSummary, Score, typed
from train.runs.tables import History, write_history, write_nearest, write_predictions
from train.score.baselines import BASELINES, leak_probe, warnings
from train.score.metrics import accuracy_interval, score


class Folding(NamedTuple):
    """The cache of a cross-validation, its content by the fingerprint, and all that decides its folds."""

    cache_file: Path
    fingerprint: str
    options: Options
    n_folds: int
    n_repeats: int
    fold_by: str | None


class FoldJob(NamedTuple):
    """Fold number `which`, from 0 through all repeats: what run_fold() needs, small however many clips there are."""

    folding: Folding
    which: int
    work: int = 0  # clips that its training goes through, each counted once an epoch


class FoldResult(NamedTuple):
    """The result of a fold; `predicted` has the classes of its test clips by the network, then by each baseline."""

    summary: FoldSummary
    history: History
    probabilities: Float32
    nearest: Rows  # of nearest_clips(), in the first repeat
    predicted: dict[str, Rows]


@takes_options(Options, "test", "split_file", "val_list", "test_list")
def crossval(
    cache_file: str | Path,
    run: str | Path | None = None,
    *,
    n_folds: int = 5,
    n_repeats: int = 1,
    fold_by: str | None = None,
    run_all: Map[FoldJob, FoldResult] = map,
    notify: Callable[[str], None] | None = None,
    **chosen: object,
) -> tuple[Path, Record]:
    """Cross-validate a model on a cache, in a new run directory, which has no model.

    Its other arguments are the options of `python -m train crossval`; None stands for the model's own. `val` is the
    share of all clips that is taken from the training folds to choose the epoch.

    Returns the run directory and what its `run.json` says; the `metrics` are those of all test clips of all repeats,
    with the interval of each clip's mean over the repeats. Raises a UserError if an option or the cache cannot be used,
    no folds can be made, the run directory exists, or training diverged.

    Parameters
    ----------
    cache_file
        The file that `python -m featurize` wrote.
    run
        The new run directory; None: one named after the time and the model, in `runs`.
    n_folds
        At least 2; with `fold_by` it is not used.
    n_repeats
        How often all folds are drawn, at least 1; with `fold_by` it is not used.
    fold_by
        A regular expression whose one (group) captures, in the path of every clip, the fold that tests it.
    run_all
        How the folds are run: `map`, one after another in this process, or another map, such as that of a cluster.
    notify
        Takes the warnings of the record, a line each; None: they are warnings of Python.
    """
    chosen = checked(chosen)
    n_folds = checked_value("n_folds", n_folds, int, 2)
    n_repeats = checked_value("n_repeats", n_repeats, int, 1)
    cache = open_cache(cache_file)
    options = options_of(cache.n_clips, len(cache.class_names), **chosen)
    refuse_one_class(cache.file, cache.class_names)
    n_repeats = 1 if fold_by else n_repeats
    folding = Folding(cache.file.absolute(), cache.fingerprint, options, n_folds, n_repeats, fold_by)
    _, groups, folds = _folds_of(folding)
    folder = new_run(run, f"crossval-{options.model}")
    asked = {**asdict(options), "folds": max(fold.number for fold in folds), "repeats": n_repeats}
    record = replace(
        start_record("crossval", cache, asked | ({"fold_by": fold_by} if fold_by else {})),
        n_groups=len(np.unique(groups)),
        warnings=[
            *(shared_by_folds(cache.clip_paths, groups, folds) if fold_by else []),
            *idle_patience(options, any(len(fold.val) for fold in folds)),
        ],
    )
    write_record(folder, record)
    record = _run(folder, record, folding, run_all)
    for line in record.warnings:
        (notify or warn_caller)(line)
    return folder, record


def resume_crossval(
    folder: Path, cache_file: Path | None = None, run_all: Map[FoldJob, FoldResult] = map
) -> tuple[Path, Record]:
    """Go on with an interrupted cross-validation, after its finished folds; see crossval().

    `cache_file` is where its cache is now; None: where it was. Raises a UserError if the run is finished, or not a
    cross-validation, or its cache is gone or has changed.
    """
    record, options, cache = resumed(folder, "crossval", cache_file)
    how = record.n_folds, record.n_repeats, record.fold_by
    return folder, _run(folder, record, Folding(cache.file.absolute(), cache.fingerprint, options, *how), run_all)


def _run(folder: Path, record: Record, folding: Folding, run_all: Map[FoldJob, FoldResult]) -> Record:
    """Run the folds that are not finished, and finish the run directory."""
    folds = _folds_of(folding)[2]
    done: dict[int, FoldResult] = {}
    with unfinished(folder, "crossval", lambda: f"{len(done)} of {len(folds)} folds are finished and kept"):
        started = time.perf_counter()
        done |= _kept_folds(folder)
        epochs = folding.options.epochs
        todo = [FoldJob(folding, i, epochs * len(fold.train)) for i, fold in enumerate(folds) if i not in done]
        for job, result in zip(todo, run_all(run_fold, todo), strict=True):
            keep_fold(folder, job.which, result)
            done[job.which] = result
            _notify(result.summary)
        record = _finished(folder, record, folding, [done[i] for i in range(len(folds))])
        record = replace(record, seconds=round(time.perf_counter() - started, 3))
        write_record(folder, record)
    return record


def keep_fold(folder: Path, number: int, result: FoldResult) -> None:
    """Keep a finished fold in the run directory, so that an interrupted cross-validation goes on after it."""
    said = json.dumps({"summary": asdict(result.summary), "history": result.history})
    with replacing(folder / CHECKPOINT / f"fold-{number}.npz", sync=True) as file:
        np.savez(
            file,
            said=np.array(said),
            probabilities=result.probabilities,
            nearest=result.nearest,
            **result.predicted,  # type: ignore[arg-type]  # none is called allow_pickle
        )


def _kept_folds(folder: Path) -> dict[int, FoldResult]:
    """Return what keep_fold() kept, by number; a fold that cannot be read is skipped, and so trained again."""
    results = {}
    for file in (folder / CHECKPOINT).glob("fold-*.npz"):
        with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
            said, probabilities = json.loads(str(arrays.pop("said"))), arrays.pop("probabilities")
            summary, nearest = typed(FoldSummary, said["summary"]), arrays.pop("nearest")
            number = int(file.stem.partition("-")[2])
            results[number] = FoldResult(summary, said["history"], probabilities, nearest, arrays)
    return results


def _finished(folder: Path, record: Record, folding: Folding, results: list[FoldResult]) -> Record:
    """Write the tables of a finished cross-validation and return its record."""
    cache, groups, folds = _folds_of(folding)
    clips = np.concatenate([fold.test for fold in folds])
    of_clips = [(fold.repeat, fold.number) for fold in folds for _ in fold.test]
    history = [
        {"repeat": result.summary.repeat, "fold": result.summary.fold, **row}
        for result in results
        for row in result.history
    ]
    write_history(folder, history)
    write_predictions(folder, cache, clips, np.concatenate([result.probabilities for result in results]), of_clips)
    # The results of the first repeat come first.
    write_nearest(folder, cache, clips, [near for result in results for near in result.nearest.tolist()])
    metrics, *baselines = (
        _pooled(cache, groups, clips, np.concatenate([result.predicted[name] for result in results]))
        for name in results[0].predicted
    )
    sanity = dict(zip(BASELINES, baselines, strict=True))
    probe = leak_probe(cache, groups, folding.options.seed)
    return replace(
        record,
        metrics=metrics,
        sanity=sanity,
        leak_probe=probe,
        warnings=[*record.warnings, *warnings(metrics, sanity, probe)],
        folds=[result.summary for result in results],
        versions=versions(),
        state=FINISHED,
    )


def _pooled(cache: Cache, groups: Rows, clips: Rows, predicted: Rows) -> Score:
    labels = cache.clip_labels
    pooled = score(labels[clips], predicted, cache.class_names, groups[clips])
    # Repeats test the same clips again: that steadies the mean, and makes the clips no more.
    n_correct = np.bincount(clips, weights=predicted == labels[clips], minlength=len(labels))
    return replace(pooled, interval=accuracy_interval(n_correct / np.bincount(clips), groups))


@lru_cache(1)
def _folds_of(folding: Folding) -> tuple[Cache, Rows, list[Fold]]:
    """Open the cache and draw the folds, once for all folds that a process runs."""
    cache_file, fingerprint, options, n_folds, n_repeats, fold_by = folding
    cache = open_cache(cache_file)
    if cache.fingerprint != fingerprint:
        raise UserError(f"{cache_file} has changed since the cross-validation began; start a new one")
    groups = groups_of(cache, options.group_by)
    return cache, groups, make_folds(cache, groups, options.val, options.seed, n_folds, n_repeats, fold_by)


def run_fold(job: FoldJob) -> FoldResult:
    """Train and test one fold; a UserError if the cache cannot be used or has changed, or training diverged."""
    from train.backend.keras import keras, seed_everything
    from train.fitting.loop import train_by_recipe

    cache, _, folds = _folds_of(job.folding)
    fold, options = folds[job.which], job.folding.options
    started = time.perf_counter()
    keras.utils.clear_session()
    # Every fold starts from weights of its own.
    seed_everything((options.seed + 1000 * fold.repeat + fold.number) % 2**32, options.deterministic)
    title = f"repeat {fold.repeat} fold {fold.number}"
    model, history, best = train_by_recipe(cache, options, fold.train, fold.val, title=title)
    seconds = time.perf_counter() - started
    probabilities = predict_clips(forward(model), cache, fold.test)
    predicted = {"network": probabilities.argmax(axis=1)} | {
        name: guess(cache, fold.train, fold.test, options.seed) for name, guess in BASELINES.items()
    }
    accuracies = {name: float((guess == cache.clip_labels[fold.test]).mean()) for name, guess in predicted.items()}
    summary = FoldSummary(
        repeat=fold.repeat,
        fold=fold.number,
        n_train=len(fold.train),
        n_val=len(fold.val),
        n_test=len(fold.test),
        accuracy=accuracies.pop("network"),
        sanity=accuracies,
        n_epochs=len(history),
        best_epoch=best,
        seconds=round(seconds, 3),
    )
    n_compared = len(fold.test) if fold.repeat == 1 else 0
    nearest = nearest_clips(model, options.model, cache, fold.test[:n_compared], probabilities[:n_compared])
    return FoldResult(summary, history, probabilities, nearest, predicted)


def _notify(fold: FoldSummary) -> None:
    if is_watched():
        done = f"{human_percent(fold.accuracy)} in {human_seconds(fold.seconds)}"
        complain(f"repeat {fold.repeat} fold {fold.fold}: {done}")
