"""Raven's selection table: a row for each view of each selection, with tabs or commas between the columns."""

import math
from collections.abc import Sequence
from pathlib import Path

from cache.labels.annotation import FREQUENCIES, Annotation, Problem, Region, seconds
from cache.labels.table import (
    FILE,
    LABEL,
    SCORE,
    ColumnNames,
    Header,
    Row,
    column_name,
    columns_of,
    header_of,
    label_in,
    numeric,
    readable,
    refuse_other_files,
)
from cache.shared.errors import UserError
from cache.shared.text import printable

EXPECTED = "a header with the columns of Raven (Begin Time (s), End Time (s), Species)"

KIND = "a selection table"
ENDING = ".selections.txt"
_REQUIRED = ("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)")
_WRITTEN = (*_REQUIRED, "Begin File", "Class", "Probability")
HEADER = "\t".join(_WRITTEN)
TO_OPEN = "open them in Raven (File, Open Selection Table)"

_BEGIN, _END, _OFFSET = "begin time s", "end time s", "file offset s"
_LOW, _HIGH = "low freq hz", "high freq hz"
# Besides measurements, whose names end with a unit in parentheses, the columns that Raven itself fills in.
_OWN = {"selection", "view", "channel", *FILE, "end path", "end file", "begin date", "begin clock time", "end date"}
_OWN |= {"end clock time", "begin date time", "begin hour", "file offset", "clip name", "notes", ""}


def recognises(lines: Sequence[str], named: ColumnNames) -> bool:
    """Whether these are the lines of a selection table, whose times may stand in columns that the user named."""
    header = header_of(lines)
    is_ravens = {_BEGIN, _END} <= header.columns.keys() or "selection" in header.columns
    return is_ravens and None not in _times(header, named)


def annotations(table: Path, lines: Sequence[str], named: ColumnNames) -> tuple[list[Annotation], list[Problem]]:
    """Return the labels, each once though it may be there in a spectrogram's and in a waveform's view.

    Where selections run through recordings that follow each other, the column File Offset (s) has the start within the
    one that Begin File or Begin Path names. A start in another column, which the user named, is that already. Raises a
    UserError if no column holds the label, or the table has several recordings and no offsets.
    """
    header = header_of(lines)
    rows, problems = readable(table, lines, header)
    label = _label_column(header, rows, named)
    refuse_other_files(header, rows, named.find(header, named.file, FILE), label)
    file_at, (start_at, end_at) = named.find(header, named.file, ()), _times(header, named)
    offset_at = header.columns.get(_OFFSET)
    has_own_start = start_at == header.columns.get(_BEGIN)
    files = {_file(header, row, file_at) for row in rows} - {""}
    if len(files) > 1 and has_own_start and offset_at is None:
        raise UserError(
            f"it has selections of {len(files)} recordings and no column File Offset (s), so it is not known where in"
            " each a selection lies; add that measurement in Raven"
        )
    is_ours = {column_name(name) for name in _WRITTEN} <= header.columns.keys()
    seen, found = set(), []
    for row in rows:
        start, end, offset = (seconds("" if at is None else row.cells[at]) for at in (start_at, end_at, offset_at))
        file, channel = _file(header, row, file_at), _channel(_cell(header, row, "channel"))
        view = (_cell(header, row, "selection"), start, end, file, channel)
        if view[0] and view in seen:
            continue
        seen.add(view)
        if has_own_start and not math.isnan(offset):
            start, end = offset, offset + (end - start)
        name = "" if label is None else row.cells[label] if is_ours else label_in(row.cells[label])
        found.append(Annotation(file, start, end, name, table, row.number, channel))
    if is_ours and {one.channel for one in found} <= {1}:
        # Predictions are of all channels and frequencies, and Raven asks for numbers.
        return [one._replace(channel=0) for one in found], problems
    if any(_cell(header, row, name) for row in rows for name in (_LOW, _HIGH)):
        problems.append(Problem(table, 0, FREQUENCIES, FREQUENCIES, skipped=False))
    return found, problems


def _cell(header: Header, row: Row, name: str) -> str:
    return row.cells[header.columns[name]] if name in header.columns else ""


def _times(header: Header, named: ColumnNames) -> tuple[int | None, int | None]:
    """Return the columns of the start and of the end."""
    return named.find(header, named.start, [_BEGIN]), named.find(header, named.end, [_END])


def _file(header: Header, row: Row, named: int | None) -> str:
    if named is not None:
        return row.cells[named]
    return next((cell for name in FILE if (cell := _cell(header, row, name))), "")


def _channel(cell: str) -> int:
    return int(cell) if cell.isascii() and cell.isdigit() and len(cell) < 5 else 0


def _label_column(header: Header, rows: Sequence[Row], named: ColumnNames) -> int | None:
    """Return the column of the label: the one that is named, or else the likeliest; None if there are no rows."""
    if (asked := named.find(header, named.label, ())) is not None:
        return asked
    cells = {i: [row.cells[i] for row in rows] for i in range(len(header.names))}
    not_free = _OWN | {column_name(name) for name in named if name}
    free = [i for i, name in enumerate(header.names) if column_name(name) not in not_free and not _has_unit(name)]
    free = [i for i in free if not (column_name(header.names[i]) in SCORE and numeric(cells[i]))]
    # Measurements are numbers; so is a name now and then.
    filled = [i for i in free if any(cells[i])]
    worded = [i for i in filled if not numeric(cells[i])]
    known = sorted((LABEL.index(name), i) for i in filled if (name := column_name(header.names[i])) in LABEL)
    if chosen := [i for _, i in known[:1]] or worded[-1:] or filled[-1:]:
        return chosen[0]
    if not rows:
        return None
    raise UserError(f"none of its columns holds a label; it has {columns_of(header)}: name it with --label-column")


def _has_unit(name: str) -> bool:
    # "Delta Time (s)", and "Delta.Time..s." as R writes it.
    return name.endswith(")") or (name.endswith(".") and ".." in name)


def line(number: int, region: Region, recording: str, band: tuple[float, float]) -> str:
    """Return the row of a region, the one of this number, over a band of frequencies in Hz."""
    low, high = band
    times = f"{region.start:.6f}\t{region.end:.6f}\t{low:.1f}\t{high:.1f}"
    label = f"{_quoted(recording)}\t{_quoted(region.label)}\t{region.probability:.4f}"
    return f"{number}\tSpectrogram 1\t1\t{times}\t{label}"


def _quoted(name: str) -> str:
    """Return the text of a cell, which is read without quotation marks if it begins with one."""
    text = printable(name)
    return '"' + text.replace('"', '""') + '"' if text.startswith('"') else text
