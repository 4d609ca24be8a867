"""A table of labels with a header, as people's programs write it: its dialect, its columns, and its labels.

Raven's selection tables are such tables too, whose columns are known.
"""

import csv
import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cache.labels.annotation import Annotation, Problem, seconds
from cache.shared.errors import UserError
from cache.shared.text import plain, plain_cell, printable
from cache.shared.tree import AUDIO_EXTENSIONS

EXPECTED = "a header with file, start, end and label (file and label for whole files)"

# The usual names of the columns, as column_name() gives them, those first that say the most.
FILE = (
    *("begin path", "begin file", "file", "path", "filename", "file name", "filepath", "file path", "fname", "audio"),
    *("audio file", "audio filename", "audio path", "recording", "wav", "wav file", "wavfile", "sound file"),
)
# UrbanSound8K's, whose start and end lie in another file, out of which the clip was cut.
_WHOLE_FILE = "slice file name"
_START = (
    *("begin time s", "start", "start s", "start time", "start time s", "start seconds", "start sec", "onset"),
    *("onset s", "onset time", "begin", "begin s", "begin time", "begin sec", "starttime"),
)
_END = (
    *("end time s", "end", "end s", "end time", "end seconds", "end sec", "offset", "offset s", "offset time"),
    *("stop", "stop s", "stop time", "endtime"),
)
LABEL = (
    *("species", "annotation", "label", "class", "event label", "common name", "category", "species name"),
    *("scientific name", "class name", "label name", "primary label"),
)
# Characters of the names of a table's columns in a message.
_MOST_SHOWN = 400

# Numbers in a column of such a name are how probable the label is.
SCORE = frozenset({"probability", "confidence", "score"})
# R and pandas write one of these where there is no value.
_MISSING = frozenset({"na", "nan", "n/a"})
# `predict --format csv` writes these columns.
_PREDICTIONS = frozenset({"run", "kind", "path", "start", "end", "class"})

# Faults of lines.
_UNCLOSED = "a quotation mark is not closed in this line, or stands in the middle of a quoted cell"
_DECIMAL_COMMA = "numbers with a decimal comma need quotation marks"

_DELIMITERS = ",;\t"
# Characters of a cell or a line that a message shows.
_SHOWN = 80


class Header(NamedTuple):
    """The line that names the columns."""

    number: int  # its number, from 1: blank lines and Excel's `sep=;` may come before it
    delimiter: str  # what separates the cells: a comma, a semicolon or a tab
    names: list[str]  # the names of the columns, as they are written
    # The position of each column by its name as column_name() gives it; of two of one name, the first.
    columns: dict[str, int]

    def first_of(self, names: Iterable[str]) -> int | None:
        """Return the position of the first of these columns that is there."""
        return next((self.columns[name] for name in names if name in self.columns), None)


class Row(NamedTuple):
    """A line below the header: one cell for each column, or the reason why the line cannot be read."""

    number: int
    cells: list[str]
    fault: str = ""


class ColumnNames(NamedTuple):
    """The columns that the user named, for the tables that have them; None or "": the usual ones."""

    file: str | None = None
    start: str | None = None
    end: str | None = None
    label: str | None = None

    def find(self, header: Header, name: str | None, usual: Iterable[str]) -> int | None:
        """Return the column that the user named, if it is there, or else a usual one not named for something else.

        The `usual` names are as column_name() gives them.
        """
        others = {column_name(other) for other in self if other}
        own = [column_name(name)] if name else []
        return header.first_of([*own, *(one for one in usual if one not in others)])


USUAL = ColumnNames()


def column_name(name: str) -> str:
    """Return the name of a column as it is compared: "Begin Time (s)" and R's "Begin.Time..s." are "begin time s"."""
    return re.sub(r"[\W_]+", " ", plain(name)).strip()


def shown(text: str, most: int = _SHOWN) -> str:
    """Return a cell or a line as a message shows it: printable, and not too long."""
    text = printable(text)
    return text if len(text) <= most else f"{text[:most]}.."


def header_of(lines: Sequence[str]) -> Header:
    """Return the header, which is the first line that is not blank; a header without names if there is none."""
    filled = (i for i, line in enumerate(lines) if line.strip())
    first = next(filled, None)
    stated = re.fullmatch(r'"?sep=(.)"?', lines[first].rstrip("\n"), re.IGNORECASE) if first is not None else None
    if stated:
        first = next(filled, None)
    if first is None:
        return Header(0, ",", [], {})
    found = {delimiter: _names(lines[first], delimiter) for delimiter in (stated[1] if stated else _DELIMITERS)}
    delimiter = max(found, key=lambda delimiter: len(found[delimiter]))
    names = found[delimiter]
    columns = {column_name(name): i for i, name in reversed(list(enumerate(names)))}
    return Header(first + 1, delimiter, names, columns)


def _names(line: str, delimiter: str) -> list[str]:
    try:
        return _cells(line, delimiter)
    except csv.Error:
        return [cell.strip() for cell in line.split(delimiter)]


def rows_of(lines: Sequence[str], header: Header) -> Iterator[Row]:
    """Yield the lines below a header that are not blank, each read by itself, so that a bad one spoils no other."""
    n = len(header.names)
    for number, line in enumerate(lines[header.number :], header.number + 1):
        try:
            cells = _cells(line, header.delimiter)
        except csv.Error as error:
            yield Row(number, [], "one of its cells is too long" if "field larger" in str(error) else _UNCLOSED)
            continue
        if any(cells[n:]):
            fault = f"it has {len(cells)} cells, and the header has {n}"
            yield Row(number, [], f"{fault}; {_DECIMAL_COMMA}" if header.delimiter == "," else fault)
        elif any(cells):
            yield Row(number, cells[:n] + [""] * (n - len(cells)))


