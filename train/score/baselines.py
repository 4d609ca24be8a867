"""Sanity baselines and the leak probe: what a score is worth is seen beside what needs no network, or no sound."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cache import Cache
from train.score.metrics import accuracy_interval

Rows = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]

# Past so many rows a forest gains little and its time and memory would rival the network's.
MAX_FOREST_ROWS = 5_000
N_TREES = 100
PROBE_FOLDS = 5
# The recordings give the class away when the probe is surely right in more than this share of the cases in which the
# majority class is wrong.
PROBE_MARGIN = 0.1


def majority_class(cache: Cache, train_rows: Rows, test_rows: Rows, seed: int) -> Rows:
    """Predict the most frequent class of the training rows for every test row."""
    return np.full(len(test_rows), np.bincount(cache.labels[train_rows]).argmax())


def random_forest(cache: Cache, train_rows: Rows, test_rows: Rows, seed: int) -> Rows:
    """Predict by a random forest on each mel band's mean and standard deviation."""
    rows = train_rows
    if len(rows) > MAX_FOREST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MAX_FOREST_ROWS, replace=False))
    forest = _forest(seed).fit(band_statistics(cache, rows), cache.labels[rows])
    return np.asarray(forest.predict(band_statistics(cache, test_rows)))


# Each takes the cache, training rows, test rows and the seed, and returns a label index for every test row.
BASELINES: dict[str, Callable[[Cache, Rows, Rows, int], Rows]] = {
    "majority class": majority_class,
    "random forest": random_forest,
}


def band_statistics(cache: Cache, rows: Rows) -> Floats:
    """Return each mel band's mean, then each one's standard deviation, over the frames: shape (n_rows, 256)."""
    X = np.asarray(cache.X)
    statistics = np.empty((len(rows), 2 * X.shape[1]), np.float32)
    for i, row in enumerate(rows):
        spectrogram = X[row, :, :, 0].astype(np.float32, copy=False)
        statistics[i] = np.concatenate([spectrogram.mean(axis=1), spectrogram.std(axis=1)])
    return statistics


def leak_probe(cache: Cache, groups: Rows, seed: int) -> dict[str, Any] | None:
    """Measure how well the class is predicted without sound, from duration, sample rate and file format alone.

    A random forest, cross-validated over all clips with the groups kept together. Above the majority class by a clear
    margin, the way the clips were recorded gives the class away, and a good score on them may mean nothing elsewhere.

    Returns
    -------
    dict or None
        `accuracy`, its 95 % `interval`, `majority` (share of the most frequent class) and `leaks` (bool); None when
        a class has too few groups to cross-validate.
    """
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    labels = cache.labels
    n_groups = min(len(np.unique(groups[labels == label])) for label in range(len(cache.class_names)))
    if n_groups < 2:
        return None
    rows = np.arange(len(cache))
    if len(rows) > MAX_FOREST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MAX_FOREST_ROWS, replace=False))
    folds = StratifiedGroupKFold(min(PROBE_FOLDS, n_groups), shuffle=True, random_state=seed)
    predicted = cross_val_predict(_forest(seed), _facts(cache)[rows], labels[rows], groups=groups[rows], cv=folds)
    correct = (predicted == labels[rows]).astype(float)
    majority = float(np.bincount(labels[rows]).max() / len(rows))
    low, high = accuracy_interval(correct, groups[rows])
    return {
        "accuracy": float(correct.mean()),
        "interval": [low, high],
        "majority": majority,
        "leaks": bool(low - majority > PROBE_MARGIN * (1 - majority)),
    }


def warnings(metrics: dict[str, Any] | None, sanity: dict[str, Any] | None, probe: dict[str, Any] | None) -> list[str]:
    """Say in a line each what puts a score in doubt: a baseline it does not beat, recordings that leak the class."""
    lines = [
        f"the network ({metrics['accuracy']:.1%}) does not beat the {name} ({baseline['accuracy']:.1%})"
        for name, baseline in (sanity or {}).items()
        if metrics and metrics["accuracy"] <= baseline["accuracy"]
    ]
    if probe and probe["leaks"]:
        lines.append(
            f"duration, sample rate and file format alone tell the class in {probe['accuracy']:.1%} of the clips "
            f"(the most frequent class: {probe['majority']:.1%}), so a good score may come from how they were recorded"
        )
    return lines


def _facts(cache: Cache) -> npt.NDArray[np.float64]:
    # A column for each format, so that no order of formats is made up.
    _, formats = np.unique(cache.columns["format"], return_inverse=True)
    one_hot = np.eye(formats.max() + 1)[formats]
    return np.column_stack([cache.columns["duration"], cache.columns["sr"], one_hot])


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(N_TREES, random_state=seed, n_jobs=-1)
