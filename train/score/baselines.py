"""Sanity baselines and the leak probe: how far one gets without a network, and without sound."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cache import Cache
from cache.shared.text import human_percent
from cache.shared.types import Float32, Rows
from train.dataset.rows import mean_by_clip, rows_of
from train.runs.results import LeakProbe, Score
from train.score.metrics import accuracy_interval

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier


# With more clips a forest gains little, and its time and memory would rival the network's.
MAX_FOREST_CLIPS = 5_000
N_TREES = 100
PROBE_FOLDS = 5
# The recordings give the class away if the probe is surely right for more than this share of the clips on which the
# majority class is wrong.
PROBE_MARGIN = 0.1


def majority_class(cache: Cache, train: Rows, test: Rows, seed: int) -> Rows:
    """Predict the most frequent class of the training clips for every test clip."""
    return np.full(len(test), np.bincount(cache.clip_labels[train]).argmax())


def random_forest(cache: Cache, train: Rows, test: Rows, seed: int) -> Rows:
    """Predict by a random forest on each mel band's mean and standard deviation."""
    clips = _few_enough(train, seed)
    forest = _forest(seed).fit(band_statistics(cache, clips), cache.clip_labels[clips])
    return np.asarray(forest.predict(band_statistics(cache, test)))


# Each takes the cache, training clips, test clips and the seed, and returns a label index for every test clip.
BASELINES: dict[str, Callable[[Cache, Rows, Rows, int], Rows]] = {
    "majority class": majority_class,
    "random forest": random_forest,
}


def band_statistics(cache: Cache, clips: Rows) -> Float32:
    """Return each mel band's mean, then each one's standard deviation, over the frames: shape (n_clips, 256).

    A clip of several rows has the mean of each over its rows.
    """
    X = np.asarray(cache.X)
    rows, clip = rows_of(cache, clips)
    statistics = np.empty((len(rows), 2 * X.shape[1]), np.float32)
    for i, row in enumerate(rows):
        spectrogram = X[row, :, :, 0].astype(np.float32, copy=False)
        statistics[i] = np.concatenate([spectrogram.mean(axis=1), spectrogram.std(axis=1)])
    return mean_by_clip(statistics, clip)


def leak_probe(cache: Cache, groups: Rows, seed: int) -> LeakProbe | None:
    """Measure how well the class is predicted without sound, from duration, sample rate and file format alone.

    A random forest is cross-validated over all clips, with the groups kept together. If it beats the majority class by
    a clear margin, the way the clips were recorded gives the class away, and a good score on them may mean nothing
    elsewhere. It is None if a class has too few groups to cross-validate.
    """
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    labels = cache.clip_labels
    n_groups = min(len(np.unique(groups[labels == label])) for label in range(len(cache.class_names)))
    if n_groups < 2:
        return None
    clips = _few_enough(np.arange(cache.n_clips), seed)
    folds = StratifiedGroupKFold(min(PROBE_FOLDS, n_groups), shuffle=True, random_state=seed)
    predicted = cross_val_predict(_forest(seed), _facts(cache)[clips], labels[clips], groups=groups[clips], cv=folds)
    correct = (predicted == labels[clips]).astype(float)
    majority = float(np.bincount(labels[clips]).max() / len(clips))
    low, high = accuracy_interval(correct, groups[clips])
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


def _few_enough(clips: Rows, seed: int) -> Rows:
    if len(clips) <= MAX_FOREST_CLIPS:
        return clips
    return np.sort(np.random.default_rng(seed).choice(clips, MAX_FOREST_CLIPS, replace=False))


def _facts(cache: Cache) -> npt.NDArray[np.float64]:
    # One column per format, so that formats have no order.
    _, formats = np.unique(cache.columns["format"][cache.first_rows], return_inverse=True)
    one_hot = np.eye(formats.max() + 1)[formats]
    return np.column_stack([cache.clip_durations, cache.columns["sr"][cache.first_rows], one_hot])


def _forest(seed: int) -> "RandomForestClassifier":
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(N_TREES, random_state=seed, n_jobs=-1)
