"""How good the predictions of recordings are, held against labels: counts of windows and of events, and measures.

The criteria for events are those of C. Bilen et al., "A framework for the robust evaluation of sound event detection"
(ICASSP 2020): a detection is right if labels of its class cover a share of it (detection tolerance criterion), and a
label is found if right detections cover a share of it (ground truth intersection criterion).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cache.shared.types import Bools, Float64

# Both shares, see match(); their authors' example has the same.
TOLERANCE = INTERSECTION = 0.5

# Shares are compared to within so much, for times are rounded when they are written.
_ROUNDING = 1e-6

# The curves have a point at every hundredth, and more towards both ends, where a network that is sure has most answers.
THRESHOLDS = np.unique([0, *(k / 10_000 for k in (1, 10, 50, 9950, 9990, 9999)), *(k / 100 for k in range(1, 100))])
N_RESAMPLED = 1000

Ints = npt.NDArray[np.int64]


def covered(spans: Float64, others: Float64) -> Float64:
    """Return how many seconds of each span lie in one or more of the others, shape (len(spans),)."""
    if not len(others):
        return np.zeros(len(spans))
    others = others[np.argsort(others[:, 0])]
    reached = np.maximum.accumulate(others[:, 1])
    is_first = np.concatenate(([True], others[1:, 0] > reached[:-1]))
    starts, ends = others[is_first, 0], reached[np.concatenate((is_first[1:], [True]))]
    until_end = np.cumsum(ends - starts)
    edges = np.column_stack((starts, ends)).ravel()
    seconds = np.column_stack((until_end - (ends - starts), until_end)).ravel()
    until = np.interp(spans, edges, seconds)
    return np.asarray(until[:, 1] - until[:, 0])


def match(detections: Float64, labels: Float64) -> tuple[Bools, Bools]:
    """Return which detections are right, and which labels are found.

    Both are start and end in seconds, all of one class, shape (n, 2) and (m, 2).
    """
    is_right = covered(detections, labels) >= TOLERANCE * lengths(detections) - _ROUNDING
    is_found = covered(labels, detections[is_right]) >= INTERSECTION * lengths(labels) - _ROUNDING
    return is_right, is_found


def lengths(spans: Float64) -> Float64:
    """Return the seconds of each span."""
    return np.asarray(spans[:, 1] - spans[:, 0])


def detections(windows: Float64, is_on: Bools, event: float) -> tuple[Float64, list[slice]]:
    """Join the windows of a class as predict() does, and cut a detection as long as several events into equal parts.

    Where two windows overlap, each has the half that is nearer to it; what lies apart is not joined. Without the cut, a
    network that always answers the same would have one endless detection: one false alarm in a night, or none if half
    of the night is labelled. Windows, by rising start, and detections are start and end in seconds, shape (n, 2) and
    (m, 2); an event is its length in seconds. The second result has the windows of each detection; parts of one share
    theirs.
    """
    starts, ends = windows.T.copy()
    is_apart, middles = starts[1:] > ends[:-1], (starts[1:] + ends[:-1]) / 2
    starts[1:][~is_apart] = ends[:-1][~is_apart] = middles[~is_apart]
    is_first = np.ones(len(windows), bool)
    is_first[1:] = (is_on[1:] != is_on[:-1]) | is_apart
    first = np.flatnonzero(is_first)
    stop = np.append(first, len(windows))[1:]
    first, stop = first[is_on[first]], stop[is_on[first]]
    starts, ends = starts[first], ends[stop - 1]
    n_parts = np.maximum(1, ((ends - starts) / event + _ROUNDING).astype(int))
    whole = np.repeat(np.arange(len(first)), n_parts)
    part = np.arange(len(whole)) - np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
    step = ((ends - starts) / n_parts)[whole]
    begins = starts[whole] + part * step
    members = [slice(a, b) for a, b in zip(first[whole].tolist(), stop[whole].tolist(), strict=True)]
    return np.column_stack((begins, begins + step)), members


def labelled(windows: Float64, labels: Float64) -> Bools:
    """Return which windows, by rising start, overlap a label by at least half of the shorter, shape (len(windows),)."""
    is_labelled = np.zeros(len(windows), bool)
    # Each label is compared with the windows near it: a night has a hundred thousand windows.
    first, stop = np.searchsorted(windows[:, 1], labels[:, 0]), np.searchsorted(windows[:, 0], labels[:, 1])
    for i, (a, b) in enumerate(zip(first.tolist(), stop.tolist(), strict=True)):
        is_labelled[a:b] |= overlapping(windows[a:b], labels[i : i + 1])[:, 0]
    return is_labelled


def overlapping(a: Float64, b: Float64) -> Bools:
    """Tell which spans overlap by at least half of the shorter, shape (len(a), len(b))."""
    overlap = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])
    shorter = np.minimum(lengths(a)[:, None], lengths(b)[None])
    return np.asarray(overlap >= np.maximum(0.5 * shorter - _ROUNDING, 1e-9))


@dataclass(frozen=True)
class Heard:
    """A recording as it was classified, and as it is labelled."""

    seconds: float  # how long it is
    windows: Float64  # start and end of each in seconds, shape (n, 2)
    probabilities: Float64  # shape (n, n_classes); all 0 for a silent window
    labels: Mapping[str, Float64]  # start and end of the labels of each class, by its name, shape (m, 2)

    def answers(self, label: int) -> Float64:
        """Return how probable a class is in each window where it is the most probable one, elsewhere -1, shape (n,)."""
        p = self.probabilities
        return np.where((p.argmax(axis=1) == label) & p.any(axis=1), p[:, label], -1.0)

    def events(self, name: str) -> Float64:
        """Return the labels of a class, each as long as a window at least, around its middle, shape (m, 2).

        A detection is about as long as a window, so half of one in the right place would lie beside a shorter label.
        """
        spans, window = self.labels[name], float(np.median(lengths(self.windows)))
        seconds = np.maximum(lengths(spans), window)
        starts = np.clip(spans.mean(axis=1) - seconds / 2, 0, np.maximum(self.seconds - seconds, 0))
        is_short = (lengths(spans) < window) & (spans[:, 0] < self.seconds)
        return np.where(is_short[:, None], np.column_stack((starts, starts + seconds)), spans)


@dataclass(frozen=True)
class Measure:
    """A measure, None where there is nothing to measure, and its 95 % interval, None for a single recording."""

    value: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Level:
    """The measures of a class over windows or over events, of which there are n."""

    n: int
    precision: Measure
    recall: Measure
    f1: Measure
    average_precision: Measure


@dataclass(frozen=True)
class Line:
    """Precision and recall at each threshold of a curve."""

    precision: list[float | None]
    recall: list[float | None]


@dataclass(frozen=True)
class Curve:
    """Precision and recall by threshold."""

    threshold: list[float]
    windows: Line
    events: Line


@dataclass(frozen=True)
class ClassScore:
    """The score of a class."""

    threshold: float  # the probability from which the class is detected
    # The threshold of best F1 over events, the middle of the highest ones that are equally good; None without events.
    best_threshold: float | None
    windows: Level  # at the threshold, as are the events
    events: Level
    false_alarms_per_hour: Measure  # by the hours of sound without a label of the class
    curve: Curve  # the measures at other thresholds


class Counts(NamedTuple):
    """Numbers by threshold, each of shape (.., n_thresholds): of windows or events found, of false alarms, of all."""

    found: Ints
    false: Ints
    there: Ints

    def added(self, weights: npt.NDArray[np.integer]) -> "Counts":
        """Return the counts of recordings added up, each as often as its weight says, weights (.., n_recordings)."""
        return Counts(*(np.tensordot(weights, one, 1) for one in self))

    def precision(self) -> Float64:
        """Return found / (found + false alarms); NaN where both are 0."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.found / (self.found + self.false))

    def recall(self) -> Float64:
        """Return found / all; NaN where there are none."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.found / self.there)

    def f1(self) -> Float64:
        """Return the harmonic mean of precision and recall; NaN where there is nothing to find."""
        with np.errstate(invalid="ignore"):
            f1 = 2 * self.found / (self.found + self.false + self.there)
        return np.where(self.there > 0, f1, np.nan)

    def average_precision(self) -> Float64:
        """Return the sum of the precisions, each times the recall that its threshold adds to the higher ones.

        As scikit-learn defines it; the same at all thresholds. Over events, recall may fall again at a lower threshold,
        because detections run together; that takes nothing away.
        """
        reached = np.flip(np.maximum.accumulate(np.flip(self.recall(), axis=-1), axis=-1), axis=-1)
        higher = np.concatenate((reached[..., 1:], np.zeros_like(reached[..., :1])), axis=-1)
        area = ((reached - higher) * np.nan_to_num(self.precision())).sum(axis=-1, keepdims=True)
        return np.broadcast_to(area, reached.shape)


def event_seconds(recordings: Sequence[Heard], name: str) -> float:
    """Return how long an event of a class is: the median of its labels, and no less than a window."""
    labels, windows = (
        np.concatenate([lengths(spans) for spans in every])
        for every in ([one.labels[name] for one in recordings], [one.windows for one in recordings])
    )
    return float(max(np.median(labels) if len(labels) else 0.0, np.median(windows)))


def count(heard: Heard, name: str, label: int, thresholds: Float64, event: float) -> tuple[Counts, Counts]:
    """Count what a recording has of a class, over windows and over events.

    A window is of the class if it overlaps one of its labels by at least half of the shorter.
    """
    p, labels = heard.answers(label), heard.events(name)
    truth = labelled(heard.windows, heard.labels[name])
    of_windows, of_events = np.zeros((2, 3, len(thresholds)), np.int64)
    before: Bools | None = None
    for i, threshold in enumerate(thresholds):
        is_on = p >= threshold
        if before is not None and (is_on == before).all():
            of_windows[:, i], of_events[:, i] = of_windows[:, i - 1], of_events[:, i - 1]
            continue
        before = is_on
        of_windows[:, i] = (is_on & truth).sum(), (is_on & ~truth).sum(), truth.sum()
        is_right, is_found = match(detections(heard.windows, is_on, event)[0], labels)
        of_events[:, i] = is_found.sum(), (~is_right).sum(), len(labels)
    return Counts(*of_windows), Counts(*of_events)


def score(recordings: Sequence[Heard], name: str, label: int, threshold: float) -> ClassScore:
    """Score the predictions of a class, detected from a probability on, in one recording or more.

    The `label` is its column of the probabilities. The intervals are 95 % percentile intervals of the bootstrap over
    recordings (B. Efron, 1979).
    """
    thresholds = np.unique([*THRESHOLDS, threshold])
    at = int(np.searchsorted(thresholds, threshold))
    event = event_seconds(recordings, name)
    counted = [count(heard, name, label, thresholds, event) for heard in recordings]
    windows, events = (Counts(*np.stack(level, axis=1)) for level in zip(*counted, strict=True))
    unlabelled = np.array([_unlabelled_hours(heard, name) for heard in recordings])
    n = len(recordings)
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), N_RESAMPLED if n > 1 else 0)
    of_windows, of_events = (
        _Resampled(level.added(np.ones(n, int)), level.added(drawn)) for level in (windows, events)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        alarms = _measure(
            of_events.summed.false[at] / unlabelled.sum(), of_events.drawn.false[:, at] / (drawn @ unlabelled)
        )
    return ClassScore(
        threshold=threshold,
        best_threshold=_best(thresholds, of_events.summed.f1()),
        windows=of_windows.level(at),
        events=of_events.level(at),
        false_alarms_per_hour=alarms,
        curve=Curve(thresholds.tolist(), _line(of_windows.summed), _line(of_events.summed)),
    )


class _Resampled(NamedTuple):
    """The counts of all recordings, and of those that the bootstrap draws, (n_drawn, n_thresholds)."""

    summed: Counts
    drawn: Counts

    def level(self, at: int) -> Level:
        """Return the measures at a threshold."""
        measures = (Counts.precision, Counts.recall, Counts.f1, Counts.average_precision)
        return Level(
            int(self.summed.there[at]), *(_measure(of(self.summed)[at], of(self.drawn)[:, at]) for of in measures)
        )


def _measure(value: float, drawn: Float64) -> Measure:
    known = drawn[np.isfinite(drawn)]
    low, high = np.percentile(known, (2.5, 97.5)).tolist() if len(known) else (0.0, 0.0)
    return Measure(float(value) if np.isfinite(value) else None, (low, high) if len(known) else None)


def _unlabelled_hours(heard: Heard, name: str) -> float:
    whole = np.array([[0.0, heard.seconds]])
    return float(heard.seconds - covered(whole, heard.labels[name])[0]) / 3600


def _line(counts: Counts) -> Line:
    return Line(_or_none(counts.precision()), _or_none(counts.recall()))


def _best(thresholds: Float64, f1: Float64) -> float | None:
    if not np.isfinite(f1).all():
        return None
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    highest = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)[-1]
    return float(thresholds[highest[len(highest) // 2]])


def _or_none(values: Float64) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]
