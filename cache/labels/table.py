"""A table of text with a header, as people's programs write it: its dialect, its columns, and its lines one by one."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cache.shared.text import plain, plain_cell, printable

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
            yield Row(number, [], _fault(error))
            continue
        if not any(cells):
            continue
        if any(cells[n:]):
            yield Row(number, [], _too_many(len(cells), n, header.delimiter))
        else:
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
    return [plain_cell(cell.strip()) for cell in cells]


def _unquoted(cell: str) -> str:
    """Return a cell between tabs, where programs but Excel and R take quotation marks for themselves."""
    if re.fullmatch(r'"(?:[^"]|"")*"', cell):
        return cell[1:-1].replace('""', '"').strip()
    if cell.startswith('"') and cell.count('"') % 2:
        raise csv.Error("unclosed quotation mark")
    return cell


def _fault(error: csv.Error) -> str:
    if "field larger" in str(error):
        return "one of its cells is too long"
    return "a quotation mark is not closed in this line, or stands in the middle of a quoted cell"


def _too_many(n_cells: int, n_columns: int, delimiter: str) -> str:
    fault = f"it has {n_cells} cells, and the header has {n_columns}"
    return f"{fault}; numbers with a decimal comma need quotation marks" if delimiter == "," else fault
