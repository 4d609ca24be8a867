"""Journal: rows that are finished but not yet published, in two files beside the cache that survive a SIGKILL.

`<cache>.partial` holds the rows where the published file will have them, so that publishing a new cache only writes the
HDF5 structure around them. `<cache>.partial.journal` describes each row in a line of JSON. A row is written before its
line, both with plain write calls, which no signal undoes. Every line starts with its own crc32 and holds that of its
row. Both are checked before a row is reused, so a power cut, after which any block of either file may be missing, costs
only those rows. A clip of several rows is finished when all of them are there, one behind the other.
"""

import glob
import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.file.columns import COLUMNS, ROW_SHAPE, WIDTHS, Columns, Rejected, Row
from cache.file.container import ALIGNMENT
from cache.file.reader import Cache
from cache.shared.files import open_regular, write_all

PARTIAL_VERSION = 1

# Long columns, which a caller that asks for the rows knows already.
_PATHS = ("path", "clip")


@dataclass(eq=False, repr=False)
class Journal:
    """The rows that are finished so far."""

    rows_path: Path
    journal_path: Path
    # Open descriptors; -1 when they are closed.
    rows_file: int
    journal_file: int
    row_bytes: int  # bytes of one row of X
    n_slots: int = 0  # how many rows have a place in the file, those that cannot be used included
    # The place of the first row of every clip that can be used, counted from 0, by the path of the clip.
    slots: dict[str, int] = field(default_factory=dict)
    n_rows: dict[str, int] = field(default_factory=dict)  # of the clips that have more than one
    # The columns of the rows by slot, without the path; they are longer than there are slots.
    columns: Columns = field(default_factory=lambda: _columns(1024))
    rejected: dict[str, Rejected] = field(default_factory=dict)  # the clips that could not be used, by path


def journal_paths(cache_file: Path) -> tuple[Path, Path]:
    """Return the file of the finished rows of a cache, and the file of their journal."""
    rows = cache_file.with_name(cache_file.name + ".partial")
    return rows, journal_of(rows)


def journal_of(rows_path: Path) -> Path:
    """Return the journal that belongs to a file of rows."""
    return rows_path.with_name(rows_path.name + ".journal")


def gathered_path(rows_path: Path) -> Path:
    """Return the file into which rows are copied that are not in their final order."""
    return rows_path.with_name(rows_path.name + ".new")


def room_path(rows_path: Path, number: int) -> Path:
    """Return the file for the rows of a batch, if they are more than a worker keeps in memory."""
    return rows_path.with_name(f"{rows_path.name}.rows-{number}")


def _remove_rooms(rows_path: Path) -> None:
    for left in rows_path.parent.glob(f"{glob.escape(rows_path.name)}.rows-*"):
        left.unlink(missing_ok=True)


def open_journal(cache_file: Path, header: Mapping[str, object], dtype: np.dtype[np.floating]) -> tuple[Journal, str]:
    """Open the rows that an interrupted run left, or start with none.

    The rows of the journal match their crc32. Rows under another header, which is everything that rows depend on, are
    set aside, and a line for the user says so; it is "" if there are none.
    """
    rows_path, journal_path = journal_paths(cache_file)
    # The copy is left by a run that was killed in publish().
    gathered_path(rows_path).unlink(missing_ok=True)
    _remove_rooms(rows_path)
    head = json.dumps({"partial_version": PARTIAL_VERSION, **header}, sort_keys=True).encode()
    notice = _make_room(rows_path, journal_path, head)
    # Without its rows, the journal would describe rows that are written later.
    if not rows_path.exists():
        journal_path.unlink(missing_ok=True)
    # O_NOFOLLOW: a link beside the cache must not lead the writing elsewhere.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    rows_file = os.open(rows_path, flags, 0o666)
    journal_file = os.open(journal_path, flags | os.O_APPEND, 0o666)
    row_bytes = int(np.prod(ROW_SHAPE)) * dtype.itemsize
    journal = Journal(rows_path, journal_path, rows_file, journal_file, row_bytes)
    _recover(journal)
    if not os.fstat(journal_file).st_size:
        write_all(journal_file, head + b"\n")
    return journal, notice


