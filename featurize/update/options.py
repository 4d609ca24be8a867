"""Options: what one run of featurize is asked for, as it is given, and checked before anything is opened."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cache.file.columns import X_DTYPES
from cache.file.reader import Cache
from cache.file.settings import Setting
from cache.labels.table import USUAL, ColumnNames
from cache.shared.errors import UserError
from cache.shared.files import as_path
from cache.shared.segment import CROPS, MIDDLE, Crop
from cache.shared.text import printable

# Instead of names: every folder that has audio in it, and every label.
ALL = "all"
# Instead of tables: no labels, and forget those that the cache remembers.
NONE = "none"

# More segments than this are hardly wanted of one recording, and looking for them would take gigabytes.
MOST_BACKGROUND = 10_000
# Beyond this share, one window hardly differs from the next.
MOST_OVERLAP = 0.99
# Seconds: a longer label is not that of a point in time.
MOST_POINT = 3600


class Options(NamedTuple):
    """The options of one run, see `featurize.build`; None and empty mean: as the cache remembers it."""

    data: Path
    cache_file: Path
    classes: tuple[str, ...]
    labels: tuple[Path, ...]
    columns: ColumnNames
    point: float | None
    widen: bool | None
    background: int | None
    max_per_class: int | None
    crop: str | None
    overlap: float | None
    n_windows: int | None
    dtype: str | None
    n_jobs: int
    strict: bool
    rehash: bool
    wait: bool
    scheduler: str | None
    dashboard: bool
    settings: Mapping[str, Setting]  # the feature settings that are asked for, by name
    notify: Callable[[str], None]  # takes what the user has to know, a line each
    announce: Callable[[str], None]  # takes what is going to happen, a line each

    def check(self) -> None:
        """Raise a UserError if an option has a value that it cannot have."""
        if self.dtype is not None and self.dtype not in X_DTYPES:
            raise UserError(f"dtype is {self.dtype!r}; give one of {', '.join(X_DTYPES)}")
        _check_number("n_jobs", self.n_jobs, 1)
        _check_number("max_per_class", self.max_per_class, 0)
        check_background(self.background)
        if self.crop is not None and self.crop not in CROPS:
            raise UserError(f"crop is {self.crop!r:.40}; give one of {', '.join(CROPS)}")
        _check_number("n_windows", self.n_windows, 1)
        if self.overlap is not None and not (
            isinstance(self.overlap, int | float) and 0 <= self.overlap <= MOST_OVERLAP
        ):
            raise UserError(f"overlap is {self.overlap!r:.40}; give a share of a window, from 0 to {MOST_OVERLAP}")
        if self.dashboard and self.scheduler is None:
            raise UserError("only a cluster has a dashboard; name the cluster's scheduler")
        if self.point is not None and not (isinstance(self.point, int | float) and 0 <= self.point <= MOST_POINT):
            raise UserError(f"point is {self.point!r}; give a number of seconds, {MOST_POINT} at most, or 0")


class Labelling(NamedTuple):
    """Which labels are asked for."""

    tables: tuple[Path, ...] = ()  # tables of labels, and folders of them
    columns: ColumnNames = USUAL  # the columns that the user named
    point: float = 0.0  # the length in seconds to give to labels of a point in time; 0: skip them
    widen: bool = False  # whether labels shorter than the median are widened to it around their middle
    background: int = 0  # how many segments without a label to take of each labelled recording
    length: float = 0.0  # the median in seconds, as it was when segments were first made of it; 0 if it is not known

    @property
    def has_length(self) -> bool:
        """Whether the median length of the labels matters."""
        return bool(self.tables) and (self.widen or self.background > 0)


def resolved_labelling(options: Options, old: Cache | None) -> Labelling:
    """Return which labels are asked for; options that are not given stay as the cache remembers them."""
    forgets = [str(path) for path in options.labels[:1]] == [NONE]
    remembered = [] if old is None or forgets else old.table_paths
    for path in remembered:
        if not path.exists():
            raise UserError(
                f"{path} is not there, and the cache has labels of it; put it back, or forget it with --labels none and"
                " give the others again"
            )
    given = [path.absolute() for path in options.labels[1 if forgets else 0 :]]
    tables = tuple(dict.fromkeys([*remembered, *given]))
    if not tables:
        if any(options.columns) or options.point or options.widen or options.background:
            raise UserError(
                "--file-column, --start-column, --end-column, --label-column, --point, --widen and --background are"
                " about labels; give a table with --labels"
            )
        return Labelling()
    before = Labelling()
    if old is not None:
        kept = old.header
        # Columns belong to the tables, and are forgotten with them.
        before = Labelling((), USUAL if forgets else kept.columns, kept.point, kept.widen, kept.background)
    background = before.background if options.background is None else options.background
    check_background(background)
    return Labelling(
        tables,
        ColumnNames(*(b if a is None else a for a, b in zip(options.columns, before.columns, strict=True))),
        before.point if options.point is None else float(options.point),
        before.widen if options.widen is None else options.widen,
        background,
    )


def resolved_crop(options: Options, remembered: Crop) -> Crop:
    """Return how long clips become rows: what is asked for, else what the cache remembers.

    Raises a UserError if something is asked for that the crop has no use for.
    """
    crop = options.crop or remembered.crop
    if crop == "middle" and options.overlap is not None:
        raise UserError("--overlap is about windows of long clips; ask for them with --crop segments or loudest")
    if crop != "loudest" and options.n_windows is not None:
        raise UserError("--n-windows is about the loudest windows of long clips; ask for them with --crop loudest")
    if crop == "middle":
        return MIDDLE
    overlap = remembered.overlap if options.overlap is None else float(options.overlap)
    return Crop(crop, overlap, (options.n_windows or remembered.n_windows) if crop == "loudest" else 1)


def check_background(n: int | None) -> None:
    """Raise a UserError if so many background segments cannot be taken of each recording."""
    _check_number("background", n, 0)
    if n is not None and n > MOST_BACKGROUND:
        raise UserError(f"background is {n}; give the number of segments of each recording, {MOST_BACKGROUND} at most")


def _check_number(name: str, value: object, least: int) -> None:
    if value is not None and (type(value) is not int or value < least):
        raise UserError(f"{name} is {value!r}; give a whole number, {least} or more")


def table_list(labels: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> tuple[Path, ...]:
    """Return the tables that are given: one path, or several."""
    given = [labels] if isinstance(labels, str | os.PathLike) else labels
    return tuple(as_path(path, "labels") for path in given)


def class_list(classes: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes that are given: in a text with commas between them, or one by one.

    A class may be given as `name=first+second`, see `featurize.update.classes`. Raises a UserError if one cannot be the
    name of a folder.
    """
    names = [name.strip() for name in classes.split(",")] if isinstance(classes, str) else list(classes)
    for name in names:
        if not isinstance(name, str) or not name.strip() or name in (".", "..") or {"/", "\0"} & {*name}:
            raise UserError(f"{name!r:.60} cannot be the name of a class")
    if len({*names}) < len(names):
        raise UserError(f"a class is named twice: {', '.join(map(printable, names))}")
    return tuple(names)
