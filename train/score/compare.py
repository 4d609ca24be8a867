"""compare(): runs side by side, which of their scores may be compared, and whether they differ by more than chance."""

import os
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from cache.shared.errors import UserError
from cache.shared.files import as_path
from train.runs.record import FINISHED, Record, read_record
from train.runs.tables import read_predictions, read_split

SORTS = ("accuracy", "seconds", "run")

# Settings that the columns model and split already show.
_SHOWN_ELSEWHERE = {"model", "val", "test", "folds", "repeats"}


class McNemar(NamedTuple):
    """How often only the first of two runs was right, how often only the second, and the p-value of that."""

    only_first: int
    only_second: int
    p: float


@dataclass(frozen=True)
class Entry:
    """One run of a comparison."""

    folder: Path
    record: Record
    # Whether the run was right about each clip that it was tested on. With the same cache, equal paths are equal clips.
    # In any cache, a clip is its sha256, its class and its number among the clips of that content and class; a
    # cross-validation keeps no digests.
    by_path: Mapping[Hashable, bool] = field(default_factory=dict)
    by_content: Mapping[Hashable, bool] = field(default_factory=dict)
    clips: int = 0  # entries of equal number, from 1, were tested on the same clips; 0 without a test
    # McNemar's test of the best run on these clips (first) and this one (second); None for the best itself.
    difference: McNemar | None = None

    @property
    def split(self) -> str:
        """Clips to train, to choose the epoch and to test, as 84/18/18; or folds and repeats."""
        record = self.record
        if record.command == "fit":
            return "/".join(str(subset.n) for subset in record.split.values())
        return f"{record.n_folds} folds" + (f" x {record.n_repeats}" if record.n_repeats > 1 else "")

    @property
    def accuracy(self) -> float:
        """0 without a test."""
        return self.record.metrics.accuracy if self.record.metrics else 0.0

    @property
    def has_groups(self) -> bool:
        """Whether some of the tested clips belong together."""
        record = self.record
        n_groups = record.split["test"].n_groups if record.command == "fit" else record.n_groups
        return record.metrics is not None and n_groups < record.metrics.n


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, the names of the options in which they differ, and warnings."""

    entries: list[Entry]
    settings: list[str]
    warnings: list[str]


def compare(paths: str | Path | list[Path] | list[str] | tuple[str | Path, ...], sort: str = "accuracy") -> Comparison:
    """Compare the runs at some paths: run directories, or folders that hold some at any depth.

    They are sorted by `accuracy` (the best first), `seconds` (the fastest first) or `run` (by name). Raises a UserError
    if a path is not a run directory and holds none, or there is no finished run.
    """
    if sort not in SORTS:
        raise UserError(f"sort is {sort!r}, expected one of {', '.join(SORTS)}")
    named = [as_path(path, "a run") for path in (paths if isinstance(paths, list | tuple) else [paths])]
    entries, warnings = [], []
    for folder, is_named in _run_folders(named):
        try:
            record = read_record(folder)
            if record.state == FINISHED:
                entries.append(Entry(folder, record, *(_tested(folder, record) if record.metrics else ())))
            else:
                warnings.append(f"{folder} is unfinished; skipped")
        except UserError as error:
            if is_named:
                raise
            warnings.append(f"{error}; skipped")
    if not entries:
        raise UserError(f"{' '.join(map(str, named))}: there is no finished run; make one with `python -m train fit`")
    entries = _in_sets(sorted(entries, key=lambda entry: -entry.accuracy))
    n_sets = len({entry.clips for entry in entries if entry.clips})
    if n_sets > 1:
        warnings.append(
            f"not all runs were tested on the same clips (there are {n_sets} sets), so a higher score may only mean"
            " easier clips; compare the runs of one set"
        )
    if sort != "accuracy":
        entries.sort(key=lambda entry: entry.record.seconds if sort == "seconds" else str(entry.folder))
    return Comparison(entries, _differing(entries), warnings)


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


def _run_folders(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Yield every run directory once, and whether it was named itself."""
    seen = set()
    for path in paths:
        is_named = (path / "run.json").exists()
        found = [path] if is_named else sorted(_below(path))
        if not found:
            what = "holds no run" if path.is_dir() else "is neither a run directory nor a folder of them"
            raise UserError(f"{path} {what}; make one with `python -m train fit`")
        for folder in found:
            if folder.resolve() not in seen:
                seen.add(folder.resolve())
                yield folder, is_named


def _below(path: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(path):
        if "run.json" in files:
            names.clear()
            yield Path(folder)


def _tested(folder: Path, record: Record) -> tuple[dict[Hashable, bool], dict[Hashable, bool]]:
    """Read the tests of a finished run, by path and by content; of a cross-validation the first repeat alone."""
    first = read_predictions(folder, record.class_names).first_repeat
    paths = (first.paths[i] for i in first.clip.tolist())
    correct: dict[Hashable, bool] = dict(zip(paths, first.correct.tolist(), strict=True))
    by_content: dict[Hashable, bool] = {}
    if record.command == "fit":
        sha256 = {clip.path: clip.sha256 for clip in read_split(folder)}
        if missing := next((path for path in first.paths if path not in sha256), None):
            raise UserError(f"{folder / 'predictions.csv'} has {missing}, which split.csv does not list; train again")
        n_before: Counter[tuple[str, str]] = Counter()
        for path, label in zip(first.paths, first.labels.tolist(), strict=True):
            key = sha256[path], record.class_names[label]
            by_content[*key, n_before[key]] = correct[path]
            n_before[key] += 1
    return correct, by_content


def _in_sets(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries with the number of their set of clips, each tested against the first of its set."""
    firsts: list[Entry] = []
    compared = []
    for entry in entries:
        if not entry.by_path:
            compared.append(entry)
            continue
        for number, first in enumerate(firsts, start=1):
            answers = _answers(first, entry)
            if answers is not None:
                compared.append(replace(entry, clips=number, difference=mcnemar(answers)))
                break
        else:
            firsts.append(entry)
            compared.append(replace(entry, clips=len(firsts)))
    return compared


def _answers(first: Entry, second: Entry) -> list[tuple[bool, bool]] | None:
    """Return for every clip whether each of two runs was right; None if they were not tested on the same clips."""
    is_same = first.record.cache.fingerprint == second.record.cache.fingerprint
    a, b = (entry.by_path if is_same else entry.by_content for entry in (first, second))
    return [(right, b[clip]) for clip, right in a.items()] if a and a.keys() == b.keys() else None


def _differing(entries: Sequence[Entry]) -> list[str]:
    names = dict.fromkeys(name for entry in entries for name in entry.record.options)
    return [
        name
        for name in names
        if name not in _SHOWN_ELSEWHERE and len({repr(entry.record.options.get(name)) for entry in entries}) > 1
    ]
