"""publish(): make finished rows the cache, whole or not at all; they are shared blocks of the disk, or copies."""

import errno
import os
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.file.columns import COLUMNS, REJECTED, X_DTYPES, Columns, Rejected, fingerprint
from cache.file.container import ALIGNMENT, write_around_rows
from cache.file.header import Header
from cache.file.journal import Journal, close_journal, gathered_path, journal_paths, row_offset
from cache.file.reader import Cache, open_cache
from cache.shared.errors import CacheError
from cache.shared.files import open_regular, stamp_of, sync_directory, write_all
from cache.shared.text import human_size

# Bytes that are copied at once: between two copies a signal is answered.
COPY_BYTES = 1 << 26
# The ioctl from linux/fs.h, and the errors of file systems that cannot share blocks.
_FICLONERANGE = 0x4020940D
_NO_SHARING = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ENOTTY, errno.EBADF}
_NO_RANGE_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}


def publish(
    cache_file: Path,
    header: Header,
    columns: Columns,
    labels: npt.NDArray[np.intp],
    source: npt.NDArray[np.int64],
    olds: Sequence[Cache],
    journal: Journal | None,
    rejected: Sequence[Rejected],
    notify: Callable[[str], None],
) -> Cache:
    """Put the rows in their final order into one HDF5 file, move it into place, and return the new cache.

    Rows that are in order in the journal's file stay where they are, and the HDF5 structure is written around them.
    Otherwise a new file shares them with the old files where the file system can do that (XFS, Btrfs), and copies them
    where it cannot. The file is synced before it takes the name of the old cache, and the directory after that, so that
    even a power cut leaves one of the two, whole.

    Parameters
    ----------
    columns
        All of COLUMNS, of the rows in their final order, shape (N,) each.
    labels
        Their label indices, shape (N,).
    source
        The origin of each row, shape (N,): i >= 0 is row i of `olds`, counted through them one behind the other, and
        -1 - i is slot i of `journal`.
    olds
        The caches whose rows are reused.
    journal
        The finished rows; it is closed and deleted at the end. None if no row is new.
    """
    if journal is not None and np.array_equal(source, -1 - np.arange(journal.n_slots)):
        made = _finish(journal.rows_path, cache_file, header, columns, labels, rejected)
    else:
        file = gathered_path(journal_paths(cache_file)[0])
        # A run that was killed leaves it.
        file.unlink(missing_ok=True)
        try:
            gather_rows(file, source, olds, journal, notify)
            made = _finish(file, cache_file, header, columns, labels, rejected)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
    if journal is not None:
        discard(journal)
    return made


def _finish(
    file: Path,
    cache_file: Path,
    header: Header,
    columns: Columns,
    labels: npt.NDArray[np.intp],
    rejected: Sequence[Rejected],
) -> Cache:
    """Write the HDF5 structure around the rows of a file, and give it the name of the cache."""
    columns = {name: _narrow(columns[name]) if kind == "S" else columns[name] for name, kind in COLUMNS.items()}
    rows: Columns = {"y": np.eye(len(header.class_names), dtype="<f4")[labels], **columns}
    header = replace(header, fingerprint=fingerprint(header, rows))
    write_around_rows(file, len(labels), X_DTYPES[header.dtype], rows | _rejected(rejected), header.attributes())
    made = open_cache(file)
    file.replace(cache_file)
    sync_directory(cache_file.parent)
    return replace(made, file=cache_file)


def discard(journal: Journal) -> None:
    """Delete the journal and then its rows, because a journal without its rows would be wrong."""
    close_journal(journal)
    journal.journal_path.unlink(missing_ok=True)
    journal.rows_path.unlink(missing_ok=True)


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


def gather_rows(
    file: Path,
    source: npt.NDArray[np.int64],
    olds: Sequence[Cache],
    journal: Journal | None,
    notify: Callable[[str], None],
) -> None:
    """Write rows in their final order into a new file, from ALIGNMENT on; the arguments are publish()'s.

    Raises a CacheError if another program replaced an old cache, or wrote into it.
    """
    firsts = np.cumsum([0, *map(len, olds)])
    with ExitStack() as stack:
        # As new it is nobody's link.
        target = stack.enter_context(file.open("xb", buffering=0)).fileno()
        old_files = [stack.enter_context(open_regular(old.file)).fileno() for old in olds]
        for old, old_file in zip(olds, old_files, strict=True):
            if stamp_of(os.fstat(old_file)) != old.stamp:
                raise CacheError(f"{old.file} was replaced by another program meanwhile; run it again")
        shares = True
        # The old cache of each row; -1 for a row of the journal.
        which = np.searchsorted(firsts, source, "right") - 1
        for start, stop in _runs(source, which):
            first, i = int(source[start]), int(which[start])
            if i < 0:
                assert journal is not None
                origin, offset, row_bytes = journal.rows_file, row_offset(journal, -1 - first), journal.row_bytes
            else:
                X = olds[i].X
                assert isinstance(X, np.memmap)
                row_bytes = X.nbytes // len(X)
                origin, offset = old_files[i], X.offset + (first - int(firsts[i])) * row_bytes
            place = offset, ALIGNMENT + start * row_bytes, (stop - start) * row_bytes
            if shares and not share_blocks(origin, target, *place):
                shares = False
                n_bytes = len(source) * row_bytes
                if n_bytes > COPY_BYTES:
                    size = human_size(n_bytes)
                    notify(
                        f"copying {size} of rows, which this file system cannot share between files (XFS and Btrfs can)"
                    )
            if not shares:
                _copy(origin, target, *place)


def _runs(source: npt.NDArray[np.int64], which: npt.NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Yield [start, stop) of the longest runs of rows that are also adjacent in the file they come from."""
    step = np.where(source[1:] < 0, -1, 1)
    together = (np.diff(source) == step) & (which[1:] == which[:-1])
    edges = [0, *(np.flatnonzero(~together) + 1).tolist(), len(source)]
    yield from pairwise(edges)


def share_blocks(origin: int, target: int, origin_offset: int, target_offset: int, n_bytes: int) -> bool:
    """Let two files share blocks of the disk; return False where the file system cannot do that."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONERANGE, struct.pack("qQQQ", origin, origin_offset, n_bytes, target_offset))
    except OSError as error:
        if error.errno not in _NO_SHARING:
            raise
        return False
    return True


def _copy(origin: int, target: int, origin_offset: int, target_offset: int, n_bytes: int) -> None:
    done = 0
    in_kernel = hasattr(os, "copy_file_range")
    while done < n_bytes:
        n = 0
        if in_kernel:
            try:
                n_wanted = min(COPY_BYTES, n_bytes - done)
                n = os.copy_file_range(origin, target, n_wanted, origin_offset + done, target_offset + done)
            except OSError as error:
                if error.errno not in _NO_RANGE_COPY:
                    raise
            # Some file systems report 0 bytes instead of an error.
            in_kernel = n > 0
        else:
            block = os.pread(origin, min(COPY_BYTES, n_bytes - done), origin_offset + done)
            if not block:
                raise CacheError("rows to be reused are no longer in their file; run this again")
            write_all(target, block, target_offset + done)
            n = len(block)
        done += n
