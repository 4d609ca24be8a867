"""match(): which detections are right and which labels are found, by how much of each the others cover.

The criteria are those of C. Bilen et al., "A framework for the robust evaluation of sound event detection" (ICASSP
2020): a detection is right if labels of its class cover a share of it (detection tolerance criterion), and a label is
found if right detections cover a share of it (ground truth intersection criterion).
"""

import numpy as np

from cache.shared.types import Bools, Float64
from train.predict.windows import joined

# Both shares; their authors' example has the same.
TOLERANCE = INTERSECTION = 0.5

# Shares are compared to within so much, for times are rounded when they are written.
_ROUNDING = 1e-6


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

    Without the cut, a network that always answers the same would have one endless detection: one false alarm in a
    night, or none if half of the night is labelled. Windows and detections are start and end in seconds, shape (n, 2)
    and (m, 2); an event is its length in seconds. The second result has the windows of each detection; parts of one
    share theirs.
    """
    segments, members = joined(windows, is_on.astype(np.int8))
    on = [i for i, one in enumerate(members) if is_on[one.start]]
    starts, ends = segments[on].T
    n_parts = np.maximum(1, ((ends - starts) / event + _ROUNDING).astype(int))
    whole = np.repeat(np.arange(len(on)), n_parts)
    part = np.arange(len(whole)) - np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
    step = ((ends - starts) / n_parts)[whole]
    first = starts[whole] + part * step
    return np.column_stack((first, first + step)), [members[on[i]] for i in whole.tolist()]


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
