"""mcnemar(): whether two runs that were tested on the same clips differ by more than chance."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cache.shared.errors import UserError
from train.runs.record import Record
from train.runs.tables import read_predictions, read_split


@dataclass(frozen=True)
class Tested:
    """The clips a run was tested on.

    Attributes
    ----------
    fingerprint
        Of its cache: where two agree, equal paths are equal clips.
    by_path
        Path -> whether the run was right.
    by_content
        (sha256, class, number among the clips of that content and class) -> whether the run was right: the same clips
        in any cache. Empty for a cross-validation, which keeps no digests.
    """

    fingerprint: str
    by_path: dict[str, bool]
    by_content: dict[tuple[str, str, int], bool]


class McNemar(NamedTuple):
    """How often only the first of two runs was right, how often only the second, and the p-value of that."""

    only_first: int
    only_second: int
    p: float


def read_tested(folder: Path, record: Record) -> Tested:
    """Read what a finished run was tested on; of a cross-validation its first repeat, so that each clip counts once.

    Raises
    ------
    UserError
        A file of the run directory is missing or damaged.
    """
    try:
        rows = [row for row in read_predictions(folder) if row.repeat == 1]
        by_path = {row.path: row.label == row.predicted for row in rows}
        by_content: dict[tuple[str, str, int], bool] = {}
        if record.command == "fit":
            sha256 = {clip.path: clip.sha256 for clip in read_split(folder)}
            n_before: Counter[tuple[str, str]] = Counter()
            for row in rows:
                key = sha256[row.path], row.label
                by_content[*key, n_before[key]] = by_path[row.path]
                n_before[key] += 1
    except KeyError:
        raise UserError(f"{folder / 'predictions.csv'} does not fit the run's other tables; train again") from None
    return Tested(record.cache.fingerprint, by_path, by_content)


def pairs(first: Tested, second: Tested) -> list[tuple[bool, bool]] | None:
    """Return for every clip whether each of two runs was right, or None if they were not tested on the same clips."""
    if first.fingerprint == second.fingerprint:
        return _pairs(first.by_path, second.by_path)
    return _pairs(first.by_content, second.by_content) if first.by_content else None


def _pairs(first: dict[Any, bool], second: dict[Any, bool]) -> list[tuple[bool, bool]] | None:
    return [(right, second[clip]) for clip, right in first.items()] if first.keys() == second.keys() else None


def mcnemar(answers: list[tuple[bool, bool]]) -> McNemar:
    """Test whether two classifiers differ, by the clips on which one is right and the other wrong.

    McNemar's test (Q. McNemar, Psychometrika 1947) in its exact form: if neither is better, such a clip falls to either
    with probability 1/2. It takes the clips for independent.

    Parameters
    ----------
    answers
        Of every clip, whether each of the two was right; see pairs().

    Returns
    -------
    McNemar
        With the two-sided p-value, in (0, 1]; 1 when they differ on no clip.
    """
    only_first = sum(a and not b for a, b in answers)
    only_second = sum(b and not a for a, b in answers)
    if only_first == only_second:
        return McNemar(only_first, only_second, 1.0)
    from scipy.stats import binomtest

    return McNemar(only_first, only_second, float(binomtest(only_first, only_first + only_second).pvalue))
