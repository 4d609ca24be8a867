"""Raven's selection table: a row a view of each selection, under a header, with tabs between the columns."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from cache.labels.annotation import Annotation, Region, seconds
from cache.shared.errors import UserError
from cache.shared.text import printable

ENDING = ".selections.txt"
_REQUIRED = ("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)")
HEADER = "\t".join((*_REQUIRED, "Begin File", "Class", "Probability"))

_BEGIN, _END, _OFFSET = "begin time (s)", "end time (s)", "file offset (s)"
# What names the recording.
_FILE = ("begin path", "begin file")
# What holds the label, if it is there.
_LABEL = ("species", "annotation", "label")
# Beside what has a unit in parentheses, the columns that Raven itself fills in.
_OWN = {"selection", "view", "channel", *_FILE, "end path", "end file", "begin date", "begin clock time", "end date"}
_OWN |= {"end clock time", "begin date time", "begin hour", "file offset", "clip name", "notes"}


def recognises(lines: Sequence[str]) -> bool:
    """Whether these are the lines of a selection table."""
    return {_BEGIN, _END} <= set(_cells(lines[0].casefold()) if lines else ())


def annotations(table: Path, lines: Sequence[str], label_column: str | None) -> Iterator[Annotation]:
    """Yield the labels, each once though it may be there in a spectrogram's and in a waveform's view.

    Where selections run through recordings that follow each other, the column File Offset (s) has the start within the
    one that Begin File or Begin Path names.

    Raises
    ------
    UserError
        No column holds the label, or the table has several recordings and no offsets.
    """
    names = _cells(lines[0])
    plain = [name.casefold() for name in names]
    rows = [(n, dict(zip(plain, _cells(line), strict=False))) for n, line in enumerate(lines[1:], 2) if line.strip()]
    label = _label_column(names, [row for _, row in rows], label_column)
    files = {_file(row) for _, row in rows} - {""}
    if len(files) > 1 and _OFFSET not in plain:
        raise UserError(
            f"it is of {len(files)} recordings and has no column File Offset (s), without which nobody knows where in"
            " each a selection lies; add that measurement in Raven"
        )
    seen = set()
    for number, row in rows:
        start, end = seconds(row.get(_BEGIN)), seconds(row.get(_END))
        view = (row.get("selection", ""), start, end, _file(row))
        if view[0] and view in seen:
            continue
        seen.add(view)
        offset = seconds(row.get(_OFFSET))
        if not math.isnan(offset):
            start, end = offset, offset + (end - start)
        yield Annotation(_file(row), start, end, row.get(label, ""), table, number)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("\t")]


def _file(row: dict[str, str]) -> str:
    return next((row[name] for name in _FILE if row.get(name)), "")


def _label_column(names: Sequence[str], rows: Sequence[dict[str, str]], wanted: str | None) -> str:
    """Return the column of the label in small letters: that which is named, or else the likeliest."""
    plain = [name.casefold() for name in names]
    if wanted is not None:
        if wanted.strip().casefold() in plain:
            return wanted.strip().casefold()
        raise UserError(f"it has no column {wanted}; it has {', '.join(names)}")
    free = [name for name in plain if name not in _OWN and not name.endswith(")")]
    # Scores and measurements are numbers; so is a name now and then.
    worded = [name for name in free if any(math.isnan(seconds(row[name])) for row in rows if row.get(name))]
    filled = [name for name in free if any(row.get(name) for row in rows)]
    known = [name for name in _LABEL if name in filled]
    if chosen := known[:1] or worded[-1:] or filled[-1:]:
        return chosen[0]
    if not rows:
        return ""
    raise UserError(f"none of its columns holds a label; it has {', '.join(names)}: name it with --label-column")


def line(number: int, region: Region, recording: str, band: tuple[float, float]) -> str:
    """Return the row of a region, the one of this number, over a band of frequencies in Hz."""
    low, high = band
    times = f"{region.start:.6f}\t{region.end:.6f}\t{low:.1f}\t{high:.1f}"
    label = f"{printable(recording)}\t{printable(region.label)}\t{region.probability:.4f}"
    return f"{number}\tSpectrogram 1\t1\t{times}\t{label}"
