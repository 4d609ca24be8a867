"""compare(): runs side by side, which of their scores may be compared, and whether they differ by more than chance.

what_changed(): the score before reviewers corrected labels, by the run that they reviewed, and after.
"""

import os
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cache import Cache
from cache.labels.corrections import FILE, Correction, Decision, read_corrections
from cache.shared.cli import called
from cache.shared.errors import UserError
from cache.shared.files import as_path
from cache.shared.text import printable
from train.runs.record import FINISHED, Record, read_record
from train.runs.tables import read_predictions, read_split
from train.score.metrics import McNemar, mcnemar

SORTS = ("accuracy", "seconds", "run")

# Settings that the columns model and split already show.
_SHOWN_ELSEWHERE = {"model", "val", "test", "folds", "repeats"}


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
        raise UserError(f"{' '.join(map(str, named))}: there is no finished run; make one with `{called('train')} fit`")
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


def _run_folders(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Yield every run directory once, and whether it was named itself."""
    seen = set()
    for path in paths:
        is_named = (path / "run.json").exists()
        found = [path] if is_named else sorted(_below(path))
        if not found:
            what = "holds no run" if path.is_dir() else "is neither a run directory nor a folder of them"
            raise UserError(f"{path} {what}; make one with `{called('train')} fit`")
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
    """Return whether a finished run was right in its tests, by path and by content."""
    tests = _tests(folder, record)
    by_content: dict[Hashable, bool] = {}
    if record.command == "fit":
        sha256 = {clip.path: clip.sha256 for clip in read_split(folder)}
        if missing := next((path for path in tests if path not in sha256), None):
            raise UserError(f"{folder / 'predictions.csv'} has {missing}, which split.csv does not list; train again")
        n_before: Counter[tuple[str, str]] = Counter()
        for path, test in tests.items():
            key = sha256[path], test.true
            by_content[*key, n_before[key]] = test.is_right
            n_before[key] += 1
    return {path: test.is_right for path, test in tests.items()}, by_content


class _Test(NamedTuple):
    """The class of a clip and the one that a run predicted, by their names."""

    true: str
    predicted: str

    @property
    def is_right(self) -> bool:
        return self.true == self.predicted


def _tests(folder: Path, record: Record) -> dict[str, _Test]:
    """Read the tests of a finished run, by path; of a cross-validation the first repeat alone."""
    names, tested = record.class_names, read_predictions(folder, record.class_names)
    tests = zip(tested.clip.tolist(), tested.repeat.tolist(), tested.predicted.tolist(), strict=True)
    return {
        tested.paths[clip]: _Test(names[tested.labels[clip]], names[predicted])
        for clip, repeat, predicted in tests
        if repeat == 1
    }


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


class BeforeAfter(NamedTuple):
    """Clips that two runs tested: the share that each classified rightly, and McNemar's p for their difference."""

    n: int
    before: float
    after: float
    p: float


class Changed(NamedTuple):
    """The effect of corrections from the review of a run; None where the two runs tested no such clip."""

    run: str  # as the corrections name it
    n_relabelled: int  # how many contents got another class
    n_rejected: int  # how many cannot be used since
    missing: str = ""  # the reason why there are no scores of before; "" if there are
    others: BeforeAfter | None = None  # the clips that were not corrected
    relabelled: BeforeAfter | None = None  # those with another class now


def what_changed(folder: Path, record: Record, cache: Cache) -> Changed | None:
    """Compare a run with the one whose review corrected labels of its cache; None if no label had been corrected.

    Both are scored by the present labels, each clip once, however many repeats a cross-validation has. Corrections
    that were made after the run began, or in reviews before the last one, count as if they had not been made.
    """
    file, started = cache.file.resolve().with_name(FILE), _moment(record.started)
    try:
        found = read_corrections(file, lambda line: None)
    except UserError:  # featurize says what is wrong with the table
        return None
    decided = [one for one in found.values() if _moment(one.when) < started]
    run = max(decided, key=lambda one: _moment(one.when)).run if decided else ""
    its, sha256, names = [one for one in decided if one.run == run], cache.clip_sha256, cache.class_names
    class_of = {digest: names[label] for digest, label in zip(sha256, cache.clip_labels.tolist(), strict=True)}
    relabelled = {
        one.sha256: one for one in its if one.decision is Decision.CHANGE and class_of.get(one.sha256) == one.new
    }
    n_rejected = sum(one.sha256 not in class_of and bool(one.why_rejected(names)) for one in its)
    if not relabelled and not n_rejected:
        return None
    changed = Changed(printable(run), len(relabelled), n_rejected)
    by_path = {
        printable(path): relabelled[digest]
        for path, digest in zip(cache.clip_paths, sha256, strict=True)
        if digest in relabelled
    }
    try:
        before, after = _named(_folder_of(run, folder)), _named(folder)
    except UserError as error:
        return changed._replace(missing=printable(str(error)))
    pairs = _pairs(before, after, by_path)
    return changed._replace(others=_scored(pairs[False]), relabelled=_scored(pairs[True]))


def _moment(text: str) -> datetime:
    """Parse a time in ISO 8601, in UTC if it names no zone; any other text counts as the end of time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _folder_of(run: str, folder: Path) -> Path:
    """Return the directory of a run that corrections name, perhaps as it was seen from another folder."""
    places = [Path(run), folder.parent / Path(run).name]
    found = next((place for place in places if (place / "run.json").is_file()), None)
    if found is None or found.resolve() == folder.resolve():
        raise UserError(f"{run} is not there any more")
    return found


def _named(folder: Path) -> dict[str, _Test]:
    """Return the tests of a run by their printable paths."""
    record = read_record(folder)
    if record.state != FINISHED or record.metrics is None:
        raise UserError(f"{folder} has no test")
    return {printable(path): test for path, test in _tests(folder, record).items()}


def _pairs(
    before: Mapping[str, _Test], after: Mapping[str, _Test], relabelled: Mapping[str, Correction]
) -> dict[bool, list[tuple[bool, bool]]]:
    """Return whether each run was right, for the clips that got another class (True) and those of the same (False)."""
    pairs: dict[bool, list[tuple[bool, bool]]] = {True: [], False: []}
    for path, now in after.items():
        one = relabelled.get(path)
        # A clip that was moved had another path then.
        was = before.get(path) or (one and before.get(one.path))
        if was and (one or was.true == now.true):
            pairs[one is not None].append((was.predicted == now.true, now.is_right))
    return pairs


def _scored(pairs: list[tuple[bool, bool]]) -> BeforeAfter | None:
    if not pairs:
        return None
    before, after = (sum(right) / len(pairs) for right in zip(*pairs, strict=True))
    return BeforeAfter(len(pairs), before, after, mcnemar(pairs).p)
