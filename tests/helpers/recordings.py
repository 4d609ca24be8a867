"""Predictions as a network would make them of a recording, without one; and recordings with calls in them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from train.predict.recordings import Kind, Recording, Window
from train.predict.rows import as_csv, csv_header
from train.runs.directory import open_run

PITCHES = {"dog": 300.0, "cat": 700.0, "bird": 1500.0}


def heard(path: Path, windows: list[tuple[float, float, str]]) -> list[Window | Recording]:
    """Windows of a recording, each with the class that a network is sure of, "" in silence; and then the recording."""
    found = [Window(path, start, end, label, {label: 1.0} if label else {}) for start, end, label in windows]
    return [*found, Recording(path, Kind.RECORDING, found[-1].end)]


class Call(NamedTuple):
    """Something that a network hears in so many windows of a second, half a second apart, the first from `start` on."""

    start: float
    label: str
    p: float
    n_windows: int = 1

    @property
    def edges(self) -> tuple[float, float]:
        """Start and end of the detection: where windows overlap, each has the half that is nearer to it."""
        return self.start + 0.25, self.start + (self.n_windows - 1) * 0.5 + 0.75


def write_recording(file: Path, seconds: float, calls: Sequence[Call], sr: int = 4000) -> Path:
    """Quiet noise with a tone wherever something calls."""
    rng, n = np.random.default_rng(0), round(seconds * sr)
    y = rng.integers(-30, 30, n, dtype=np.int16)
    for call in calls:
        first, last = (round(edge * sr) for edge in call.edges)
        y[first:last] += (8000 * np.sin(2 * np.pi * PITCHES[call.label] * np.arange(last - first) / sr)).astype(
            np.int16
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, y, sr)
    return file


def write_predictions(table: Path, run: Path, heard_in: Iterable[tuple[Path, float, Sequence[Call]]]) -> Path:
    """The table that `predict --format csv` would write: of each recording its path, seconds and calls."""
    opened = open_run(run)
    names = opened.class_names
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("wb") as out:
        out.write(csv_header(opened))
        for file, seconds, calls in heard_in:
            loud = {call.start + i / 2: call for call in calls for i in range(call.n_windows)}
            for start in np.arange(0, seconds - 0.5, 0.5).tolist():
                call = loud.get(start)
                p = {name: 1 / len(names) for name in names}
                if call:
                    p = {name: call.p if name == call.label else (1 - call.p) / (len(names) - 1) for name in names}
                out.write(as_csv(opened, Window(file, start, start + 1, "", p)))
            out.write(as_csv(opened, Recording(file, Kind.RECORDING, seconds)))
    return table
