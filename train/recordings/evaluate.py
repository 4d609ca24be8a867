"""evaluate_recordings(): a run held against recordings in which people have labelled what they hear."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from cache.labels.annotation import Annotation, told
from cache.labels.read import read_labels
from cache.labels.table import ColumnNames
from cache.shared.cli import notice
from cache.shared.errors import UserError
from cache.shared.text import human_count, human_list, plain, printable
from cache.shared.tree import is_background
from cache.shared.types import Float64
from train.predict.predict import predict
from train.predict.recordings import Kind, by_recording, find_sources
from train.predict.windows import windows_of
from train.recordings.score import ClassScore, Heard, detections, event_seconds, match, overlapping, score
from train.runs.directory import Run, open_run
from train.runs.record import write_record


@dataclass(frozen=True)
class Error:
    """A false alarm or a miss."""

    recording: str
    start: float  # where the detection or the label is, in seconds
    end: float
    class_name: str
    probability: float  # the highest of that class in the windows there
    instead: tuple[str, ...]  # the classes of the labels that are there, or of the windows


@dataclass(frozen=True)
class RecordingsScore:
    """The score of a run on labelled recordings."""

    run: str  # the directory, as it was given; so are the recordings
    recordings: str
    n_recordings: int
    n_labels: int
    hours: float
    per_class: dict[str, ClassScore]  # at the threshold that the run has for a class, or 0
    false_alarms: list[Error]  # at the same thresholds, the most probable first
    misses: list[Error]  # the least probable first
    # By class, the thresholds that the run keeps for `predict --threshold auto`; None if that was not asked for.
    kept_thresholds: dict[str, float] | None = None

    def as_dict(self) -> dict[str, object]:
        """Return what `--json` prints."""
        found = asdict(self)
        for kind in ("false_alarms", "misses"):
            found[kind] = [
                {"class" if key == "class_name" else key: x for key, x in one.items()} for one in found[kind]
            ]
        return {name: value for name, value in found.items() if value is not None}


def evaluate_recordings(
    folder: Path, recordings: Path, tables: Sequence[Path], columns: ColumnNames, keep_thresholds: bool
) -> RecordingsScore:
    """Score a run on a folder of recordings, or on one; a recording without labels counts as one where nothing calls.

    The labels are read as cache.labels.read.read_labels() does. The run may keep the thresholds that are best here, for
    `predict --threshold auto`. Raises a UserError if the run, the tables or all recordings cannot be used, or there are
    no labels of the run's classes.
    """
    run = open_run(folder)
    names = {name: i for i, name in enumerate(run.class_names) if not is_background(name)}
    labels = _labels_of(run, recordings, tables, columns, list(names))
    heard = _heard(run, recordings, labels, list(names))
    every = list(heard.values())
    thresholds = {name: float(run.record.thresholds.get(name, 0.0)) for name in names}
    events = {name: event_seconds(every, name) for name in names}
    errors = [_errors(path, one, names, thresholds, events) for path, one in heard.items()]
    per_class = {name: score(every, name, i, thresholds[name]) for name, i in names.items()}
    kept = None
    if keep_thresholds:
        kept = {name: one.best_threshold for name, one in per_class.items() if one.best_threshold is not None}
        where = f"{human_count(len(heard), 'recording')} in {recordings}"
        record = replace(run.record, thresholds={**run.record.thresholds, **kept}, thresholds_of=where)
        write_record(folder, record)
    return RecordingsScore(
        run=str(folder),
        recordings=str(recordings),
        n_recordings=len(heard),
        n_labels=sum(len(spans) for one in every for spans in one.labels.values()),
        hours=sum(one.seconds for one in every) / 3600,
        per_class=per_class,
        false_alarms=sorted((one for alarms, _ in errors for one in alarms), key=lambda one: -one.probability),
        misses=sorted((one for _, misses in errors for one in misses), key=lambda one: one.probability),
        kept_thresholds=kept,
    )


def _labels_of(
    run: Run, recordings: Path, tables: Sequence[Path], columns: ColumnNames, names: list[str]
) -> list[Annotation]:
    """Return the labels of the run's classes, and say which others there are."""
    home = recordings if recordings.is_dir() else recordings.parent
    # In any case and Unicode form, as where labels become clips.
    class_of = {plain(printable(name)): name for name in run.class_names}
    labels, _, problems = read_labels(tables, home, columns)
    for line in told(problems):
        notice(line)
    labels = [label._replace(label=class_of.get(plain(printable(label.label)), label.label)) for label in labels]
    others = Counter(label.label for label in labels if label.label not in run.class_names)
    if others:
        listed = human_list([f"{name} {n}" for name, n in others.most_common()], 8)
        n = human_count(others.total(), "label")
        notice(f"{n} not scored, because {run.folder} has no such classes: {listed}")
    labels = [label for label in labels if label.label in names]
    if not labels:
        raise UserError(
            f"there are no labels of {', '.join(names)}, the classes of {run.folder}, so there is nothing to score"
        )
    return labels


