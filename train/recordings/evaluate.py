"""evaluate_recordings(): a run held against recordings in which people have labelled what they hear."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cache.labels.annotation import Annotation, told
from cache.labels.read import read_labels
from cache.shared.cli import notice
from cache.shared.errors import UserError
from cache.shared.text import human_count, plain, printable
from cache.shared.tree import is_background
from train.predict.predict import predict
from train.predict.results import Kind, Recording, Window
from train.predict.sources import find_sources
from train.recordings.score import Floats, Heard, answers, detections, same, score
from train.runs.directory import Run, open_run
from train.runs.record import write_record


def evaluate_recordings(
    folder: Path, recordings: Path, tables: Sequence[Path], label_column: str | None, keep_thresholds: bool
) -> dict[str, Any]:
    """Score a run on recordings.

    Parameters
    ----------
    folder
        The run directory.
    recordings
        A folder of recordings, or one. In those without labels, there is nothing to find.
    tables, label_column
        The labels: see cache.labels.read.read_labels().
    keep_thresholds
        Whether the run takes over the thresholds that are best here, for `predict --threshold auto`.

    Returns
    -------
    dict
        `run`, `recordings`, `n_recordings`, `n_labels`, `hours`; `per_class`, with what train.recordings.score.score()
        says at the threshold that the run has of a class, or 0; `false_alarms`, the most probable first, and `misses`,
        the least probable first; with `keep_thresholds`, `kept_thresholds` by class.

    Raises
    ------
    UserError
        The run, the tables or all recordings cannot be used, or there are no labels of the run's classes.
    """
    run = open_run(folder)
    names = {name: i for i, name in enumerate(run.class_names) if not is_background(name)}
    labels = _labels_of(run, recordings, tables, label_column, list(names))
    heard = _heard(run, recordings, labels, list(names))
    thresholds = {name: float(run.record.thresholds.get(name, 0.0)) for name in names}
    found = [_errors(path, one, names, thresholds) for path, one in heard.items()]
    result: dict[str, Any] = {
        "run": str(folder),
        "recordings": str(recordings),
        "n_recordings": len(heard),
        "n_labels": sum(len(spans) for one in heard.values() for spans in one.labels.values()),
        "hours": sum(one.seconds for one in heard.values()) / 3600,
        "per_class": {name: score(list(heard.values()), name, i, thresholds[name]) for name, i in names.items()},
        "false_alarms": sorted((row for alarms, _ in found for row in alarms), key=lambda row: -row["probability"]),
        "misses": sorted((row for _, misses in found for row in misses), key=lambda row: row["probability"]),
    }
    if keep_thresholds:
        best = {name: one["best_threshold"] for name, one in result["per_class"].items()}
        result["kept_thresholds"] = kept = {name: at for name, at in best.items() if at is not None}
        where = f"{human_count(len(heard), 'recording')} in {recordings}"
        record = replace(run.record, thresholds={**run.record.thresholds, **kept}, thresholds_of=where)
        write_record(folder, record)
    return result


def _labels_of(
    run: Run, recordings: Path, tables: Sequence[Path], label_column: str | None, names: list[str]
) -> list[Annotation]:
    """Return the labels of the run's classes, and say which others there are."""
    home = recordings if recordings.is_dir() else recordings.parent
    # In any case and Unicode form, as where labels become clips.
    class_of = {plain(name): name for name in run.class_names}
    labels, _, problems = read_labels(tables, home, label_column)
    for line in told(problems):
        notice(line)
    labels = [label._replace(label=class_of.get(plain(label.label), label.label)) for label in labels]
    others = Counter(label.label for label in labels if label.label not in run.class_names)
    if others:
        listed = ", ".join(f"{printable(name)} {n}" for name, n in others.most_common(8))
        rest = f" and {len(others) - 8} more" if len(others) > 8 else ""
        notice(f"{human_count(others.total(), 'label')} not scored, of no class of {run.folder}: {listed}{rest}")
    labels = [label for label in labels if label.label in names]
    if not labels:
        raise UserError(f"there are no labels of {', '.join(names)}, the classes of {run.folder}, so nothing to score")
    return labels


def _heard(run: Run, recordings: Path, labels: Sequence[Annotation], names: list[str]) -> dict[Path, Heard]:
    """Classify the recordings, and put their labels beside what comes of it."""
    of: dict[str, list[Annotation]] = {}
    for label in labels:
        of.setdefault(os.path.realpath(label.file), []).append(label)
    heard: dict[Path, Heard] = {}
    windows: list[Window | Recording] = []
    for one in predict(run, find_sources([recordings])):
        if one.kind in (Kind.WINDOW, Kind.CLIP):
            windows.append(one)
        if one.kind in (Kind.RECORDING, Kind.CLIP):
            own = of.pop(os.path.realpath(one.path), [])
            spans = {name: _spans([label[1:3] for label in own if label.label == name]) for name in names}
            p = [[window.probabilities.get(name, 0.0) for name in run.class_names] for window in windows]
            times = _spans([(window.start, window.end) for window in windows])
            heard[one.path] = Heard(one.end, times, np.array(p), spans)
            if late := [label.where for label in own if label.start >= one.end]:
                notice(f"{one.path}: {human_count(len(late), 'label')} past its end, as {late[0]}: never found")
        if one.kind is Kind.REJECTED:
            notice(f"{one.path}: {one.reason}; not scored")
        if one.kind is not Kind.WINDOW:
            windows = []
    if not heard:
        raise UserError(f"none of the recordings in {recordings} can be used")
    if of:
        n = sum(map(len, of.values()))
        notice(f"{human_count(n, 'label')} not scored, of {human_count(len(of), 'recording')} not used: {min(of)} ..")
    empty = [path for path, one in heard.items() if not any(map(len, one.labels.values()))]
    if empty:
        notice(f"{human_count(len(empty), 'recording')} without labels, where all is false alarm: {min(empty)} ..")
    return heard


def _spans(pairs: Sequence[tuple[float, float]]) -> Floats:
    return np.array(pairs, float).reshape(-1, 2)


def _errors(
    path: Path, heard: Heard, names: dict[str, int], thresholds: dict[str, float]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the false alarms of a recording and its misses, each with what is there or was heard instead."""
    alarms, misses = [], []
    every = [(name, span) for name, spans in heard.labels.items() for span in spans]
    spans = _spans([(span[0], span[1]) for _, span in every])
    for name, label in names.items():
        p, labels = answers(heard, label), heard.labels[name]
        segments, windows = detections(heard.windows, p >= thresholds[name])
        is_right = same(segments, labels)
        for i in np.flatnonzero(~is_right.any(axis=1)).tolist():
            there = {every[j][0] for j in np.flatnonzero(same(segments[i : i + 1], spans)[0])}
            alarms.append(_row(path, name, segments[i], float(p[windows[i]].max()), sorted(there)))
        for j in np.flatnonzero(~is_right.any(axis=0)).tolist():
            on = np.flatnonzero(same(heard.windows, labels[j : j + 1])[:, 0])
            probable = heard.probabilities[on, label].max(initial=0.0)
            instead = {other for other, k in names.items() if (answers(heard, k)[on] >= thresholds[other]).any()}
            misses.append(_row(path, name, labels[j], float(probable), sorted(instead - {name})))
    return alarms, misses


def _row(path: Path, name: str, span: Floats, probability: float, instead: list[str]) -> dict[str, Any]:
    start, end = span.tolist()
    return {
        "recording": str(path),
        "start": start,
        "end": end,
        "class": name,
        "probability": probability,
        "instead": instead,
    }
