"""Rows that are finished but not yet published, in two files beside the cache that survive a SIGKILL.

`<cache>.partial` holds the rows where the published file will have them, so that publishing a cache built from
nothing only writes the HDF5 structure around them. `<cache>.partial.journal` says in JSON lines what each row is.
A row is written before its line, both with plain write calls, whose effect no signal takes back. Every line starts
with its own crc32 and holds its row's; both are checked before a row is reused, so a power cut, after which any block
of either file may be missing, costs only those rows.
"""

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.file.columns import COLUMNS, ROW_SHAPE, WIDTHS, Columns, Rejected, Row
from cache.file.container import ALIGNMENT
from cache.shared.files import open_regular, write_all

PARTIAL_VERSION = 1


@dataclass
class Partial:
    """The rows that are kept so far.

    Attributes
    ----------
    rows_file, journal_file
        Open descriptors.
    row_bytes
        Bytes of one row of X.
    n_slots
        Rows written, the unusable ones among them included.
    slots
        Of every usable row, where it lies, by path.
    columns
        What each row is, by slot, as in `cache.file.columns.COLUMNS` without the path; longer than there are slots.
    rejected
        The clips found unusable, by path.
    """

    rows_path: Path
    journal_path: Path
    rows_file: int
    journal_file: int
    row_bytes: int
    n_slots: int = 0
    slots: dict[str, int] = field(default_factory=dict)
    columns: Columns = field(default_factory=lambda: _columns(1024))
    rejected: dict[str, Rejected] = field(default_factory=dict)


def partial_paths(cache_file: Path) -> tuple[Path, Path]:
    """Return where the finished rows of a cache lie and where their journal does."""
    rows = cache_file.with_name(cache_file.name + ".partial")
    return rows, journal_of(rows)


def journal_of(rows_path: Path) -> Path:
    """Return where the journal of some rows lies."""
    return rows_path.with_name(rows_path.name + ".journal")


def gathered_path(rows_path: Path) -> Path:
    """Return where rows are copied to that do not lie in their final order."""
    return rows_path.with_name(rows_path.name + ".new")


def open_partial(cache_file: Path, header: Mapping[str, object], dtype: np.dtype[np.floating]) -> tuple[Partial, str]:
    """Open the rows that an interrupted run left, or start with none.

    Parameters
    ----------
    cache_file
        The cache they are for.
    header
        Everything the rows depend on (settings, versions, classes). Rows under another header are set aside.
    dtype
        Element type of X.

    Returns
    -------
    Partial
        Its rows were read and match their crc32.
    str
        A line for the user about rows that were set aside, or "".
    """
    rows_path, journal_path = partial_paths(cache_file)
    # A kill during publish() leaves its copy.
    gathered_path(rows_path).unlink(missing_ok=True)
    head = json.dumps({"partial_version": PARTIAL_VERSION, **header}, sort_keys=True).encode()
    notice = _make_room(rows_path, journal_path, head)
    # The journal goes first when either is missing: it must never describe rows that it was not written for.
    if not rows_path.exists():
        journal_path.unlink(missing_ok=True)
    # No link is followed: what lies beside the cache must not lead the writing elsewhere.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    rows_file = os.open(rows_path, flags, 0o666)
    journal_file = os.open(journal_path, flags | os.O_APPEND, 0o666)
    row_bytes = int(np.prod(ROW_SHAPE)) * dtype.itemsize
    partial = Partial(rows_path, journal_path, rows_file, journal_file, row_bytes)
    _recover(partial)
    if not os.fstat(journal_file).st_size:
        write_all(journal_file, head + b"\n")
    return partial, notice


def _make_room(rows_path: Path, journal_path: Path, head: bytes) -> str:
    """Leave the names to rows under `head`, those of an earlier time if there are any, and say what was in the way."""
    notice = ""
    found = _head_of(journal_path)
    if found and found != head and rows_path.exists():
        aside = _aside(rows_path, found)
        rows_path.replace(aside)
        journal_path.replace(journal_of(aside))
        notice = f"unfinished rows of other settings are set aside in {aside}; delete it if you do not need them"
    if found != head:
        # What has no head says nothing: the journal of a run that was killed before it wrote one.
        journal_path.unlink(missing_ok=True)
    # Either half may be aside alone, when a kill came between the two moves.
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


