"""Options: all that a run of featurize is asked for. Type, default, help and bounds of each option stand here alone."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from cache.shared.errors import UserError
from cache.shared.files import as_path
from cache.shared.options import option
from cache.shared.segment import MIDDLE, CropName
from cache.shared.text import printable

if TYPE_CHECKING:
    from cache.file.settings import Setting

# Instead of names: every folder that has audio in it, and every label.
ALL = "all"
# Instead of tables: no labels, and forget those that the cache remembers.
NONE = "none"

# More segments than this are hardly wanted of one recording, and looking for them would take gigabytes.
MOST_BACKGROUND = 10_000


class Dtype(StrEnum):
    """Element types of X, as `cache.file.columns.X_DTYPES` has them."""

    float32 = "float32"
    float16 = "float16"


_REMEMBERED = "as the cache has it, else {}"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of one run; None and empty mean: as the cache remembers it.

    A new option is a field here: it becomes an argument of build() and an option of `python -m featurize`. A cache
    remembers it if its header has a field of the same name.
    """

    # Arguments of build() that the command gives in its own way.
    data: Path
    cache_file: Path
    classes: tuple[str, ...]
    labels: tuple[Path, ...]
    settings: "Mapping[str, Setting]"  # the feature settings that are asked for, by name
    n_jobs: int
    notify: Callable[[str], None]  # takes what the user has to know, a line each
    announce: Callable[[str], None]  # takes what is going to happen, a line each

    file_column: str | None = option(
        None,
        "The column of the tables of labels that names the recording.",
        metavar="NAME",
        show_default="Begin File, file, filename or the like",
    )
    start_column: str | None = option(
        None,
        "The column that holds the start of a label in its recording, in seconds.",
        metavar="NAME",
        show_default="Begin Time (s), start, onset or the like",
    )
    end_column: str | None = option(
        None, "The column that holds its end.", metavar="NAME", show_default="End Time (s), end, offset or the like"
    )
    label_column: str | None = option(
        None, "The column that holds the label.", metavar="NAME", show_default="Species, Annotation, Label or the like"
    )
    point: float | None = option(
        None,
        "Make clips of this length around labels of a point in time; 0: skip such labels.",
        min=0,
        max=3600,
        metavar="SECONDS",
        show_default=_REMEMBERED.format(0),
    )
    widen: bool | None = option(
        None,
        "Widen labels that are shorter than the median to it, around their middle.",
        flag="--widen/--no-widen",
        show_default=_REMEMBERED.format("off"),
    )
    background: int | None = option(
        None,
        "Take N unlabelled segments of each labelled recording as the class background.",
        min=0,
        max=MOST_BACKGROUND,
        metavar="N",
        show_default=_REMEMBERED.format(0),
    )
    max_per_class: int | None = option(
        None,
        "Take at most so many clips of each class, files by name, labels of all recordings in turn; 0: all.",
        min=0,
        show_default=_REMEMBERED.format(0),
    )
    crop: CropName | None = option(  # noqa: RUF009 - it makes a field
        None,
        "How a clip longer than a row becomes rows: its middle, all its windows, or the loudest of them.",
        show_default=_REMEMBERED.format(MIDDLE.crop),
    )
    overlap: float | None = option(
        None,
        "How much of a window the next one overlaps.",
        min=0,
        max=0.99,
        metavar="SHARE",
        show_default=_REMEMBERED.format(MIDDLE.overlap),
    )
    n_windows: int | None = option(
        None,
        "How many windows --crop loudest takes.",
        min=1,
        metavar="N",
        show_default=_REMEMBERED.format(MIDDLE.n_windows),
    )
    dtype: Dtype | None = option(  # noqa: RUF009 - it makes a field
        None, "Element type of X; float16 halves the file.", show_default=_REMEMBERED.format("float32")
    )
    strict: bool = option(False, "Stop at a clip that cannot be used.")
    rehash: bool = option(False, "Compare contents, not sizes and times.")
    wait: bool = option(False, "Wait while another run writes this cache.")
    scheduler: str | None = option(
        None, "Compute on a Dask cluster: tcp://host:8786, tls://.., or a scheduler file.", metavar="ADDRESS|FILE"
    )
    dashboard: bool = option(False, "Print the address of the cluster's dashboard.")

    @property
    def forgets_tables(self) -> bool:
        """Whether the tables are to be forgotten that the cache remembers."""
        return [str(path) for path in self.labels[:1]] == [NONE]


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
