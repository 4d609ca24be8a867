"""what_changed(): the score before reviewers corrected labels, by the run that they reviewed, and after."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cache import Cache
from cache.labels.corrections import FILE, Correction, Decision, read_corrections
from cache.shared.errors import UserError
from cache.shared.text import printable
from train.runs.record import FINISHED, Record, read_record
from train.runs.tables import read_predictions
from train.score.compare import mcnemar


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
    sha256 = cache.clip_sha256
    label_of = dict(zip(sha256, cache.clip_labels.tolist(), strict=True))
    relabelled, n_rejected = {}, 0
    for one in decided:
        label = label_of.get(one.sha256)
        if one.run != run:
            continue
        if one.decision is Decision.CHANGE and label is not None and cache.class_names[label] == one.new:
            relabelled[one.sha256] = one
        n_rejected += label is None and bool(one.why_rejected(cache.class_names))
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


class _Named(NamedTuple):
    """The class of a clip and the one that a run predicted, by their names."""

    true: str
    predicted: str


def _folder_of(run: str, folder: Path) -> Path:
    """Return the directory of a run that corrections name, perhaps as it was seen from another folder."""
    places = [Path(run), folder.parent / Path(run).name]
    found = next((place for place in places if (place / "run.json").is_file()), None)
    if found is None or found.resolve() == folder.resolve():
        raise UserError(f"{run} is not there any more")
    return found


def _named(folder: Path) -> dict[str, _Named]:
    """Return the classes of the clips that a run tested, in its first repeat, by their printable paths."""
    record = read_record(folder)
    if record.state != FINISHED or record.metrics is None:
        raise UserError(f"{folder} has no test")
    names, tested = record.class_names, read_predictions(folder, record.class_names).first_repeat
    return {
        printable(tested.paths[clip]): _Named(names[tested.labels[clip]], names[predicted])
        for clip, predicted in zip(tested.clip.tolist(), tested.predicted.tolist(), strict=True)
    }


def _pairs(
    before: Mapping[str, _Named], after: Mapping[str, _Named], relabelled: Mapping[str, Correction]
) -> dict[bool, list[tuple[bool, bool]]]:
    """Return whether each run was right, for the clips that got another class (True) and those of the same (False)."""
    pairs: dict[bool, list[tuple[bool, bool]]] = {True: [], False: []}
    for path, now in after.items():
        one = relabelled.get(path)
        # A clip that was moved had another path then.
        was = before.get(path) or (one and before.get(one.path))
        if was and (one or was.true == now.true):
            pairs[one is not None].append((was.predicted == now.true, now.predicted == now.true))
    return pairs


def _scored(pairs: list[tuple[bool, bool]]) -> BeforeAfter | None:
    if not pairs:
        return None
    before, after = (sum(right) / len(pairs) for right in zip(*pairs, strict=True))
    return BeforeAfter(len(pairs), before, after, mcnemar(pairs).p)
