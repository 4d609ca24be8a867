"""How good predictions are: accuracy with its interval, macro-F1, precision, recall, confusions; McNemar's test."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cache.shared.types import Ints
from train.runs.results import ClassScore, Interval, Score

# The standard normal quantile of a two-sided 95 % interval.
Z_95 = 1.959963984540054
# With fewer groups than this, the variance between them is itself a guess, which Student's t allows for.
FEW_GROUPS = 10


@dataclass(frozen=True)
class Bin:
    """Predictions whose confidence is within a range: how many, their mean confidence, and how often they are right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class Calibration:
    """How far confidence and accuracy lie apart: the expected calibration error, and the bins that are not empty."""

    error: float
    bins: list[Bin]


class Confusion(NamedTuple):
    """How many clips of a class were taken for another, and which share of the class they are."""

    true: str
    predicted: str
    n: int
    share: float


class McNemar(NamedTuple):
    """How often only the first of two runs was right, how often only the second, and the p-value of that."""

    only_first: int
    only_second: int
    p: float


def score(true: Ints, predicted: Ints, class_names: tuple[str, ...], groups: Ints) -> Score:
    """Score predictions, shape (N,) with N at least 1, against the truth, by label indices.

    Precision, recall and F1 of a class that was never predicted, or has no clips, are 0.
    """
    confusion = confusion_matrix(true, predicted, len(class_names))
    correct = true == predicted
    right = confusion.diagonal().astype(float)
    precision = _ratio(right, confusion.sum(axis=0))
    recall = _ratio(right, confusion.sum(axis=1))
    f1 = _ratio(2 * right, confusion.sum(axis=0) + confusion.sum(axis=1))
    columns = (precision.tolist(), recall.tolist(), f1.tolist(), confusion.sum(axis=1).tolist())
    return Score(
        n=len(true),
        n_groups=len(np.unique(groups)),
        accuracy=float(correct.mean()),
        interval=accuracy_interval(correct.astype(float), groups),
        macro_f1=float(f1.mean()),
        per_class={name: ClassScore(*row) for name, *row in zip(class_names, *columns, strict=True)},
        confusion=confusion.tolist(),
    )


def confusion_matrix(true: Ints, predicted: Ints, n_classes: int) -> npt.NDArray[np.int64]:
    """Count the clips of each true class (row) by predicted class (column), shape (n_classes, n_classes)."""
    pairs = np.asarray(true) * n_classes + np.asarray(predicted)
    return np.bincount(pairs, minlength=n_classes * n_classes).reshape(n_classes, n_classes)


def confusions(confusion: Sequence[Sequence[int]], class_names: Iterable[str]) -> list[Confusion]:
    """Return the confusions of one class with another in a confusion matrix, the most frequent first."""
    names = [*class_names]
    found = [
        Confusion(names[i], names[j], n, n / sum(row))
        for i, row in enumerate(confusion)
        for j, n in enumerate(row)
        if n and i != j
    ]
    return sorted(found, key=lambda one: -one.n)


def accuracy_interval(correct: npt.NDArray[np.float64], groups: Ints) -> Interval:
    """Return the 95 % interval of an accuracy over grouped clips, in [0, 1].

    It is Wilson's score interval (E. B. Wilson, JASA 1927) with the effective number of clips: clips of one speaker are
    right or wrong together, so N clips tell less than N independent ones. N is divided by the design effect, the
    variance of the mean between groups over the binomial variance, when it exceeds 1 (C. Franco et al., Journal of
    Survey Statistics and Methodology 2019). If every clip is its own group, it is Wilson's interval itself. Where no
    difference between groups can be seen, with all clips right or all wrong, each group counts as a clip.

    With fewer than `FEW_GROUPS` groups of several clips, the variance is the unbiased one, and the quantile is that of
    Student's t with one degree of freedom less than groups. The interval of a single group is [0, 1].

    `correct`, shape (N,), is 1 for a clip that was right, 0 for one that was wrong, between for the mean of repeats.
    """
    n: float = len(correct)
    n_groups = len(np.unique(groups))
    p = float(np.mean(correct))
    few = are_few(n_groups, len(correct))
    if few and n_groups == 1:
        return 0.0, 1.0
    if n_groups == 1 or p in (0, 1):
        n = n_groups
    else:
        deviations = np.bincount(groups, weights=correct - p)
        unbiased = n_groups / (n_groups - 1) if few else 1.0
        n /= max(1.0, unbiased * float((deviations**2).sum()) / (n * p * (1 - p)))
    z = _t_95(n_groups - 1) if few else Z_95
    centre = p + z**2 / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n * n))
    scale = 1 + z**2 / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def are_few(n_groups: int, n_clips: int) -> bool:
    """Whether there are so few groups that the interval of the accuracy is Student's."""
    return n_groups < min(FEW_GROUPS, n_clips)


def few_groups(score: Score) -> str:
    """Say how far the interval of a score on clips of few groups can be trusted; "" if there are many groups."""
    if not are_few(score.n_groups, score.n):
        return ""
    if score.n_groups == 1:
        return "1 group: too few for a useful interval"
    return f"{score.n_groups} groups: so few that the interval is wide (Student's t)"


def _t_95(n: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, n))


def calibration(
    confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_], groups: Ints, n_bins: int = 10
) -> Calibration:
    """Compare how sure a network is of its predictions, in [0, 1], with how often they are right.

    The error is the expected calibration error (M. P. Naeini et al., AAAI 2015): the mean gap between confidence and
    accuracy, weighted by clips. The bins have equal width from 0 to 1; each but the first is open on the left.
    """
    edges = np.linspace(0, 1, n_bins + 1)
    which = np.searchsorted(edges[1:-1], confidence)
    bins = [
        Bin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            n=int(inside.sum()),
            confidence=float(confidence[inside].mean()),
            accuracy=float(correct[inside].mean()),
            interval=accuracy_interval(correct[inside].astype(float), groups[inside]),
        )
        for i, inside in ((i, which == i) for i in np.unique(which).tolist())
    ]
    return Calibration(sum(one.n * abs(one.confidence - one.accuracy) for one in bins) / len(correct), bins)


def _ratio(part: npt.NDArray[np.float64], whole: Ints) -> npt.NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def mcnemar(answers: Sequence[tuple[bool, bool]]) -> McNemar:
    """Test whether two classifiers differ, by the clips on which one is right and the other wrong.

    McNemar's test (Q. McNemar, Psychometrika 1947) in its exact form: if neither is better, such a clip falls to either
    with probability 1/2. It assumes that clips are independent. The p-value is two-sided, in (0, 1]; it is 1 if they
    differ on no clip.
    """
    only_first = sum(a and not b for a, b in answers)
    only_second = sum(b and not a for a, b in answers)
    if only_first == only_second:
        return McNemar(only_first, only_second, 1.0)
    from scipy.stats import binomtest

    return McNemar(only_first, only_second, float(binomtest(only_first, only_first + only_second).pvalue))
