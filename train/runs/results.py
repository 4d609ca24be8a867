"""The measurements of a run, as `run.json` holds them: scores, the leak probe, folds, and the split of the clips."""

import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple


class Within(NamedTuple):
    """The least and the greatest value that a number may have."""

    least: float
    most: float = math.inf

    def __str__(self) -> str:
        return f"{self.least:g} or more" if math.isinf(self.most) else f"between {self.least:g} and {self.most:g}"


Share = Annotated[float, Within(0, 1)]
Count = Annotated[int, Within(0)]
Number = Annotated[int, Within(1)]  # counted from 1
Seconds = Annotated[float, Within(0)]
Interval = tuple[Share, Share]


@dataclass(frozen=True)
class ClassScore:
    """How well one class was predicted; 0 where it was never predicted, or has no clips. `n` counts its clips."""

    precision: Share
    recall: Share
    f1: Share
    n: Count


@dataclass(frozen=True)
class Score:
    """How well the classes of clips were predicted."""

    n: Number  # how many clips were tested
    n_groups: Number  # in how many groups that are independent of each other
    accuracy: Share
    interval: Interval  # of the accuracy, 95 %
    macro_f1: Share
    per_class: dict[str, ClassScore]
    confusion: list[list[Count]]  # clips of each true class (row) by predicted class (column)


@dataclass(frozen=True)
class LeakProbe:
    """How well the class is predicted without sound, beside the share of the most frequent class.

    `leaks` says whether the way the clips were recorded gives the class away.
    """

    accuracy: Share
    interval: Interval
    majority: Share
    leaks: bool


@dataclass(frozen=True)
class FoldSummary:
    """One fold of a cross-validation; `sanity` has the accuracy of each baseline by its name."""

    repeat: Number
    fold: Number
    n_train: Count
    n_val: Count
    n_test: Count
    accuracy: Share
    sanity: dict[str, Share]
    n_epochs: Number
    best_epoch: Number
    seconds: Seconds


@dataclass(frozen=True)
class Subset:
    """One subset of a split: its clips, their groups, and its clips of each class."""

    n: Count
    n_groups: Count
    n_per_class: dict[str, Count]
