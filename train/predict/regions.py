"""Regions: the parts of a recording that have one label each, from windows that overlap."""

from collections.abc import Iterable, Iterator, Sequence

from cache.labels.annotation import Region
from train.predict.predict import Prediction


def regions(windows: Iterable[Prediction]) -> Iterator[Region]:
    """Join the windows of a recording into regions that do not overlap.

    Where two windows overlap, each has the half that is nearer to it. Neighbours of one label are one region, with the
    mean of their probabilities, and windows without a label leave a gap.
    """
    rest = iter(windows)
    last = next(rest, None)
    if last is None:
        return
    start, values = last.start, _value(last)
    for one in rest:
        edge = (one.start + last.end) / 2
        if one.label != last.label:
            yield from _region(start, edge, last.label, values)
            start, values = edge, []
        values += _value(one)
        last = one
    yield from _region(start, last.end, last.label, values)


def _value(one: Prediction) -> list[float]:
    return [one.probabilities[one.label]] if one.label else []


def _region(start: float, end: float, label: str, values: Sequence[float]) -> Iterator[Region]:
    if label:
        yield Region(start, end, label, sum(values) / len(values))
