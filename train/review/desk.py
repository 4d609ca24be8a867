"""Desk: the answers to the review page: items, pictures and sounds of clips, and decisions about them."""

import getpass
import mmap
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numpy as np

from cache import Cache
from cache.file.header import is_folder_name
from cache.file.settings import Setting, band
from cache.labels.corrections import FILE, Correction, Decision, append_correction, read_corrections
from cache.shared.errors import UserError
from cache.shared.text import printable
from train.dataset.rows import seconds_shown
from train.report.figures import spectrogram_png
from train.review.queue import Queue
from train.review.sound import starts_at, wav_of

# Frequencies beside the spectrogram, where they are within its range.
_HZ = (250, 500, 1000, 2000, 4000, 8000, 16000, 32000)

_Kind = TypeVar("_Kind", bound=StrEnum)


class Desk:
    """The clips of a queue, and the table of corrections beside their cache, in which the run is called `run`."""

    def __init__(self, queue: Queue, cache: Cache, data: Path, run: str, notify: Callable[[str], None]) -> None:
        self.items, self.n_suspects = queue.items, queue.n_suspects
        self.cache, self.data, self.run = cache, data, run
        # featurize follows a link to the cache, and looks for the table in the folder that the link leads to.
        self.file = cache.file.resolve().with_name(FILE)
        self.who = reviewer()
        self.decided = read_corrections(self.file, notify)
        self._writing = Lock()

    def state(self) -> dict[str, object]:
        """Return what the page shows of all clips together; a clip's label and group are indices of their names."""
        groups = {item.group: 0 for item in self.items}
        groups = {name: i for i, name in enumerate(sorted(groups))}
        return {
            "classes": [printable(name) for name in self.cache.class_names],
            "labels": [self.cache.class_names.index(item.label) for item in self.items],
            "group_names": [printable(name) for name in groups],
            "groups": [groups[item.group] for item in self.items],
            "n_suspects": self.n_suspects,
            "file": printable(str(self.file)),
            "ticks": ticks(self.cache.settings),
            **self.progress(),
        }

    def progress(self) -> dict[str, object]:
        """Return which clips are decided, by their indices, and how many of the suspects."""
        done = [i for i, item in enumerate(self.items) if item.sha256 in self.decided]
        return {"done": done, "n_suspects_done": sum(i < self.n_suspects for i in done)}

    def item(self, index: int, _view: int = 0) -> dict[str, object]:
        """Return what the page shows of one clip; times in seconds within it."""
        item = self.items[index]
        starts, ends = seconds_shown(self.cache, item.row)
        duration = self._duration(item.row)
        was = self.decided.get(item.sha256)
        return {
            "path": printable(item.path),
            "label": printable(item.label),
            "probabilities": [[printable(name), p] for name, p in list(item.probabilities.items())[:4]],
            "why": printable(item.why),
            "suspect": index < self.n_suspects,
            "starts": starts,
            "ends": ends,
            "sound_starts": starts_at(duration, (starts + ends) / 2),
            "duration": duration,
            "decision": was and {"decision": was.decision, "new": printable(was.new)},
            "near": [
                {"label": printable(self.cache.class_names[self.cache.labels[row]]), "path": printable(self._path(row))}
                for row in item.near
            ],
        }

    def _path(self, row: int) -> str:
        clip = self.cache.columns["clip"][row] or self.cache.columns["path"][row]
        return str(clip.decode())

    def _duration(self, row: int) -> float:
        return float(self.cache.columns["clip_duration"][row] or self.cache.columns["duration"][row])

    def _row(self, index: int, view: int) -> int:
        rows = [self.items[index].row, *self.items[index].near]
        if not 0 <= view < len(rows):
            raise UserError("there is no such clip")
        return rows[view]

    def picture(self, index: int, view: int = 0) -> bytes:
        """Return the spectrogram of a clip without its padding, as a PNG."""
        row = self._row(index, view)
        n_shown = min(int(self.cache.columns["n_frames"][row]), self.cache.X.shape[2])
        x = np.array(self.cache.X[row, :, :n_shown, 0], np.float32)
        # The pages of the rows that were shown would count as this process's memory until it ends.
        if isinstance(self.cache.X.base, mmap.mmap):
            self.cache.X.base.madvise(mmap.MADV_DONTNEED)
        return spectrogram_png(x)

    def sound(self, index: int, view: int = 0) -> bytes:
        """Return the sound of a clip as a WAV."""
        row = self._row(index, view)
        return wav_of(self.data, self._path(row), self._duration(row), sum(seconds_shown(self.cache, row)) / 2)

    def decide(self, index: object, decision: object, new: object, _span: object = None) -> dict[str, object]:
        """Write a decision into the table of corrections, and return the progress after it.

        Raises a UserError if it is not a decision about one of the clips, or it cannot be written.
        """
        if type(index) is not int or not 0 <= index < len(self.items):
            raise UserError("there is no such clip")
        item = self.items[index]
        kind, new = answered(Decision, decision, new, self.cache.class_names, f"a clip of {item.label}", item.label)
        when = datetime.now(UTC).isoformat(timespec="microseconds")
        one = Correction(item.sha256, item.path, item.label, kind, new, self.who, when, self.run)
        with self._writing:
            append_correction(self.file, one)
            if kind is Decision.UNDO:
                self.decided.pop(item.sha256, None)
            else:
                self.decided[item.sha256] = one
        return self.progress()


def answered(
    kinds: type[_Kind], decision: object, new: object, class_names: Sequence[str], what: str, label: str
) -> tuple[_Kind, str]:
    """Return a decision of the page about something with a label, and the class that it names, "" for none."""
    if not isinstance(decision, str) or decision not in list(kinds) or not isinstance(new, str):
        raise UserError("there is no such decision")
    # The page knows names as they are shown.
    new = next((name for name in class_names if printable(name) == new), new.strip())
    if decision in ("change", "both"):
        if not is_folder_name(new) or len(new.encode()) > 255 or new == label:
            raise UserError(f"{new!r} cannot be the new class of {what}")
    elif new:
        raise UserError(f"{decision} takes no class")
    return kinds(decision), new


def ticks(settings: Mapping[str, Setting]) -> list[dict[str, float]]:
    """Return frequencies to write beside a spectrogram, and at which share of its height."""
    low, high, n = float(settings["fmin"]), float(settings["fmax"]), int(settings["n_mels"])
    shares = {hz: (band(hz, settings) + 0.5) / n for hz in _HZ if low < hz <= high}
    return [{"hz": hz, "share": min(share, 1.0)} for hz, share in shares.items()]


def reviewer() -> str:
    """Return the name of the user, as tables of decisions have it."""
    try:
        return printable(getpass.getuser())
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return "somebody"
