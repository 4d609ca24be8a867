"""Run directories without training: what fit or crossval leaves but the model, with probabilities drawn at random."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cache import Cache, open_cache
from train.dataset.splits import SPLITS, clip_groups, split_clips
from train.runs.record import FINISHED, describe_split, start_record, versions, write_record
from train.runs.results import FoldSummary, LeakProbe
from train.runs.tables import write_history, write_nearest, write_predictions, write_split
from train.score.metrics import score

OPTIONS = {"model": "tiny", "epochs": 6, "batch_size": 8, "learning_rate": None, "seed": 0, "group_by": None}
# The figures of a fit with a test and few enough classes.
FIGURES = {"accuracy", "loss", "confusion", "calibration"}
HISTORY = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")


def drawn_probabilities(
    cache: Cache, rows: np.ndarray, mistaken: Collection[str], rng: np.random.Generator
) -> np.ndarray:
    """Mostly for the true class; never for the clips that are to be mistaken."""
    n_classes = len(cache.class_names)
    p = rng.dirichlet(np.ones(n_classes), len(rows)).astype(np.float32)
    right = np.arange(len(rows)), cache.labels[rows]
    p[right] += rng.choice([0.2, 2.0], len(rows))
    p[[cache.paths[row] in mistaken for row in rows], :] = 1
    for i in np.flatnonzero([cache.paths[row] in mistaken for row in rows]):
        p[i, right[1][i]] = 0.01
        p[i, (right[1][i] + 1) % n_classes] = 3
    return p / p.sum(axis=1, keepdims=True)


def curve(rng: np.random.Generator) -> list[dict[str, float]]:
    """Six epochs of a loss that falls and an accuracy that rises."""
    falling = np.exp(-np.arange(6) / 3)
    return [
        dict(zip(HISTORY, (i + 1, f + 0.02 * noise, 1 - 0.8 * f, f + 0.2 + 0.05 * noise, 0.95 - 0.7 * f), strict=True))
        for i, (f, noise) in enumerate(zip(falling.tolist(), rng.normal(size=6).tolist(), strict=True))
    ]


def scored(cache: Cache, groups: np.ndarray, rows: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    baseline = score(cache.labels[rows], np.zeros(len(rows), int), cache.class_names, groups[rows])
    return {
        "metrics": score(cache.labels[rows], probabilities.argmax(axis=1), cache.class_names, groups[rows]),
        "sanity": {"majority class": baseline, "random forest": baseline},
        "leak_probe": LeakProbe(0.4, (0.3, 0.5), majority=0.35, leaks=False),
        "warnings": ["the network (10.0 %) does not beat the random forest (20.0 %)"],
        "versions": versions(),
        "state": FINISHED,
        "seconds": 83.2,
    }


def made_fit(folder: Path, cache_file: Path, mistaken: Collection[str] = ()) -> Path:
    """A finished fit; the clips that are to be mistaken are among its test clips."""
    cache, rng = open_cache(cache_file), np.random.default_rng(0)
    groups = clip_groups(cache.paths, cache.columns["sha256"])
    split = split_clips(cache.labels, groups, cache.class_names, 0.2, 0.4, 0)
    split[np.isin(groups, groups[[path in mistaken for path in cache.paths]])] = SPLITS.index("test")
    rows = np.flatnonzero(split == SPLITS.index("test"))
    probabilities = drawn_probabilities(cache, rows, mistaken, rng)
    folder.mkdir(parents=True)
    record = replace(
        start_record("fit", cache, {**OPTIONS, "val": 0.2, "test": 0.4}),
        started="2026-03-04T05:06:07+00:00",
        split=describe_split(cache, groups, split),
        n_parameters=12345,
        n_epochs=6,
        best_epoch=4,
        validation_accuracy=0.85,
        **scored(cache, groups, rows, probabilities),
    )
    write_split(folder, cache, split)
    write_history(folder, curve(rng))
    write_predictions(folder, cache, rows, probabilities)
    write_record(folder, record)
    return folder


def made_crossval(folder: Path, cache_file: Path, n_repeats: int = 2, mistaken: Collection[str] = ()) -> Path:
    """A finished cross-validation in two folds; the two next rows and the one a third behind are most like a clip."""
    cache, rng = open_cache(cache_file), np.random.default_rng(0)
    groups = clip_groups(cache.paths, cache.columns["sha256"])
    rows = np.arange(len(cache))
    drawn = [drawn_probabilities(cache, rows, mistaken, rng) for _ in range(n_repeats)]
    folder.mkdir(parents=True)
    folds = [(repeat, fold) for repeat in range(1, n_repeats + 1) for fold in (1, 2)]
    write_history(folder, [{"repeat": r, "fold": f, **row} for r, f in folds for row in curve(rng)])
    tested = [(repeat + 1, int(groups[row]) % 2 + 1) for repeat in range(n_repeats) for row in rows.tolist()]
    write_predictions(folder, cache, np.tile(rows, n_repeats), np.concatenate(drawn), tested)
    near = [[(row + by) % len(cache) for by in (1, 2, len(cache) // 3)] for row in rows.tolist()]
    write_nearest(folder, cache, rows, near)
    record = replace(
        start_record("crossval", cache, {**OPTIONS, "val": 0.1, "folds": 2, "repeats": n_repeats}),
        started="2026-03-04T05:06:07+00:00",
        n_groups=len(np.unique(groups)),
        folds=[
            FoldSummary(
                repeat,
                fold,
                n_train=20,
                n_val=4,
                n_test=24,
                accuracy=0.5 + 0.1 * fold,
                sanity={"majority class": 0.3, "random forest": 0.6},
                n_epochs=6,
                best_epoch=4,
                seconds=8.5,
            )
            for repeat, fold in folds
        ],
        **scored(cache, groups, np.tile(rows, n_repeats), np.concatenate(drawn)),
    )
    write_record(folder, record)
    return folder
