"""Detections: the parts of a recording that have one label each, joined from windows that overlap."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cache.labels.annotation import Region
from cache.shared.tree import is_background
from cache.shared.types import Float64
from train.predict.results import Kind, Recording, Window


def joined(windows: Float64, labels: npt.NDArray[np.integer]) -> tuple[Float64, list[slice]]:
    """Join neighbouring windows of one label into segments that do not overlap.

    Where two windows overlap, each has the half that is nearer to it; what lies apart is not joined. Windows, by rising
    start, and segments, whatever their label, are start and end in seconds, shape (n, 2) and (m, 2). The second result
    has the windows of each segment.
    """
    if not len(windows):
        return np.empty((0, 2)), []
    starts, ends = windows[:, 0].copy(), windows[:, 1].copy()
    apart, middles = starts[1:] > ends[:-1], (starts[1:] + ends[:-1]) / 2
    changes = np.flatnonzero((np.diff(labels) != 0) | apart) + 1
    first, stop = np.concatenate(([0], changes)), np.concatenate((changes, [len(labels)]))
    starts[1:][~apart] = ends[:-1][~apart] = middles[~apart]
    return np.column_stack((starts[first], ends[stop - 1])), [slice(a, b) for a, b in zip(first, stop, strict=True)]


class Detections:
    """The detections of one recording after another, each given out as soon as its last window is known."""

    def __init__(self) -> None:
        # The windows of the label that goes on, after the last one of another label.
        self._held: list[Window | Recording] = []
        self._n_before = 0

    def take(self, one: Window | Recording) -> list[Region]:
        """Take the next prediction; return what is complete with it, a class that means "none of them" aside."""
        ended = []
        if one.kind in (Kind.WINDOW, Kind.CLIP):
            # The loudest windows may lie apart.
            if self._held and one.start > self._held[-1].end:
                ended += self._current(self._held)
                self._held, self._n_before = [], 0
            if self._held and one.label != self._held[-1].label:
                ended += self._current([*self._held, one])
                self._held, self._n_before = self._held[-1:], 1
            self._held.append(one)
        if one.kind is not Kind.WINDOW:
            ended += self._current(self._held)
            self._held, self._n_before = [], 0
        return ended

    def _current(self, windows: Sequence[Window | Recording]) -> list[Region]:
        """Return the detection of the label that goes on, by its windows and those next to them."""
        mine = self._held[self._n_before :]
        if not mine or not (label := mine[0].label) or is_background(label):
            return []
        is_mine = np.array([one.label == label for one in windows])
        segments, _ = joined(np.array([(one.start, one.end) for one in windows]), is_mine.astype(np.int8))
        start, end = segments[self._n_before].tolist()
        values = [one.probabilities[label] for one in mine]
        return [Region(start, end, label, sum(values) / len(values))]
