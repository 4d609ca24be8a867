"""Sanity baselines and the leak probe: how far one gets without a network, and without sound."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cache import Cache
from cache.shared.text import human_percent
from cache.shared.types import Float32, Rows
from train.runs.results import LeakProbe, Score
from train.score.metrics import accuracy_interval

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier


# With more rows a forest gains little, and its time and memory would rival the network's.
MAX_FOREST_ROWS = 5_000
N_TREES = 100
PROBE_FOLDS = 5
# The recordings give the class away if the probe is surely right for more than this share of the clips on which the
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


def band_statistics(cache: Cache, rows: Rows) -> Float32:
    """Return each mel band's mean, then each one's standard deviation, over the frames: shape (n_rows, 256)."""
    X = np.asarray(cache.X)
    statistics = np.empty((len(rows), 2 * X.shape[1]), np.float32)
    for i, row in enumerate(rows):
        spectrogram = X[row, :, :, 0].astype(np.float32, copy=False)
        statistics[i] = np.concatenate([spectrogram.mean(axis=1), spectrogram.std(axis=1)])
    return statistics


def leak_probe(cache: Cache, groups: Rows, seed: int) -> LeakProbe | None:
    """Measure how well the class is predicted without sound, from duration, sample rate and file format alone.

    A random forest is cross-validated over all clips, with the groups kept together. If it beats the majority class
    by a clear margin, the way the clips were recorded gives the class away, and a good score on them may mean nothing
    elsewhere.

    Returns
    -------
    LeakProbe or None
        None when a class has too few groups to cross-validate.
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
    leaks = bool(low - majority > PROBE_MARGIN * (1 - majority))
    return LeakProbe(float(correct.mean()), (low, high), majority, leaks)


def warnings(metrics: Score | None, sanity: Mapping[str, Score], probe: LeakProbe | None) -> list[str]:
    """Return a line for each doubt about a score: a baseline that is as good, recordings that give the class away."""
    lines = [
        f"the network ({human_percent(metrics.accuracy)}) does not beat the {name} ({human_percent(baseline.accuracy)})"
        for name, baseline in sanity.items()
        if metrics and metrics.accuracy <= baseline.accuracy
    ]
    if probe and probe.leaks:
        lines.append(
            f"duration, sample rate and file format alone give away the class of {human_percent(probe.accuracy)} of the"
            f" clips (always guessing the most frequent class: {human_percent(probe.majority)}), so a good score may"
            " come from how they were recorded"
        )
    return lines


def _facts(cache: Cache) -> npt.NDArray[np.float64]:
    # One column per format, so that formats have no order.
    _, formats = np.unique(cache.columns["format"], return_inverse=True)
    one_hot = np.eye(formats.max() + 1)[formats]
    return np.column_stack([cache.columns["duration"], cache.columns["sr"], one_hot])


def _forest(seed: int) -> "RandomForestClassifier":
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(N_TREES, random_state=seed, n_jobs=-1)
