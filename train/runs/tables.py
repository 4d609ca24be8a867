"""The tables of a run directory: split.csv, history.csv and predictions.csv, written and read here alone."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cache import Cache
from cache.shared.errors import UserError
from cache.shared.files import read_text, replacing
from train.dataset.splits import SPLITS

# A table of a run has a line a clip, and up to some kilobytes of probabilities in it.
_MAX_TABLE = 4_000_000_000

History = list[dict[str, float]]


class Clip(NamedTuple):
    """A clip of a run: its path, the digest of its content, its side of the split."""

    path: str
    sha256: str
    split: str


class Tested(NamedTuple):
    """A clip that a run tested: its class, the one that was predicted, the probabilities by class."""

    repeat: int
    path: str
    label: str
    predicted: str
    probabilities: dict[str, float]


def write_split(folder: Path, cache: Cache, split: npt.NDArray[np.int8]) -> None:
    """Write `split.csv`: the side of every clip, an index into `SPLITS`."""
    sha256 = (digest.decode() for digest in cache.columns["sha256"].tolist())
    names = (SPLITS[side] for side in split.tolist())
    _write(folder / "split.csv", Clip._fields, zip(cache.paths, sha256, names, strict=True))


def read_split(folder: Path) -> list[Clip]:
    """Read `split.csv`, of an earlier version's run with the digests in `content.csv`.

    Raises
    ------
    UserError
        It is missing or damaged, or the two do not belong together.
    """
    rows = _read(folder / "split.csv")
    try:
        if rows and "sha256" not in rows[0]:
            contents = _read(folder / "content.csv")
            rows = [{**row, "sha256": content["sha256"]} for row, content in zip(rows, contents, strict=True)]
        return [Clip(row["path"], row["sha256"], row["split"]) for row in rows]
    except KeyError as error:
        raise UserError(f"{folder / 'split.csv'} is damaged ({error} is missing); train again") from None
    except ValueError:
        raise UserError(f"split.csv and content.csv in {folder} do not belong together; train again") from None


def write_history(folder: Path, history: History) -> None:
    """Write `history.csv`: one line an epoch."""
    _write(folder / "history.csv", tuple(history[0]), (tuple(row.values()) for row in history))


def read_history(folder: Path) -> History:
    """Read `history.csv` back, to the bit.

    Raises
    ------
    UserError
        It is missing or damaged.
    """
    file = folder / "history.csv"
    try:
        return [
            {name: (int if name in ("repeat", "fold", "epoch") else float)(value) for name, value in row.items()}
            for row in _read(file)
        ]
    except (TypeError, ValueError) as error:
        raise UserError(f"{file} is damaged ({error}); train again") from None


def write_predictions(
    folder: Path,
    cache: Cache,
    rows: npt.NDArray[np.intp],
    probabilities: npt.NDArray[np.float32],
    folds: Iterable[tuple[int, int]] | None = None,
) -> None:
    """Write `predictions.csv`: path, class, predicted class and probabilities of every clip that was tested.

    Parameters
    ----------
    folder
        The run directory.
    cache
        Holds the clips.
    rows
        Which were tested, shape (n,).
    probabilities
        Shape (n, n_classes).
    folds
        Of a cross-validation: repeat and fold of each.
    """
    names, paths, labels = cache.class_names, cache.paths, cache.labels
    header: tuple[str, ...] = ("path", "class", "predicted", *(f"p_{name}" for name in names))
    lines: Iterable[tuple[object, ...]] = (
        (paths[row], names[labels[row]], names[p.argmax()], *(f"{value:.6g}" for value in p.tolist()))
        for row, p in zip(rows.tolist(), probabilities, strict=True)
    )
    if folds is not None:
        header, lines = ("repeat", "fold", *header), ((*a, *b) for a, b in zip(folds, lines, strict=True))
    _write(folder / "predictions.csv", header, lines)


def read_predictions(folder: Path) -> list[Tested]:
    """Read `predictions.csv`; in that of a fit, everything is of repeat 1.

    Raises
    ------
    UserError
        It is missing or damaged.
    """
    file = folder / "predictions.csv"
    try:
        return [
            Tested(
                int(row.get("repeat", 1)),
                row["path"],
                row["class"],
                row["predicted"],
                {name[2:]: float(value) for name, value in row.items() if name.startswith("p_")},
            )
            for row in _read(file)
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} is damaged ({error} is missing or wrong); train again") from None


def _write(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with replacing(file, sync=True) as beside, beside.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _read(file: Path) -> list[dict[str, str]]:
    """Read a CSV file: a dict a line, by the header's names."""
    if not file.exists():
        raise UserError(f"{file} is missing, so this run directory is not whole; train again")
    try:
        return list(csv.DictReader(io.StringIO(read_text(file, _MAX_TABLE), newline="")))
    except csv.Error as error:
        raise UserError(f"{file} is damaged ({error}); train again") from None