def _heard(run: Run, recordings: Path, labels: Sequence[Annotation], names: list[str]) -> dict[Path, Heard]:
    """Classify the recordings, and put their labels beside the probabilities."""
    of: dict[str, list[Annotation]] = {}
    for label in labels:
        of.setdefault(os.path.realpath(label.file), []).append(label)
    heard: dict[Path, Heard] = {}
    for one, windows in by_recording(predict(run, find_sources([recordings]), windows_of(run))):
        if one.kind is Kind.REJECTED:
            notice(f"{one.path}: {one.reason}; not scored")
            continue
        own = [_ended(label, one.end) for label in of.pop(os.path.realpath(one.path), [])]
        spans = {name: _spans([label[1:3] for label in own if label.label == name]) for name in names}
        p = [[window.probabilities.get(name, 0.0) for name in run.class_names] for window in windows]
        heard[one.path] = Heard(one.end, _spans([(window.start, window.end) for window in windows]), np.array(p), spans)
        if late := [label.where for label in own if label.start >= one.end]:
            n = human_count(len(late), "label")
            notice(f"{one.path}: {n} past its end, such as {late[0]}; they count as missed")
    if not heard:
        raise UserError(f"none of the recordings in {recordings} can be used")
    if of:
        n, unused = human_count(sum(map(len, of.values())), "label"), human_count(len(of), "recording")
        notice(f"{n} not scored, because {unused} cannot be used or {recordings} does not hold them: {min(of)} ..")
    if empty := [path for path, one in heard.items() if not any(map(len, one.labels.values()))]:
        n = human_count(len(empty), "recording")
        notice(f"{n} without labels, where every detection counts as a false alarm: {min(empty)} ..")
    return heard


def _ended(label: Annotation, seconds: float) -> Annotation:
    """Return a label with the end of its recording, if it is that of the whole."""
    return label._replace(end=seconds) if math.isinf(label.end) else label


def _spans(pairs: Sequence[tuple[float, float]]) -> Float64:
    return np.array(pairs, float).reshape(-1, 2)


def _errors(
    path: Path, heard: Heard, names: dict[str, int], thresholds: dict[str, float], events: dict[str, float]
) -> tuple[list[Error], list[Error]]:
    """Return the false alarms of a recording and its misses."""
    alarms, misses = [], []
    every = [(name, span) for name, spans in heard.labels.items() for span in spans]
    spans = _spans([(span[0], span[1]) for _, span in every])
    is_on = {name: heard.answers(k) >= thresholds[name] for name, k in names.items()}
    for name, k in names.items():
        labels = heard.labels[name]
        found, members = detections(heard.windows, is_on[name], events[name])
        is_right, is_found = match(found, heard.events(name))
        for i in np.flatnonzero(~is_right).tolist():
            there = {every[j][0] for j in np.flatnonzero(overlapping(found[i : i + 1], spans)[0])}
            probable = float(heard.probabilities[members[i], k].max())
            alarms.append(Error(str(path), *_ends(found[i]), name, probable, tuple(sorted(there))))
        for j in np.flatnonzero(~is_found).tolist():
            near = np.flatnonzero(overlapping(heard.windows, labels[j : j + 1])[:, 0])
            probable = float(heard.probabilities[near, k].max(initial=0.0))
            instead = {other for other in names if is_on[other][near].any()}
            misses.append(Error(str(path), *_ends(labels[j]), name, probable, tuple(sorted(instead - {name}))))
    return alarms, misses


def _ends(span: Float64) -> tuple[float, float]:
    return float(span[0]), float(span[1])
