"""The tables of a run directory: split, history, predictions and nearest clips, written and read here alone."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cache import Cache
from cache.shared.errors import UserError
from cache.shared.files import read_text, replacing
from cache.shared.text import csv_line, plain_cell
from cache.shared.types import Rows
from train.dataset.rows import mean_by_clip
from train.dataset.splits import SPLITS, Subsets

# A table of a run has a line a clip, and up to some kilobytes of probabilities in it.
_MAX_TABLE = 4_000_000_000

History = list[dict[str, float]]


class Clip(NamedTuple):
    """A clip of a run: its path, the digest of its content, its subset of the split."""

    path: str
    sha256: str
    split: str


@dataclass(frozen=True)
class Predictions:
    """The tests of a run and the clips that it tested; a cross-validation may test a clip several times."""

    paths: list[str]  # of every clip, relative to DATA
    labels: Rows  # true label index of every clip, shape (n_clips,)
    clip: Rows  # index of the clip of every test, shape (n_tests,)
    repeat: Rows  # repeat of a cross-validation to which every test belongs, from 1, shape (n_tests,); 1 in a fit
    predicted: Rows  # predicted label index of every test, shape (n_tests,)
    probabilities: npt.NDArray[np.float64]  # of every test, shape (n_tests, n_classes)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the prediction of every test is the true class, shape (n_tests,)."""
        return np.equal(self.predicted, self.labels[self.clip])

    @property
    def n_tests(self) -> Rows:
        """How often each clip was tested, shape (n_clips,)."""
        return np.bincount(self.clip, minlength=len(self.paths))

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Each clip's mean probabilities over its tests, shape (n_clips, n_classes)."""
        return mean_by_clip(self.probabilities, self.clip)


def write_split(folder: Path, cache: Cache, split: Subsets) -> None:
    """Write `split.csv`: the subset of every clip, an index into `SPLITS`."""
    names = (SPLITS[side] for side in split.tolist())
    _write(folder / "split.csv", Clip._fields, zip(cache.clip_paths, cache.clip_sha256, names, strict=True))


def read_split(folder: Path) -> list[Clip]:
    """Read `split.csv`; a UserError if it is missing or damaged."""
    table = _read(folder / "split.csv")
    clips = [Clip(*row) for row in zip(*map(table.texts, Clip._fields), strict=True)]
    if other := next((clip for clip in clips if clip.split not in SPLITS), None):
        raise table.damaged(f"{other.path} is in {other.split!r}, expected {', '.join(SPLITS)}")
    return clips


def write_history(folder: Path, history: History) -> None:
    """Write `history.csv`: one line an epoch."""
    _write(folder / "history.csv", tuple(history[0]), (tuple(row.values()) for row in history))


def read_history(folder: Path) -> History:
    """Read `history.csv` back, to the bit; a UserError if it is missing or damaged."""
    table = _read(folder / "history.csv")
    for name in ("epoch", "loss", "accuracy"):
        table.column(name)
    if ("val_loss" in table.header) != ("val_accuracy" in table.header):
        raise table.damaged("it has one of the columns val_loss and val_accuracy without the other")
    counted = {"repeat", "fold", "epoch"}
    kinds = [int if name in counted else float for name in table.header]
    try:
        history = [
            {name: kind(cell) for name, kind, cell in zip(table.header, kinds, row, strict=True)} for row in table.rows
        ]
    except ValueError as error:
        raise table.damaged(str(error)) from None
    for row in history:
        if low := next((name for name, value in row.items() if value < (name in counted)), None):
            raise table.damaged(f"{low} is {row[low]:g}")
    return history


def write_predictions(
    folder: Path,
    cache: Cache,
    clips: Rows,
    probabilities: npt.NDArray[np.float32],
    folds: Iterable[tuple[int, int]] | None = None,
) -> None:
    """Write `predictions.csv`: path, class, predicted class and probabilities of every clip that was tested.

    In a cross-validation there are the repeat and the fold of each test, too.
    """
    names, paths, labels = cache.class_names, cache.clip_paths, cache.clip_labels
    header: tuple[str, ...] = ("path", "class", "predicted", *(f"p_{name}" for name in names))
    lines: Iterable[tuple[object, ...]] = (
        (paths[clip], names[labels[clip]], names[p.argmax()], *(f"{value:.6g}" for value in p.tolist()))
        for clip, p in zip(clips.tolist(), probabilities, strict=True)
    )
    if folds is not None:
        header, lines = ("repeat", "fold", *header), ((*a, *b) for a, b in zip(folds, lines, strict=True))
    _write(folder / "predictions.csv", header, lines)