def _recover(partial: Partial) -> None:
    size = os.fstat(partial.journal_file).st_size
    text = os.pread(partial.journal_file, size, 0)
    # A line that was cut by a full disk must not swallow the next one that is appended to it.
    whole = text.rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(partial.journal_file, whole)
    for line in text[:whole].split(b"\n")[1:-1]:
        entry = _entry(line)
        if entry is None:
            continue
        if "reason" in entry:
            _reject(partial, Rejected(**entry))
            continue
        slot = entry.pop("slot")
        row = Row(**entry)
        partial.n_slots = max(partial.n_slots, slot + 1)
        stored = os.pread(partial.rows_file, partial.row_bytes, row_offset(partial, slot))
        if len(stored) == partial.row_bytes and zlib.crc32(stored) == row.crc32:
            _keep(partial, range(slot, slot + 1), [row])


def _line(entry: Mapping[str, object]) -> bytes:
    text = json.dumps(entry).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _entry(line: bytes) -> dict[str, Any] | None:
    crc, _, text = line.partition(b" ")
    if crc != b"%08x" % zlib.crc32(text):
        return None
    entry: dict[str, Any] = json.loads(text)
    return entry


def row_offset(partial: Partial, slot: int) -> int:
    """Return where in the file a row starts."""
    return ALIGNMENT + slot * partial.row_bytes


def append(
    partial: Partial, rows: Sequence[Row], X: npt.NDArray[np.floating], rejected: Sequence[Rejected] = ()
) -> None:
    """Keep some finished rows and rejected clips.

    Parameters
    ----------
    rows
        What each row is.
    X
        The rows, shape (len(rows), 128, 128, 1), in the element type that the partial was opened with.
    rejected
        Clips found unusable.
    """
    if rows:
        write_all(partial.rows_file, np.ascontiguousarray(X).data, row_offset(partial, partial.n_slots))
    slots = range(partial.n_slots, partial.n_slots + len(rows))
    lines = [_line(_told(slot, row)) for slot, row in zip(slots, rows, strict=True)]
    lines += [_line(clip._asdict()) for clip in rejected]
    write_all(partial.journal_file, b"".join(lines))
    partial.n_slots += len(rows)
    _keep(partial, slots, rows)
    for clip in rejected:
        _reject(partial, clip)


def _told(slot: int, row: Row) -> dict[str, Any]:
    """Return the slot of a row and those of its fields that are not what they are by default."""
    told = dict(zip(Row._fields, row, strict=True))
    for name, value in Row._field_defaults.items():
        if told[name] == value:
            del told[name]
    told["slot"] = slot
    return told


def _keep(partial: Partial, slots: range, rows: Sequence[Row]) -> None:
    # Arrays, because the rows of a large cache as Python's objects take five times their memory.
    while slots.stop > len(partial.columns["size"]):
        more = _columns(len(partial.columns["size"]))
        partial.columns = {name: np.concatenate([column, more[name]]) for name, column in partial.columns.items()}
    fields = dict(zip(Row._fields, zip(*rows, strict=True), strict=True)) if rows else {}
    for name, values in fields.items():
        # The columns begin with zeros and empty texts, which is what most have by default.
        if name != "path" and (name not in Row._field_defaults or any(values)):
            partial.columns[name][slots.start : slots.stop] = _encoded(name, values)
    for slot, row in zip(slots, rows, strict=True):
        partial.slots[row.path] = slot
        partial.rejected.pop(row.path, None)


def _encoded(name: str, values: Sequence[Any]) -> Sequence[Any]:
    if name not in WIDTHS:
        return values
    # A text that is too long loses its end, but never half a character.
    width = WIDTHS[name]
    texts = [value.encode() for value in values]
    return [text if len(text) <= width else text[:width].decode(errors="ignore").encode() for text in texts]


def _columns(n_slots: int) -> Columns:
    kinds = {name: f"S{WIDTHS[name]}" if kind == "S" else kind for name, kind in COLUMNS.items() if name != "path"}
    return {name: np.zeros(n_slots, kind) for name, kind in kinds.items()}


def _reject(partial: Partial, clip: Rejected) -> None:
    partial.rejected[clip.path] = clip
    partial.slots.pop(clip.path, None)


def close_partial(partial: Partial) -> None:
    """Close the files and leave them for the next run; a second call does nothing."""
    files = partial.rows_file, partial.journal_file
    partial.rows_file = partial.journal_file = -1
    for file in files:
        if file >= 0:
            os.close(file)