def _make_room(rows_path: Path, journal_path: Path, head: bytes) -> str:
    """Move rows of another header aside and earlier rows of this one back; return a notice of what was moved aside."""
    notice = ""
    found = _head_of(journal_path)
    if found and found != head and rows_path.exists():
        aside = _aside(rows_path, found)
        rows_path.replace(aside)
        journal_path.replace(journal_of(aside))
        notice = f"unfinished rows of other settings are set aside in {aside}; delete it if you do not need them"
    if found != head:
        # A run that was killed before it wrote the header leaves a journal without one.
        journal_path.unlink(missing_ok=True)
    # A run that was killed between the two moves has one of the two files aside.
    own = _aside(rows_path, head)
    if own.exists() and not (found == head and rows_path.exists()):
        own.replace(rows_path)
    if not journal_path.exists() and journal_of(own).exists():
        journal_of(own).replace(journal_path)
    return notice


def _head_of(journal_path: Path) -> bytes:
    try:
        with open_regular(journal_path) as journal:
            line = journal.readline()
    except FileNotFoundError:
        return b""
    return line[:-1] if line.endswith(b"\n") else b""


def _aside(rows_path: Path, head: bytes) -> Path:
    return rows_path.with_name(f"{rows_path.name}-{zlib.crc32(head):08x}")


def _recover(journal: Journal) -> None:
    size = os.fstat(journal.journal_file).st_size
    text = os.pread(journal.journal_file, size, 0)
    # The next line must not be appended to one that a full disk cut short.
    whole = text.rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(journal.journal_file, whole)
    run, first = list[Row](), 0  # of one clip so far, and the slot of its first row
    for line in text[:whole].split(b"\n")[1:-1]:
        entry = _entry(line)
        if entry is None:
            continue
        if "reason" in entry:
            _reject(journal, Rejected(**entry))
            continue
        slot = entry.pop("slot")
        window, n_windows = entry.pop("window", (0, 1))
        row = Row(**entry)
        journal.n_slots = max(journal.n_slots, slot + 1)
        stored = os.pread(journal.rows_file, journal.row_bytes, row_offset(journal, slot))
        is_whole = len(stored) == journal.row_bytes and zlib.crc32(stored) == row.crc32
        goes_on = (len(run), first + window) == (window, slot) and all(one.clip == row.clip for one in run[:1])
        if window == 0:
            run, first, goes_on = [], slot, True
        run = [*run, row] if is_whole and goes_on else []
        if len(run) == n_windows:
            _keep(journal, range(first, slot + 1), run)


def _line(entry: Mapping[str, object]) -> bytes:
    text = json.dumps(entry).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _entry(line: bytes) -> dict[str, Any] | None:
    crc, _, text = line.partition(b" ")
    if crc != b"%08x" % zlib.crc32(text):
        return None
    entry: dict[str, Any] = json.loads(text)
    return entry


def row_offset(journal: Journal, slot: int) -> int:
    """Return the byte of the file at which a row starts."""
    return ALIGNMENT + slot * journal.row_bytes


def append(
    journal: Journal, rows: Sequence[Row], X: Iterable[npt.NDArray[np.floating]], rejected: Sequence[Rejected] = ()
) -> None:
    """Write finished rows, whose arrays come in parts of the journal's element type, and rejected clips.

    All rows of a clip come at once.
    """
    end = row_offset(journal, journal.n_slots)
    for part in X:
        if part.size:
            write_all(journal.rows_file, np.ascontiguousarray(part).data, end)
            end += part.nbytes
    assert end == row_offset(journal, journal.n_slots + len(rows))
    slots = range(journal.n_slots, journal.n_slots + len(rows))
    lines = [
        _line(_entry_of(slots[first + i], row, i, len(of_clip)))
        for first, of_clip in _by_clip(rows)
        for i, row in enumerate(of_clip)
    ]
    lines += [_line(clip._asdict()) for clip in rejected]
    write_all(journal.journal_file, b"".join(lines))
    journal.n_slots += len(rows)
    _keep(journal, slots, rows)
    for clip in rejected:
        _reject(journal, clip)


