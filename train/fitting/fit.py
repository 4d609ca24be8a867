"""fit(): one run, from a cache to a run directory with a trained and scored model."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cache import Cache, open_cache
from cache.shared.errors import UserError
from cache.shared.files import own_folder, replacing
from cache.shared.options import takes_options
from cache.shared.text import human_count
from cache.shared.types import Float32, Rows
from train.backend.types import Model
from train.dataset.given import choose_split
from train.dataset.rows import mean_by_clip, rows_of
from train.dataset.splits import SPLITS, Subsets, groups_of, refuse_one_class
from train.fitting.checkpoint import resumed, unfinished
from train.fitting.options import Options, checked, idle_patience, options_of, warn_caller
from train.models.calibration import FEW_CLIPS, best_thresholds, calibrated, fit_temperature
from train.models.graph import NoNetwork
from train.models.inference import (
    FILE,
    MODEL_FILE,
    Forward,
    forward,
    nearest_clips,
    predict_clips,
    predict_rows,
    write_network,
)
from train.models.recipes import recipe
from train.runs.directory import LOGS, new_run
from train.runs.record import (
    FINISHED,
    SHORTEST_WINDOW,
    Record,
    describe_split,
    start_record,
    versions,
    write_record,
)
from train.runs.results import LeakProbe, Score
from train.runs.tables import read_split, write_nearest, write_predictions, write_split
from train.score.baselines import BASELINES, leak_probe, warnings
from train.score.metrics import score


class _Fit(NamedTuple):
    """A fit that can begin, or go on: its run directory holds the record and the split."""

    folder: Path
    record: Record
    options: Options
    cache: Cache
    groups: Rows  # of every clip
    split: Subsets  # of every clip, an index into `SPLITS`
    title: str  # see fit()


@takes_options(Options)
def fit(
    cache_file: str | Path,
    run: str | Path | None = None,
    *,
    tensorboard: bool = False,
    title: str = "",
    notify: Callable[[str], None] | None = None,
    **chosen: object,
) -> tuple[Path, Record]:
    """Train a model on a cache and leave everything about it in a new run directory.

    Its other arguments are the options of `python -m train fit`; None stands for the model's own. Returns the run
    directory and what its `run.json` says. Raises a UserError if an option or the cache cannot be used, no split can be
    made, the run directory exists, or training diverged.

    Parameters
    ----------
    cache_file
        The file that `python -m featurize` wrote.
    run
        The new run directory; None: one named after the time and the model, in `runs`.
    tensorboard
        Whether to log for TensorBoard, in the folder `tensorboard` of the run directory.
    title
        The name of this fit in the progress bar, when it is one of many.
    notify
        Takes the warnings of the record, a line each; None: they are warnings of Python.
    """
    chosen = checked(chosen)
    cache = open_cache(cache_file)
    options = options_of(cache.n_clips, len(cache.class_names), **chosen)
    refuse_one_class(cache.file, cache.class_names)
    groups = groups_of(cache, options.group_by)
    given = options.split_file, options.val_list, options.test_list
    usual = options_of(cache.n_clips, len(cache.class_names), model=options.model)
    asked = [name for name in ("val", "test") if getattr(options, name) != getattr(usual, name)]
    split, remarks = choose_split(cache, groups, options.val, options.test, options.seed, *given, asked)
    folder = new_run(run, options.model)
    record = replace(
        start_record("fit", cache, asdict(options)),
        split=describe_split(cache, groups, split),
        clip_duration=max(SHORTEST_WINDOW, float(np.median(cache.clip_durations[split == 0]))),
        warnings=[*remarks, *idle_patience(options, bool((split == SPLITS.index("val")).any()))],
    )
    write_split(folder, cache, split)
    if tensorboard:
        own_folder(folder / LOGS)
    write_record(folder, record)
    record = _train(_Fit(folder, record, options, cache, groups, split, title))
    for line in record.warnings:
        (notify or warn_caller)(line)
    return folder, record


def resume_fit(folder: Path, cache_file: Path | None, title: str = "") -> tuple[Path, Record]:
    """Go on with an interrupted fit, after its last whole epoch; see fit(). Its cache may be elsewhere now.

    Raises a UserError if it is finished, or not a fit, or its cache is gone or has changed.
    """
    record, options, cache = resumed(folder, "fit", cache_file)
    subsets = {clip.path: clip.split for clip in read_split(folder)}
    try:
        split = np.array([SPLITS.index(subsets[path]) for path in cache.clip_paths], np.int8)
    except (KeyError, ValueError):
        raise UserError(f"{folder / 'split.csv'} does not list the clips of {cache.file}; start a new fit") from None
    groups = groups_of(cache, options.group_by)
    return folder, _train(_Fit(folder, record, options, cache, groups, split, title))


def _train(fit: _Fit) -> Record:
    """Train, score, and finish the run directory, which nobody else may use meanwhile."""
    folder, record, options, cache, _, split, title = fit
    train, val, test = (np.flatnonzero(split == i) for i in range(len(SPLITS)))
    with unfinished(folder, "fit", lambda: "every finished epoch is kept"):
        # These take seconds, in which the user may interrupt it.
        from train.backend.keras import seed_everything
        from train.fitting.loop import train_by_recipe

        started = time.perf_counter()
        seed_everything(options.seed, options.deterministic)
        model, history, best = train_by_recipe(cache, options, train, val, folder, title)
        probabilities_of = forward(model)
        temperature, thresholds, few = _calibration(probabilities_of, cache, val)
        probabilities = predict_clips(probabilities_of, cache, test, temperature or 1.0)
        if len(test):
            write_predictions(folder, cache, test, probabilities)
            nearest = nearest_clips(model, options.model, cache, test, probabilities)
            write_nearest(folder, cache, test, nearest.tolist())
        metrics, sanity, probe = _scores(fit, train, test, probabilities)
        examples = cache.X[cache.first_rows[train[:16]]]
        without_network = _save(folder, model, options.model, examples, probabilities_of)
        record = replace(
            record,
            n_parameters=model.count_params(),
            n_epochs=len(history),
            best_epoch=best,
            validation_accuracy=history[best - 1].get("val_accuracy"),
            temperature=temperature,
            thresholds=thresholds,
            thresholds_of=f"its {human_count(len(val), 'validation clip')}" if thresholds else "",
            metrics=metrics,
            sanity=sanity,
            leak_probe=probe,
            warnings=[*record.warnings, *few, *without_network, *warnings(metrics, sanity, probe)],
            versions=versions(),
            state=FINISHED,
            seconds=round(time.perf_counter() - started, 3),
        )
        write_record(folder, record)
    return record


def _calibration(
    probabilities_of: Forward, cache: Cache, clips: Rows
) -> tuple[float | None, dict[str, float], list[str]]:
    """Return the temperature and the thresholds that suit validation clips, and a warning if they are few."""
    if not len(clips):
        return None, {}, []
    rows, clip = rows_of(cache, clips)
    of_rows, labels = predict_rows(probabilities_of, cache.X, rows), cache.clip_labels[clips]
    temperature = fit_temperature(of_rows, labels, clip)
    is_class = np.eye(len(cache.class_names), dtype=bool)[labels]
    thresholds = best_thresholds(is_class, mean_by_clip(calibrated(of_rows, temperature), clip), cache.class_names)
    if len(clips) >= FEW_CLIPS:
        return temperature, thresholds, []
    few = f"only {human_count(len(clips), 'validation clip')} to calibrate with: the temperature was drawn towards 1 "
    return temperature, thresholds, [f"{few}(to {temperature:.2f}), and probabilities may be off"]


def _scores(
    fit: _Fit, train: Rows, test: Rows, probabilities: Float32
) -> tuple[Score | None, dict[str, Score], LeakProbe | None]:
    """Return the network's score, each baseline's by its name, and the leak probe."""
    cache, groups, seed = fit.cache, fit.groups, fit.options.seed
    probe = leak_probe(cache, groups, seed)
    if not len(test):
        return None, {}, probe
    guesses = {name: guess(cache, train, test, seed) for name, guess in BASELINES.items()}
    metrics, *others = (
        score(cache.clip_labels[test], predicted, cache.class_names, groups[test])
        for predicted in (probabilities.argmax(axis=1), *guesses.values())
    )
    return metrics, dict(zip(guesses, others, strict=True)), probe


def _save(
    folder: Path, model: Model, name: str, examples: npt.NDArray[np.floating], probabilities_of: Forward
) -> list[str]:
    """Save a model for plain Keras and for the light runtime; return a warning if the latter is not possible."""
    # Keras warns when it loads an optimiser that has no variables.
    model.optimizer.build(model.trainable_variables)
    with replacing(folder / MODEL_FILE, sync=True) as file:
        model.save(file)
    try:
        write_network(folder, model, recipe(name).variable_width, examples, probabilities_of)
    except NoNetwork as error:
        return [f"predict will start TensorFlow, which takes seconds: {FILE} could not be written ({error})"]
    return []