def _cells(line: str, delimiter: str) -> list[str]:
    if delimiter == "\t":
        return [_unquoted(cell.strip()) for cell in line.split("\t")]
    try:
        cells = next(csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True), [])
    except csv.Error:
        # Some programs put blanks between a closing quotation mark and what follows.
        tight = re.sub(rf'"[ ]+(?={re.escape(delimiter)}|$)', '"', line)
        if tight == line:
            raise
        cells = next(csv.reader([tight], delimiter=delimiter, strict=True, skipinitialspace=True), [])
    # Only a CSV is written by csv_line().
    return [plain_cell(cell.strip()) for cell in cells]


def _unquoted(cell: str) -> str:
    """Return a cell between tabs, where programs but Excel and R take quotation marks for themselves."""
    if re.fullmatch(r'"(?:[^"]|"")*"', cell):
        return cell[1:-1].replace('""', '"').strip()
    if cell.startswith('"') and cell.count('"') % 2:
        raise csv.Error("unclosed quotation mark")
    return cell


def recognises(lines: Sequence[str], named: ColumnNames) -> bool:
    """Whether these are the lines of a table with columns for a start and an end, or for a file and something more.

    A table with one of these columns that the user named is one as well: its reader says which others it lacks.
    """
    header = header_of(lines)
    has_times = header.first_of(_START) is not None and header.first_of(_END) is not None
    has_named = any(name and column_name(name) in header.columns for name in (named.file, named.start, named.end))
    return has_times or has_named or (file_column(header) is not None and len(header.names) > 1)


def annotations(table: Path, lines: Sequence[str], named: ColumnNames) -> tuple[list[Annotation], list[Problem]]:
    """Return the labels, and the lines that cannot be read; without times, a label is that of the whole file.

    Raises a UserError if no column holds the label, or it is not known which one names the recording or gives the
    times.
    """
    header = header_of(lines)
    rows, problems = readable(table, lines, header)
    label = named.find(header, named.label, ())
    if label is None and header.columns.keys() >= _PREDICTIONS:
        raise UserError(
            "it is a table of predictions, not of labels; `predict` writes labels with --format raven or audacity"
        )
    if label is None and (label := named.find(header, None, ("label", *LABEL))) is None:
        raise UserError(
            f"it has no column for the label (label, species, class, ..); it has {columns_of(header)}: name the right"
            " one with --label-column"
        )
    file = file_column(header, named)
    is_whole = file is not None and column_name(header.names[file]) == _WHOLE_FILE
    start = named.find(header, named.start, () if is_whole else _START)
    end = named.find(header, named.end, () if is_whole else _END)
    refuse_other_files(header, rows, file, label)
    if (start is None) != (end is None):
        there, lacking = ("start", "end") if end is None else ("end", "start")
        raise UserError(
            f"it has a column for the {there} and none for the {lacking}; it has {columns_of(header)}: name the right"
            f" one with --{lacking}-column"
        )
    if start is None and file is None:
        raise UserError(
            f"it has no columns for start and end, nor for the file; it has {columns_of(header)}: name the right ones"
            " with --start-column, --end-column and --file-column"
        )
    if start is None and rows:
        problems.append(Problem(table, 0, "its labels have no times, so each is that of a whole file", "whole", False))
    found = []
    for number, cells, _ in rows:
        span = (0.0, math.inf) if start is None or end is None else (seconds(cells[start]), seconds(cells[end]))
        name = "" if file is None else cells[file]
        if file is not None and not name:
            problems.append(Problem(table, number, "it does not name its recording", "file"))
        else:
            found.append(Annotation(name, *span, label_in(cells[label]), table, number))
    return found, problems


def readable(table: Path, lines: Sequence[str], header: Header) -> tuple[list[Row], list[Problem]]:
    """Return the rows below a header, and why lines cannot be read as such."""
    rows = list(rows_of(lines, header))
    problems = [
        Problem(table, row.number, f"{row.fault}: {shown(lines[row.number - 1])}", row.fault)
        for row in rows
        if row.fault
    ]
    return [row for row in rows if not row.fault], problems


def file_column(header: Header, named: ColumnNames = USUAL) -> int | None:
    """Return the column that names the recording."""
    return named.find(header, named.file, (_WHOLE_FILE, *FILE))


def label_in(cell: str) -> str:
    """Return the label in a cell; "" for what R and pandas write where there is none."""
    return "" if cell.lower() in _MISSING else cell


def columns_of(header: Header) -> str:
    """Return the names of the columns for a message."""
    return shown(", ".join(header.names), _MOST_SHOWN)


def refuse_other_files(header: Header, rows: Sequence[Row], file: int | None, label: int | None) -> None:
    """Raise a UserError if the recordings stand in a column that is not known as theirs.

    The table's own name would be taken for that of its recording, and the labels be cut out of the wrong one.
    """
    if file is not None:
        return
    endings = tuple(AUDIO_EXTENSIONS)
    for i, name in enumerate(header.names):
        cells = [row.cells[i] for row in rows if row.cells[i]]
        audio = [cell for cell in cells if cell.lower().endswith(endings)]
        # A remark may end with the name of a file as well.
        if i != label and len(audio) > len(cells) / 2:
            raise UserError(
                f"its column {shown(name)} holds names of audio files ({shown(audio[0])}), and is not known to name the"
                " recording; name the right column with --file-column"
            )


def numeric(cells: Collection[str]) -> bool:
    """Whether there are cells with something in them, all of them numbers."""
    return any(cells) and not any(math.isnan(seconds(cell)) for cell in cells if cell)