def _by_clip(rows: Sequence[Row]) -> list[tuple[int, list[Row]]]:
    """Return the rows of each clip, and the index of the first."""
    if not any(row.clip for row in rows):
        return [(i, [row]) for i, row in enumerate(rows)]
    groups = [list(group) for _, group in groupby(rows, lambda row: row.clip or row.path)]
    return list(zip(accumulate(map(len, groups), initial=0), groups, strict=False))


def _entry_of(slot: int, row: Row, window: int, n_windows: int) -> dict[str, Any]:
    """Return the entry of a row in the journal: its fields that differ from their defaults, and its slot."""
    told = dict(zip(Row._fields, row, strict=True))
    for name, value in Row._field_defaults.items():
        if told[name] == value:
            del told[name]
    told["slot"] = slot
    return told if n_windows == 1 else told | {"window": (window, n_windows)}


def _keep(journal: Journal, slots: range, rows: Sequence[Row]) -> None:
    # Arrays, because Python objects for the rows of a large cache take five times as much memory.
    while slots.stop > len(journal.columns["size"]):
        more = _columns(len(journal.columns["size"]))
        journal.columns = {name: np.concatenate([column, more[name]]) for name, column in journal.columns.items()}
    fields = dict(zip(Row._fields, zip(*rows, strict=True), strict=True)) if rows else {}
    for name, values in fields.items():
        # The columns start as zeros and empty texts, which are the defaults.
        if name not in _PATHS and (name not in Row._field_defaults or any(values)):
            journal.columns[name][slots.start : slots.stop] = _encoded(name, values)
    for first, of_clip in _by_clip(rows):
        path = of_clip[0].clip or of_clip[0].path
        journal.slots[path] = slots[first]
        journal.n_rows.pop(path, None)
        if len(of_clip) > 1:
            journal.n_rows[path] = len(of_clip)
        journal.rejected.pop(path, None)


def _encoded(name: str, values: Sequence[Any]) -> Sequence[Any]:
    if name not in WIDTHS:
        return values
    # A text that is too long loses its end, in whole characters.
    width = WIDTHS[name]
    texts = [value.encode() for value in values]
    return [text if len(text) <= width else text[:width].decode(errors="ignore").encode() for text in texts]


def _columns(n_slots: int) -> Columns:
    kinds = {name: f"S{WIDTHS[name]}" if kind == "S" else kind for name, kind in COLUMNS.items() if name not in _PATHS}
    return {name: np.zeros(n_slots, kind) for name, kind in kinds.items()}


def _reject(journal: Journal, clip: Rejected) -> None:
    journal.rejected[clip.path] = clip
    journal.slots.pop(clip.path, None)


def recorded(name: str, source: npt.NDArray[np.int64], old: Cache | None, journal: Journal | None) -> npt.NDArray[Any]:
    """Return a column of rows by their origin, see `cache.file.publish.publish`; not their paths."""
    is_new = source < 0
    if old is None:
        assert journal is not None
        return journal.columns[name][-1 - source]
    if journal is None or not is_new.any():
        return old.columns[name][source]
    computed = journal.columns[name][-1 - source[is_new]]
    if is_new.all():
        return computed
    reused = old.columns[name][source[~is_new]]
    column = np.empty(len(source), np.promote_types(reused.dtype, computed.dtype))
    column[~is_new], column[is_new] = reused, computed
    return column


def close_journal(journal: Journal) -> None:
    """Close the files and leave them for the next run; a second call does nothing."""
    _remove_rooms(journal.rows_path)
    files = journal.rows_file, journal.journal_file
    journal.rows_file = journal.journal_file = -1
    for file in files:
        if file >= 0:
            os.close(file)
