"""How good predictions of recordings are, held against labels: counts of windows and of events, and their measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from train.predict.detections import joined

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

# Of the curves: every hundredth, and finer towards both ends, where a network that is sure has most of its answers.
THRESHOLDS = np.unique([0, *(k / 10_000 for k in (1, 10, 50, 9950, 9990, 9999)), *(k / 100 for k in range(1, 100))])
LEVELS = ("windows", "events")
MEASURES = ("precision", "recall", "f1", "average_precision")
N_RESAMPLED = 1000


@dataclass(frozen=True)
class Heard:
    """A recording as it was classified, and as it is labelled.

    Attributes
    ----------
    seconds
        How long it is.
    windows
        Start and end of each window in seconds, shape (n, 2).
    probabilities
        Shape (n, n_classes); all 0 of a silent window.
    labels
        Start and end of the labels of each class, by its name, shape (m, 2).
    """

    seconds: float
    windows: Floats
    probabilities: Floats
    labels: Mapping[str, Floats]


def same(a: Floats, b: Floats) -> Bools:
    """Tell which segments are of the same event: they overlap by at least half of the shorter, shape (len(a), len(b)).

    Each may match several: the intersection criterion of C. Bilen et al. (ICASSP 2020), with half of the shorter.
    """
    overlap = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])
    shorter = np.minimum((a[:, 1] - a[:, 0])[:, None], (b[:, 1] - b[:, 0])[None])
    return overlap >= np.maximum(0.5 * shorter - 1e-6, 1e-9)


def answers(heard: Heard, label: int) -> Floats:
    """Return how probable a class is in each window of which it is the most probable one, elsewhere -1, shape (n,)."""
    p = heard.probabilities
    return np.where((p.argmax(axis=1) == label) & p.any(axis=1), p[:, label], -1.0)


def detections(windows: Floats, is_on: Bools) -> tuple[Floats, list[slice]]:
    """Join the windows of a class into detections, shape (n, 2), each with the slice of its windows."""
    segments, members = joined(windows, is_on.astype(np.int8))
    on = [i for i, one in enumerate(members) if is_on[one.start]]
    return segments[on], [members[i] for i in on]


def counts(heard: Heard, name: str, label: int, thresholds: Floats) -> Ints:
    """Count what a recording has of a class, shape (n_thresholds, 2, 4).

    At each threshold, over windows and over events: the right ones of those that are predicted, those, the found ones
    of those that there are, and those. A window is of a class if it matches one of its labels.
    """
    p, labels = answers(heard, label), heard.labels[name]
    truth = same(heard.windows, labels).any(axis=1)
    found = np.zeros((len(thresholds), len(LEVELS), len(MEASURES)), np.int64)
    before = None
    for i, threshold in enumerate(thresholds):
        is_on = p >= threshold
        if before is not None and (is_on == before).all():
            found[i] = found[i - 1]
            continue
        before = is_on
        n_right = int((is_on & truth).sum())
        found[i, 0] = n_right, is_on.sum(), n_right, truth.sum()
        matches = same(detections(heard.windows, is_on)[0], labels)
        found[i, 1] = matches.any(axis=1).sum(), matches.shape[0], matches.any(axis=0).sum(), matches.shape[1]
    return found


def measures(counted: Ints | Floats) -> Floats:
    """Return precision, recall, F1 and average precision, NaN where there is nothing to measure.

    Average precision is the sum of the precisions, each times the recall that its threshold adds to the higher ones, as
    scikit-learn defines it. Of events, recall may fall again where detections run together, which takes nothing away.

    Parameters
    ----------
    counted
        What counts() says, added up, shape (..., n_thresholds, n_levels, 4), by rising threshold.

    Returns
    -------
    ndarray
        Shape (..., n_thresholds, n_levels, 4); the average precision is the same at all thresholds.
    """
    right, predicted, found, there = np.moveaxis(np.asarray(counted, float), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = right / predicted, found / there
        at_all = np.nan_to_num(precision)
        f1 = np.where(there > 0, np.nan_to_num(2 * at_all * recall / (at_all + recall)), np.nan)
    reached = np.flip(np.maximum.accumulate(np.flip(recall, axis=-2), axis=-2), axis=-2)
    higher = np.concatenate((reached[..., 1:, :], np.zeros_like(reached[..., :1, :])), axis=-2)
    area = ((reached - higher) * at_all).sum(axis=-2, keepdims=True)
    return np.stack((precision, recall, f1, np.broadcast_to(area, recall.shape)), axis=-1)


def score(recordings: Sequence[Heard], name: str, label: int, threshold: float) -> dict[str, Any]:
    """Score the predictions of a class.

    Parameters
    ----------
    recordings
        At least one.
    name, label
        Of the class: its name, and its column of the probabilities.
    threshold
        From which probability on it is detected.

    Returns
    -------
    dict
        `threshold`, and `best_threshold`, the one of best F1 over events, the middle of the highest that are as good,
        None without events; for "windows" and "events": `n`, how many are of the class, and the MEASURES at the
        threshold; `false_alarms_per_hour`; and the `curve`: `threshold`, and for both `precision` and `recall`. A
        measure has a `value`, None where there is nothing to measure, and its `interval`: the 95 % percentile interval
        of the bootstrap over recordings (B. Efron, 1979), None of a single one.
    """
    thresholds = np.unique([*THRESHOLDS, threshold])
    at = int(np.searchsorted(thresholds, threshold))
    counted = np.stack([counts(heard, name, label, thresholds) for heard in recordings])
    hours = np.array([heard.seconds for heard in recordings]) / 3600
    n = len(recordings)
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), N_RESAMPLED)
    resampled = np.tensordot(drawn, counted, 1)
    summed = counted.sum(axis=0)
    whole, varied = measures(summed), measures(resampled)[:, at]

    def told(value: float, values: Floats) -> dict[str, Any]:
        known = values[np.isfinite(values)]
        ends = np.percentile(known, (2.5, 97.5)).tolist() if n > 1 and len(known) else None
        return {"value": float(value) if np.isfinite(value) else None, "interval": ends}

    def alarms(counted: Ints) -> Any:
        return counted[..., at, 1, 1] - counted[..., at, 1, 0]

    return {
        "threshold": threshold,
        "best_threshold": _best(thresholds, whole[:, LEVELS.index("events"), MEASURES.index("f1")]),
        **{
            level: {
                "n": int(summed[at, i, 3]),
                **{measure: told(whole[at, i, j], varied[:, i, j]) for j, measure in enumerate(MEASURES)},
            }
            for i, level in enumerate(LEVELS)
        },
        "false_alarms_per_hour": told(alarms(summed) / hours.sum(), alarms(resampled) / (drawn @ hours)),
        "curve": {
            "threshold": thresholds.tolist(),
            **{
                level: {measure: _or_none(whole[:, i, j]) for j, measure in enumerate(MEASURES[:2])}
                for i, level in enumerate(LEVELS)
            },
        },
    }


def _best(thresholds: Floats, f1: Floats) -> float | None:
    if not np.isfinite(f1).all():
        return None
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    highest = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)[-1]
    return float(thresholds[highest[len(highest) // 2]])


def _or_none(values: Floats) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]
