"""publish(): make finished rows the cache, whole or not at all."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.file.columns import COLUMNS, REJECTED, X_DTYPES, Columns, Rejected, fingerprint
from cache.file.container import write_around_rows
from cache.file.gather import gather_rows
from cache.file.header import Header
from cache.file.journal import Journal, close_journal, gathered_path, journal_paths, recorded
from cache.file.reader import Cache, open_cache
from cache.shared.files import sync_directory


def publish(
    cache_file: Path,
    header: Header,
    clips: Columns,
    labels: npt.NDArray[np.intp],
    source: npt.NDArray[np.int64],
    old: Cache | None,
    journal: Journal,
    rejected: Sequence[Rejected],
    notify: Callable[[str], None] = lambda line: None,
) -> Cache:
    """Put the rows in their final order into one HDF5 file, move it into place, and return the new cache.

    Rows that are in order in the journal's file stay where they are, and the HDF5 structure is written around them.
    Otherwise a new file shares them with the old files where the file system can do that (XFS, Btrfs), and copies them
    where it cannot. The file is synced before it takes the name of the old cache, and the directory after that, so that
    even a power cut leaves one of the two, whole.

    Parameters
    ----------
    clips
        The columns `path`, `size`, `mtime_ns`, `inode`, `start`, `end`, `corrected` and `clip` of the rows in their
        final order, shape (N,) each.
    labels
        Their label indices, shape (N,).
    source
        The origin of each row, shape (N,): i >= 0 is row i of `old`, -1 - i is slot i of `journal`.
    old
        The cache that is replaced; None if none of its rows are reused.
    journal
        The finished rows; it is closed and deleted at the end.
    """
    columns = _columns(clips, source, old, journal)
    in_place = journal.n_slots == len(source) and np.array_equal(source, -1 - np.arange(len(source)))
    if in_place:
        made = _finish(journal.rows_path, cache_file, header, columns, labels, rejected)
    else:
        file = gathered_path(journal.rows_path)
        with _gathered(file, source, [] if old is None else [old], journal, notify):
            made = _finish(file, cache_file, header, columns, labels, rejected)
    discard(journal)
    return made


def publish_copies(
    cache_file: Path,
    header: Header,
    columns: Columns,
    labels: npt.NDArray[np.intp],
    source: npt.NDArray[np.int64],
    olds: Sequence[Cache],
    rejected: Sequence[Rejected],
    notify: Callable[[str], None],
) -> Cache:
    """Make a cache of rows of other caches, as publish() does; `columns` are all of COLUMNS, in the final order."""
    file = gathered_path(journal_paths(cache_file)[0])
    # A run that was killed leaves it.
    file.unlink(missing_ok=True)
    columns = {name: _narrow(columns[name]) if kind == "S" else columns[name] for name, kind in COLUMNS.items()}
    with _gathered(file, source, olds, None, notify):
        return _finish(file, cache_file, header, columns, labels, rejected)


@contextmanager
def _gathered(
    file: Path,
    source: npt.NDArray[np.int64],
    olds: Sequence[Cache],
    journal: Journal | None,
    notify: Callable[[str], None],
) -> Iterator[None]:
    """Hold a new file with rows in their final order, which is deleted if the block does not move it away."""
    try:
        gather_rows(file, source, olds, journal, notify)
        yield
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _finish(
    file: Path,
    cache_file: Path,
    header: Header,
    columns: Columns,
    labels: npt.NDArray[np.intp],
    rejected: Sequence[Rejected],
) -> Cache:
    """Write the HDF5 structure around the rows of a file, and give it the name of the cache."""
    rows: Columns = {"y": np.eye(len(header.class_names), dtype="<f4")[labels], **columns}
    arrays: Columns = {**rows, **_rejected(rejected)}
    header = replace(header, fingerprint=fingerprint(header, rows))
    write_around_rows(file, len(labels), X_DTYPES[header.dtype], arrays, header.attributes())
    made = open_cache(file)
    file.replace(cache_file)
    sync_directory(cache_file.parent)
    return replace(made, file=cache_file)


def discard(journal: Journal) -> None:
    """Delete the journal and then its rows, because a journal without its rows would be wrong."""
    close_journal(journal)
    journal.journal_path.unlink(missing_ok=True)
    journal.rows_path.unlink(missing_ok=True)


def _columns(clips: Columns, source: npt.NDArray[np.int64], old: Cache | None, journal: Journal) -> Columns:
    columns: Columns = {}
    for name, kind in COLUMNS.items():
        column = clips[name] if name in clips else recorded(name, source, old, journal)
        columns[name] = _narrow(column) if kind == "S" else column
    return columns


def _rejected(rejected: Sequence[Rejected]) -> Columns:
    fields = zip(REJECTED.items(), Rejected._fields, strict=True)
    return {name: _array([getattr(clip, field) for clip in rejected], kind) for (name, kind), field in fields}


def _array(values: Sequence[Any], kind: str) -> npt.NDArray[Any]:
    if kind == "S":
        return np.array([value.encode() for value in values] or np.empty(0), "S")
    return np.array(values, kind)


def _narrow(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # As wide as its longest value, so that a file depends on its own rows alone.
    return column.astype(f"S{max(1, int(np.strings.str_len(column).max()))}")
