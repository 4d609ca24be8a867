"""FindingDesk: the findings of a run in recordings to review, with some seconds around each, and their labels."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np

from cache.file.settings import MelSettings
from cache.labels.corrections import FINDINGS, Decision
from cache.shared.cli import notice
from cache.shared.errors import Interrupted, UserError
from cache.shared.files import locked, own_folder
from cache.shared.segment import samples_of
from cache.shared.text import human_count, printable
from cache.shared.tree import BACKGROUND, is_background
from cache.shared.types import Float32
from featurize.audio.audio import ClipError
from featurize.audio.decode import open_audio
from featurize.audio.resample import resampled
from featurize.features.reference import floors_of, hann_window, mel_filterbank, mel_power, normalise
from featurize.features.row import n_frames_of
from train.predict.recordings import LABELS
from train.predict.windows import settings_of
from train.report.figures import spectrogram_png
from train.report.page import LONGEST, encoded, playable
from train.review.desk import Desk
from train.review.find import Finding, Recordings, find, find_recordings, note_replaced
from train.review.rulings import Ruling, Tables, append_ruling, read_rulings, regions_of
from train.review.server import Server, opened_server
from train.runs.directory import Run

# A view of a finding shows at most so many rows of the features, one of them before the finding and one behind it.
_MOST_ROWS = 16


class View(NamedTuple):
    """A part of a recording: a WAV, and a spectrogram as a PNG."""

    sound: bytes
    picture: bytes


@contextmanager
def opened_findings(
    run: Run,
    paths: Sequence[str],
    thresholds: Mapping[str, float],
    out: Path | None = None,
    predictions: Path | None = None,
    class_name: str | None = None,
    port: int = 0,
) -> Iterator[Server]:
    """Classify recordings as far as that is not done, and yield a server that is ready to serve.

    Raises a UserError if the recordings, the run or a table cannot be used, there is nothing to review, or the port is
    taken.

    Parameters
    ----------
    thresholds
        By class; a detection below it is not a finding.
    out
        The folder for decisions and labels; None: `reviewed` in the folder of the recordings.
    predictions
        A table of `predict --format csv`; None: a hidden one in `out`.
    class_name
        Review only findings of this class.
    """
    recordings = find_recordings(paths)
    if class_name is not None and class_name not in run.class_names:
        raise UserError(f"there is no class {class_name!r} in {run.folder}; there are {', '.join(run.class_names)}")
    folder = out or recordings.folder / "reviewed"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        own_folder(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}); give another folder with --out") from None
    doing, remedy = f"reviews recordings into {folder}", "let it finish, or give another folder with --out"
    with locked(folder / ".lock", doing, remedy, notice):
        table = predictions or folder / _table_name(run)
        stamps = folder / f".{table.name.lstrip('.')}.recordings.json"
        note_replaced(run, recordings.sources, table, stamps, predictions is None)
        try:
            found = find(run, recordings, thresholds, table)
        except Interrupted as stop:
            stop.kept = f"the finished recordings are in {table}; the same command goes on"
            raise
        if not (found := [one for one in found if class_name in (None, one.label)]):
            what = f"no {printable(class_name)}" if class_name else "nothing"
            raise UserError(f"{what} is found in the recordings; --threshold 0.3, for example, finds more")
        desk = FindingDesk(run, recordings, found, folder)
        if not desk.items:
            raise UserError(f"every finding is decided already; the labels are in {folder}")
        notice(f"decisions go into {desk.file}, and labels beside it into the folders {' and '.join(LABELS)}")
        with opened_server(desk, port) as server:
            yield server


def _table_name(run: Run) -> str:
    """Return the name of the predictions of a run, which is another run if it was trained again."""
    digest = sha256(f"{run.folder} {run.record.started}".encode("utf-8", "surrogateescape")).hexdigest()
    return f".{digest[:8]}.predictions.csv"


class FindingDesk(Desk[Finding, Ruling]):
    """The findings in recordings, the table of decisions about them, and the labels in the same folder."""

    kind, decisions = "finding", frozenset(Decision) - {Decision.UNUSABLE}

    def __init__(self, run: Run, recordings: Recordings, findings: Sequence[Finding], folder: Path) -> None:
        rulings = read_rulings(folder / FINDINGS)
        self.background = next(filter(is_background, run.class_names), BACKGROUND)
        new = {region.label for one in rulings for region in one.regions} - {*run.class_names, self.background}
        items, classes = _undecided(findings, rulings), [*run.class_names, *sorted(new)]
        super().__init__(items, classes, run.record.settings, folder / FINDINGS)
        self.run, self.folder, self.home = run, folder, recordings.folder
        self.decided.update({one.key: one for one in rulings})
        self.settings = settings_of(run)
        self.tables = Tables(folder, (self.settings.fmin, self.settings.fmax))
        self._cutting, self._error = Lock(), ""
        self._view: Callable[[int, int], View] = lru_cache(maxsize=4)(self._cut)
        for finding in {one.path: one for one in findings}.values():
            self.follow(finding)

    def state(self) -> dict[str, object]:
        """Return what the page shows of all findings together."""
        tables, background = printable(str(self.folder / "raven")), printable(self.background)
        return {**super().state(), "tables": tables, "background": background}

    def progress(self) -> dict[str, object]:
        """Return the indices of the findings that are decided, and a note for the reviewer."""
        return {**super().progress(), "note": printable(self._error or self.tables.note)}

    def item(self, index: int, view: int = 0) -> dict[str, object]:
        """Return what the page shows of one finding; times in seconds within its recording."""
        finding = self.items[index]
        start, end = self._seconds(index, view)
        was = self.decided.get(finding.key)
        return {
            **super().item(index, view),
            "starts": start,
            "ends": end,
            "sound_starts": start,
            "duration": finding.duration,
            "found": [*finding.span],
            "edges": [was.new_start, was.new_end] if was else [*finding.span],
        }

    def picture(self, index: int, view: int = 0) -> bytes:
        """Return the spectrogram of a view as a PNG."""
        return self._cut_alone(index, view).picture

    def sound(self, index: int, view: int = 0) -> bytes:
        """Return the sound of a view as a WAV."""
        return self._cut_alone(index, view).sound

    def _cut_alone(self, index: int, view: int) -> View:
        # One view is cut at a time, so that memory does not grow with impatience.
        with self._cutting:
            return self._view(index, view)

    def _cut(self, index: int, view: int) -> View:
        start, end = self._seconds(index, view)
        with open_audio(str(self.items[index].file)) as audio:
            blocks = [playable(block) for block in audio.span(*samples_of(start, end, audio.sr))]
            if not blocks:
                raise ClipError("the recording ends before")
            samples = np.concatenate(blocks)
            picture = spectrogram_png(spectrogram(samples, audio.sr, self.settings))
            return View(encoded(samples, audio.sr), picture)

    def _seconds(self, index: int, view: int) -> tuple[float, float]:
        """Return the seconds around a finding that a view shows; never more than `LONGEST`, however long it is."""
        finding, around = self.items[index], self.settings.row_seconds
        length = min(finding.end - finding.start + 2 * around, LONGEST, _MOST_ROWS * around, finding.duration)
        last = finding.duration - length
        start = min(max(0.0, min(max(0.0, finding.start - around), last) + view * length / 2), last)
        return start, start + length

    def write(self, item: Finding, choice: Decision, new: str, span: object, when: str) -> Ruling:
        """Append a ruling; edges that are not given, or undone, are those that were found."""
        new = self.background if choice is Decision.REJECTED else new
        edges = item.span if span is None or choice is Decision.UNDO else _edges(span, item)
        run = str(self.run.folder)
        one = Ruling(item.path, *item.span, item.label, choice, new, *edges, self.who, when, run)
        append_ruling(self.file, one)
        return one

    def follow(self, item: Finding) -> None:
        """Write the label tables of a finding's recording, which the next decision or start repeats if it fails."""
        its = [one for one in self.decided.values() if one.recording == item.path]
        try:
            name = os.path.relpath(item.file.absolute(), self.home).replace(os.sep, "/")
            self.tables.write(name, regions_of(its))
            self._error = ""
        except OSError as error:
            self._error = f"the labels in {self.folder} cannot be written ({error.strerror or error})"
        except UserError as error:
            self._error = str(error)