def read_predictions(folder: Path, class_names: Sequence[str]) -> Predictions:
    """Read `predictions.csv` of a run with these classes; a UserError if it is missing, damaged or empty."""
    table = _read(folder / "predictions.csv")
    label_of = {name: label for label, name in enumerate(class_names)}
    numbers: dict[str, int] = {}
    if not table.rows:
        raise table.damaged("it has no predictions")
    try:
        clip = np.array([numbers.setdefault(path, len(numbers)) for path in table.texts("path")], np.intp)
        labels, predicted = (
            np.array([label_of[name] for name in table.texts(which)], np.intp) for which in ("class", "predicted")
        )
        p = np.array([[float(cell) for cell in table.column(f"p_{name}")] for name in class_names]).T
        repeat = [int(cell) for cell in table.column("repeat")] if "repeat" in table.header else [1] * len(clip)
    except KeyError as error:
        raise table.damaged(f"{error} is not a class of this run") from None
    except ValueError as error:
        raise table.damaged(str(error)) from None
    if not ((p >= 0) & (p <= 1)).all():
        raise table.damaged("it has probabilities that are not between 0 and 1")
    if min(repeat) < 1:
        raise table.damaged(f"repeat is {min(repeat)}")
    _, first = np.unique(clip, return_index=True)
    if (labels[first][clip] != labels).any():
        raise table.damaged("a clip has two classes")
    return Predictions(list(numbers), labels[first], clip, np.array(repeat, np.intp), predicted, p)


def write_nearest(folder: Path, cache: Cache, clips: Rows, nearest: Iterable[Iterable[int]]) -> None:
    """Write `nearest.csv`: for each tested clip the clips most like it, a line each; see train.models.inference.

    `nearest` has clips, or -1 for none, for each of `clips` or only for the first of them.
    """
    paths = cache.clip_paths
    pairs = ((clip, near) for clip, all_near in zip(clips.tolist(), nearest, strict=False) for near in all_near)
    lines = ((paths[clip], paths[near]) for clip, near in pairs if near >= 0)
    _write(folder / "nearest.csv", ("path", "nearest"), lines)


def read_nearest(folder: Path) -> dict[str, list[str]]:
    """Read `nearest.csv`: the paths of the clips most like each tested one, by its path.

    Raises a UserError if it is missing or damaged.
    """
    table, nearest = _read(folder / "nearest.csv"), dict[str, list[str]]()
    for path, other in zip(table.texts("path"), table.texts("nearest"), strict=True):
        nearest.setdefault(path, []).append(other)
    return nearest


class _Table(NamedTuple):
    """The cells of a table as they stand in its file."""

    file: Path
    header: list[str]
    rows: list[list[str]]

    def column(self, name: str) -> list[str]:
        """Return the cells of a column; a UserError if it is missing."""
        if name not in self.header:
            raise self.damaged(f"its column {name} is missing")
        at = self.header.index(name)
        return [row[at] for row in self.rows]

    def texts(self, name: str) -> list[str]:
        """Return the texts that were written into a column."""
        return [plain_cell(cell) for cell in self.column(name)]

    def damaged(self, reason: str) -> UserError:
        """Return the error for a table that makes no sense."""
        return UserError(f"{self.file} is damaged: {reason}; train again")


def _write(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with replacing(file, sync=True) as beside, beside.open("w", newline="", encoding="utf-8") as out:
        out.writelines(csv_line(cells) for cells in (header, *rows))


def _read(file: Path) -> _Table:
    if not file.exists():
        raise UserError(f"{file} is missing, so this run directory is not whole; train again")
    table = _Table(file, [], [])
    try:
        lines = csv.reader(io.StringIO(read_text(file, _MAX_TABLE), newline=""), strict=True)
        header, *rows = [row for row in lines if row] or [[]]
    except csv.Error as error:
        raise table.damaged(str(error)) from None
    for i, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise table.damaged(f"row {i} has {len(row)} cells, expected {len(header)}")
    return table._replace(header=header, rows=rows)
