"""fit(): one run, from a cache to a run directory with a trained and scored model."""

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache import Cache, open_cache
from cache.terminal import Interrupted, UserError
from train import models
from train.runs import FINISHED, UNFINISHED, new_run, read_record, read_table, write_record, write_table
from train.sanity import BASELINES
from train.score import score
from train.splits import SPLITS, clip_groups, split_clips

LIBRARIES = ("h5py", "keras", "numpy", "tensorflow")


@dataclass(frozen=True)
class Options:
    """What decides a fit, beside the cache; the names and meanings are those of `python -m train fit --help`."""

    model: str = "baseline"
    epochs: int = 15
    batch_size: int = 32
    learning_rate: float | None = None
    seed: int = 0
    val: float = 0.15
    test: float = 0.15
    group_by: str | None = None
    class_weight: str | None = None
    patience: int | None = None
    deterministic: bool = False


def fit(cache_file: Path, run: Path | None, options: Options) -> tuple[Path, dict[str, Any]]:
    """Train a model on a cache and leave everything about it in a new run directory.

    Parameters
    ----------
    cache_file
        What `python -m featurize` wrote.
    run
        The new run directory; None: one named after the time and the model, in `runs`.
    options
        See Options.

    Returns
    -------
    folder : Path
        The run directory.
    record : dict
        What its `run.json` says.

    Raises
    ------
    UserError
        The cache cannot be used, no split can be made, the run directory exists, or training diverged.
    """
    models.recipe(options.model)  # errors come before the seconds that TensorFlow takes
    cache = open_cache(cache_file)
    groups = clip_groups(cache.paths, cache.columns["sha256"], options.group_by)
    split = split_clips(cache.labels, groups, cache.class_names, options.val, options.test, options.seed)
    folder = new_run(run, options.model)
    record = {
        "state": UNFINISHED,
        "command": "fit",
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        **_describe(cache),
        "options": asdict(options),
        "split": describe_split(cache, groups, split),
        "clip_duration": float(np.median(cache.columns["duration"][split == 0])),
    }
    names = [SPLITS[side] for side in split.tolist()]
    write_table(folder / "split.csv", ("path", "split"), zip(cache.paths, names, strict=True))
    sha256 = (digest.decode() for digest in cache.columns["sha256"].tolist())
    write_table(folder / "content.csv", ("sha256", "split"), zip(sha256, names, strict=True))
    write_record(folder, record)
    return folder, _train(folder, record, options, cache, groups, split)


def resume_fit(folder: Path, cache_file: Path | None) -> tuple[Path, dict[str, Any]]:
    """Go on with a fit that was interrupted, after its last whole epoch.

    Parameters
    ----------
    folder
        Its run directory.
    cache_file
        Where its cache is now; None: where it was.

    Returns
    -------
    folder : Path
        The run directory.
    record : dict
        What its `run.json` says now.

    Raises
    ------
    UserError
        The fit is finished, or is not a fit, or its cache has changed since.
    """
    record = read_record(folder)
    if record["state"] == FINISHED or record.get("command") != "fit":
        raise UserError(f"{folder} is finished; there is nothing to go on with")
    try:
        options = Options(**record["options"])
        file, fingerprint = Path(cache_file or record["cache"]["file"]), record["cache"]["fingerprint"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / 'run.json'} is not the record of a fit ({error} is missing or wrong)") from None
    cache = open_cache(file)
    if cache.fingerprint != fingerprint:
        raise UserError(f"{file} has changed since {folder} was started on it; start a new fit")
    sides = {row["path"]: row["split"] for row in read_table(folder / "split.csv")}
    try:
        split = np.array([SPLITS.index(sides[path]) for path in cache.paths], np.int8)
    except (KeyError, ValueError):
        raise UserError(f"{folder / 'split.csv'} does not list the clips of {file}; start a new fit") from None
    groups = clip_groups(cache.paths, cache.columns["sha256"], options.group_by)
    return folder, _train(folder, record, options, cache, groups, split)