def _undecided(findings: Sequence[Finding], rulings: Sequence[Ruling]) -> list[Finding]:
    """Return the findings that no ruling on another finding, such as one of an earlier run, has labelled."""
    keys = {one.key for one in rulings}
    of: dict[str, list[Ruling]] = {}
    for one in rulings:
        of.setdefault(one.recording, []).append(one)
    kept = [
        one
        for one in findings
        if one.key in keys or not any(ruling.covers(*one.span) for ruling in of.get(one.path, ()))
    ]
    if n := len(findings) - len(kept):
        notice(f"{human_count(n, 'finding')} skipped because decided findings cover the same sound")
    return kept


def spectrogram(samples: Float32, sr: int, settings: MelSettings) -> Float32:
    """Return a spectrogram like that of a row, of any length: (n, n_channels) to (n_mels, n_frames) in [0, 1]."""
    y = np.nan_to_num(resampled(samples.mean(axis=1), sr, settings.sr), posinf=0.0, neginf=0.0)
    half = np.zeros(settings.n_fft // 2, np.float32)
    filled = np.concatenate((half, y, half, half))  # at least one frame
    mel = mel_power(filled, settings.hop_length, hann_window(settings), mel_filterbank(settings))
    mel = mel[:, : n_frames_of(len(y), settings)]
    return normalise(mel, float(mel.max()), floors_of(settings))


def _edges(span: object, finding: Finding) -> tuple[float, float]:
    """Return edges that the page sent."""
    try:
        if not isinstance(span, list) or not all(type(one) in (int, float) for one in span):
            raise ValueError
        start, end = (round(float(one), 6) for one in span)
    except (ValueError, OverflowError):  # JSON has integers beyond every float
        raise UserError("the edges are not two numbers of seconds") from None
    if not (math.isfinite(start) and 0 <= start < end <= finding.duration + 1e-6):
        raise UserError(f"a finding cannot go from {start} s to {end} s in a recording of {finding.duration:.2f} s")
    return start, end
