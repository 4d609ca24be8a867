"""A table in CSV with the columns file, start, end and label; commas, semicolons or tabs between them."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from cache.labels.annotation import Annotation, seconds
from cache.shared.errors import UserError

_FILE = ("file", "path")


def recognises(lines: Sequence[str]) -> bool:
    """Whether these are the lines of such a table."""
    return {"start", "end"} <= set(_header(lines))


def annotations(table: Path, lines: Sequence[str], label_column: str | None) -> Iterator[Annotation]:
    """Yield the labels.

    Raises
    ------
    UserError
        No column holds the label.
    """
    header = _header(lines)
    wanted = [name for name in ((label_column or "").strip().casefold(), "label") if name in header]
    if not wanted:
        raise UserError(f"it has no column label; it has {', '.join(header)}: name the right one with --label-column")
    file = next((header.index(name) for name in _FILE if name in header), None)
    start, end, name = header.index("start"), header.index("end"), header.index(wanted[0])
    rows = csv.reader([f"{line}\n" for line in lines], delimiter=_delimiter(lines))
    for row in rows:
        if rows.line_num > 1 and any(row):
            cells = row + [""] * (len(header) - len(row))
            where = "" if file is None else cells[file].strip()
            yield Annotation(
                where, seconds(cells[start]), seconds(cells[end]), cells[name].strip(), table, rows.line_num
            )


def _header(lines: Sequence[str]) -> list[str]:
    rows = csv.reader(lines[:1], delimiter=_delimiter(lines))
    return [name.strip().casefold() for name in next(rows, [])]


def _delimiter(lines: Sequence[str]) -> str:
    first = lines[0] if lines else ""
    return max(",;\t", key=first.count)
