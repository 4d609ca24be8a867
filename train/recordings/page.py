"""write_page(): what evaluate_recordings() found as a page to look at, with the worst errors to listen to."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cache.shared.errors import UserError
from cache.shared.segment import Segment, samples_of
from cache.shared.text import human_count, human_seconds
from cache.shared.types import Float32
from featurize.audio.decode import open_audio
from featurize.features.row import n_frames_of, spectrogram
from train.predict.rows import clock
from train.predict.windows import settings_of
from train.recordings.evaluate import Error, RecordingsScore
from train.recordings.score import ClassScore
from train.report.figures import Picture, Thresholds, as_picture, as_png, drawing, picture_of, thresholds_figure
from train.report.page import Player, players, render, save
from train.runs.directory import Run, open_run

# A page shows at most so many errors and classes, so that it stays a page.
MAX_PLAYED = 15
MAX_CLASSES = 30
# Seconds that are played of an error at most, and those around it.
_LONGEST, _AROUND = 10.0, 0.5

_SECTIONS = {
    "events": "Events",
    "windows": "Windows",
    "thresholds": "Thresholds",
    "false_alarms": "False alarms",
    "misses": "Misses",
}


class ErrorCard(NamedTuple):
    """An error as the page shows it: when it is, what plays it, and its spectrogram if the recording can be read."""

    error: Error
    when: str
    player: Player
    picture: Picture | None


class ThresholdRow(NamedTuple):
    """A row of the table of thresholds: a class, a threshold, precision and recall over windows and over events."""

    class_name: str
    threshold: float
    shares: list[float | None]


def write_page(folder: Path, result: RecordingsScore) -> Path:
    """Write `recordings.html` into a run directory, and its figure into `figures`."""
    shown = dict(list(result.per_class.items())[:MAX_CLASSES])
    with drawing():
        figure = thresholds_figure({name: _thresholds(one) for name, one in shown.items()})
        picture, png = as_picture(figure), as_png(figure)
    run, recordings, length = open_run(folder), Path(result.recordings), human_seconds(3600 * result.hours)
    n_labels, n_recordings = human_count(result.n_labels, "label"), human_count(result.n_recordings, "recording")
    errors = {"false_alarms": result.false_alarms, "misses": result.misses}
    page = render(
        {
            "title": folder.resolve().name,
            "model": "recordings",
            "kind": "A run on labelled recordings",
            "started": result.recordings,
            "took": length,
            "lead": f"{n_labels} in {n_recordings}, {length} in all, classified window by window.",
            "sections": _SECTIONS,
            "n_recordings": result.n_recordings,
            "n_classes": len(result.per_class),
            "kept_thresholds": result.kept_thresholds,
            "shown": shown,
            "curve": picture,
            "rows": [row for name, one in shown.items() for row in _rows(name, one)],
            "n_errors": {kind: len(every) for kind, every in errors.items()},
            "cards": {kind: _cards(run, recordings, every[:MAX_PLAYED]) for kind, every in errors.items()},
        },
        "recordings.html",
    )
    return save(folder / "recordings.html", page, {"recordings": png})


def _thresholds(one: ClassScore) -> Thresholds:
    curve = one.curve
    return Thresholds(curve.threshold, curve.events.precision, curve.events.recall, one.threshold)


def _rows(name: str, one: ClassScore) -> list[ThresholdRow]:
    """Return a row for every tenth."""
    curve = one.curve
    lines = (curve.windows.precision, curve.windows.recall, curve.events.precision, curve.events.recall)
    return [
        ThresholdRow(name, at, shares)
        for at, *shares in zip(curve.threshold, *lines, strict=True)
        if round(at * 10, 9) in range(1, 10)
    ]


def _cards(run: Run, recordings: Path, errors: Sequence[Error]) -> list[ErrorCard]:
    home = recordings if recordings.is_dir() else recordings.parent
    segments = [Segment(os.path.relpath(one.recording, home), *_played(one)).path for one in errors]
    found = players(home, run.folder, [(segment, None) for segment in segments])
    pictures = _pictures(run, errors)
    return [
        ErrorCard(one, f"{clock(one.start)} - {clock(one.end)}", player, pictures[one])
        for one, player in zip(errors, found, strict=True)
    ]


def _pictures(run: Run, errors: Sequence[Error]) -> dict[Error, Picture | None]:
    """Return the spectrogram of what is played of each error; each recording is read once."""
    pictures: dict[Error, Picture | None] = dict.fromkeys(errors)
    for recording in dict.fromkeys(one.recording for one in errors):
        own = [one for one in errors if one.recording == recording]
        # Where it has changed since it was classified, the player of each error says so.
        with suppress(UserError):
            pictures |= dict(zip(own, _shown(run, recording, [_played(one) for one in own]), strict=True))
    return pictures


def _shown(run: Run, recording: str, spans: Sequence[tuple[float, float]]) -> list[Picture | None]:
    """Return the spectrograms of parts of a recording, from start to end in seconds, with the settings of a run.

    A long part is shown by its middle, and a part behind the end of the recording is None. A recording that cannot be
    read is a ClipError.
    """
    settings = settings_of(run)
    parts: list[list[Float32]] = [[] for _ in spans]
    with open_audio(recording) as audio:
        for i, samples in audio.pieces([samples_of(start, end, audio.sr) for start, end in spans]):
            parts[i].append(samples)
    pictures: list[Picture | None] = []
    for (start, _), part in zip(spans, parts, strict=True):
        if not part:
            pictures.append(None)
            continue
        y = np.concatenate(part)
        seconds = len(y) / audio.sr
        x = spectrogram(y, audio.sr, settings)[:, : n_frames_of(round(seconds * settings.sr), settings), 0]
        middle, half = start + seconds / 2, min(settings.row_seconds, seconds) / 2
        pictures.append(picture_of(x, middle - half, middle + half))
    return pictures


def _played(one: Error) -> tuple[float, float]:
    middle, half = (one.start + one.end) / 2, min(_LONGEST, one.end - one.start) / 2 + _AROUND
    return max(0.0, middle - half), middle + half