def _train(
    folder: Path,
    record: dict[str, Any],
    options: Options,
    cache: Cache,
    groups: npt.NDArray[np.intp],
    split: npt.NDArray[np.int8],
) -> dict[str, Any]:
    from train.backend import seed_everything
    from train.checkpoint import Checkpoint
    from train.loop import train_model
    from train.predict import predict_rows

    started = time.perf_counter()
    seed_everything(options.seed, options.deterministic)
    model = models.build_model(options.model, len(cache.class_names), options.learning_rate)
    train_rows, val_rows, test_rows = (np.flatnonzero(split == side) for side in range(len(SPLITS)))
    with _resumable(folder):
        history, best = train_model(
            model,
            cache.X,
            cache.y,
            train_rows,
            val_rows,
            epochs=options.epochs,
            batch_size=options.batch_size,
            seed=options.seed,
            class_weight=balanced_weights(cache.labels[train_rows]) if options.class_weight else None,
            patience=options.patience,
            run_dir=folder,
        )
    metrics, sanity = None, None
    if len(test_rows):
        probabilities = predict_rows(model, cache.X, test_rows)
        labels, of_groups = cache.labels[test_rows], groups[test_rows]
        metrics = score(labels, probabilities.argmax(axis=1), cache.class_names, of_groups)
        sanity = {
            name: score(labels, guess(cache, train_rows, test_rows), cache.class_names, of_groups)
            for name, guess in BASELINES.items()
        }
        write_predictions(folder / "predictions.csv", cache, test_rows, probabilities)
    save_model(model, options.model, len(cache.class_names), folder / "model.keras")
    record = {
        **record,
        "state": FINISHED,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "n_parameters": model.count_params(),
        "n_epochs": len(history),
        "best_epoch": best,
        "seconds": round(time.perf_counter() - started, 3),
        "metrics": metrics,
        "sanity": sanity,
    }
    write_record(folder, record)
    Checkpoint(folder).discard()
    return record


def balanced_weights(labels: npt.NDArray[np.intp]) -> dict[int, float]:
    """Return for every class the weight that makes all classes count alike, with mean 1 over the clips."""
    counts = np.bincount(labels)
    return {label: len(labels) / (len(counts) * n) for label, n in enumerate(counts.tolist()) if n}


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    try:
        yield
    except Interrupted as stop:
        stop.kept = f"every finished epoch is kept; go on with `python -m train fit --resume {folder}`"
        raise


def _describe(cache: Cache) -> dict[str, Any]:
    return {
        "class_names": list(cache.class_names),
        "settings": cache.settings,
        "feature_version": cache.feature_version,
        "cache": {
            "file": str(cache.file.absolute()),
            "fingerprint": cache.fingerprint,
            "n_clips": len(cache),
            "dtype": cache.X.dtype.name,
            "data_dir": cache.data_dir,
            "versions": cache.versions,
        },
    }


def describe_split(cache: Cache, groups: npt.NDArray[np.intp], split: npt.NDArray[np.int8]) -> dict[str, Any]:
    """Return clips, groups and clips per class of each split, by its name."""
    return {
        name: {
            "n": int(np.count_nonzero(split == side)),
            "n_groups": len(np.unique(groups[split == side])),
            "n_per_class": {
                class_name: int(np.count_nonzero((split == side) & (cache.labels == label)))
                for label, class_name in enumerate(cache.class_names)
            },
        }
        for side, name in enumerate(SPLITS)
    }


def write_predictions(
    file: Path, cache: Cache, rows: npt.NDArray[np.intp], probabilities: npt.NDArray[np.float32]
) -> None:
    """Write a CSV file with a line for every clip that was tested: path, class, predicted class, probabilities."""
    names, paths, labels = cache.class_names, cache.paths, cache.labels
    lines = (
        (paths[row], names[labels[row]], names[p.argmax()], *(f"{value:.6g}" for value in p.tolist()))
        for row, p in zip(rows.tolist(), probabilities, strict=True)
    )
    write_table(file, ("path", "class", "predicted", *(f"p_{name}" for name in names)), lines)


def save_model(model: Any, name: str, n_classes: int, file: Path) -> None:
    """Save a trained model for plain Keras, compiled but without the state of its optimiser (twice its own size)."""
    fresh = models.build_model(name, n_classes)
    fresh.set_weights(model.get_weights())
    beside = file.with_name(f"next-{file.name}")
    fresh.save(beside)
    beside.replace(file)
