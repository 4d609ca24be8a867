"""read_labels(): the annotations in tables of labels, whichever program wrote the tables."""

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

from cache.labels import audacity, raven, table
from cache.labels.annotation import Annotation, Problem
from cache.labels.corrections import FILE as CORRECTIONS
from cache.labels.corrections import FINDINGS, MOVES
from cache.labels.place import Place, index_of, own_folders, place_by_name, place_by_table
from cache.labels.table import USUAL, ColumnNames, column_name, columns_of, header_of, shown
from cache.shared.errors import UserError
from cache.shared.files import read_lines
from cache.shared.tree import walk


class TableFormat(Protocol):
    """A module that reads tables of labels."""

    EXPECTED: str  # what such a table has to have, in words

    def recognises(self, lines: Sequence[str], named: ColumnNames) -> bool:
        """Whether these are the lines of such a table."""

    def annotations(
        self, table: Path, lines: Sequence[str], named: ColumnNames
    ) -> tuple[list[Annotation], list[Problem]]:
        """Return the labels in such a table, and what is wrong with others."""


FORMATS: tuple[TableFormat, ...] = (raven, table, audacity)

# The files that are looked at in a folder.
ENDINGS = frozenset({".txt", ".csv", ".tsv"})

# Seconds: a shorter label is a slip, and no recording is longer.
_SHORTEST, _LONGEST = 1e-4, 1e8
# Labels of one name whose starts and ends differ by less are one label, rounded in two ways.
_SAME_SECONDS = 1e-3
# Bytes of a name that can be that of a folder.
_LONGEST_NAME = 255


class Labels(NamedTuple):
    """The annotations of some tables, and what is wrong with the tables."""

    annotations: list[Annotation]  # in the order of the tables and their lines; `file` is the path of the recording
    empty: list[str]  # recordings whose tables are there and empty: nothing calls in them
    problems: list[Problem]  # lines and tables that were skipped, and other remarks


class _Table(NamedTuple):
    """A table that was read."""

    file: Path  # the table
    top: Path | None  # the folder in which it was found; None if it was named itself
    lines: list[str]  # its lines; none if they cannot be read
    annotations: list[Annotation]  # empty if the table cannot be used, and there is a problem then
    problems: list[Problem]


def read_labels(
    paths: Sequence[Path],
    recordings: Path | None,
    named: ColumnNames = USUAL,
    point: float = 0.0,
    audio: Sequence[str] | None = None,
) -> Labels:
    """Read tables of labels: Audacity's label tracks, Raven's selection tables, and tables with a header.

    Raises a UserError if a path is not there, nothing can be made of a table that was named, or no table has a named
    column.

    Parameters
    ----------
    paths
        Tables, or folders in which they are searched for.
    recordings
        A folder in which, and below which, the recordings are looked for, as they are beside the tables.
    point
        The length in seconds to give to labels of a point in time; 0: skip them.
    audio
        The paths of all audio files in and below `recordings`, relative to it; None: walk it to find them.
    """
    read = [_read(file, top, named) for file, top in _files(paths)]
    if any(named):
        _check_columns(read, named)
    labels = Labels([], [], list(_said_once(problem for table in read for problem in table.problems)))
    places = _places(read, recordings, audio)
    found: list[Annotation] = []
    for source in read:
        for one in source.annotations:
            if fault := _fault(one, point, source.lines):
                labels.problems.append(Problem(one.table, one.line, *fault))
                continue
            place = places[source.file, one.file]
            if place.note:
                kind = "placed" if place.path else "recording"
                labels.problems.append(Problem(one.table, one.line, place.note, kind, skipped=not place.path))
            if place.path:
                found.append(_timed(one, place.path, point))
        if not source.annotations and not source.problems:
            place = places[source.file, ""]
            if place.path:
                labels.empty.append(place.path)
            else:
                labels.problems.append(Problem(source.file, 0, f"it is empty: {place.note}", "empty"))
    labels.annotations.extend(_once(found, labels.problems))
    return labels


def tables(paths: Sequence[Path], most: float = math.inf) -> list[Path]:
    """Return the files that may be tables of labels, as read_labels() looks at them.

    Raises a UserError if there are more than `most` folders to look into.
    """
    return [file for file, _ in _files(paths, most) if file.is_file()]


def _files(paths: Sequence[Path], most: float = math.inf) -> Iterator[tuple[Path, Path | None]]:
    """Yield every file once, with the folder in which it was found, or None if it was named itself."""
    seen = set()
    found: list[tuple[Path, Path | None]]
    for path in paths:
        if path.is_dir():
            here = (path / name for name in sorted(walk(path, most=most, endings=ENDINGS)[0].audio, key=_files_first))
            found = [(file, path) for file in here if file.name not in (CORRECTIONS, FINDINGS, MOVES)]
        elif path.exists():
            found = [(path, None)]
        else:
            raise UserError(f"{path} is not there; give a table of labels, or a folder that holds such tables")
        for file, top in found:
            if (real := os.path.realpath(file)) not in seen:
                seen.add(real)
                yield file, top


def _files_first(path: str) -> list[tuple[bool, str]]:
    """Return the key by which the files in a folder come before those in the folders below it."""
    *folders, name = path.split("/")
    return [*((True, folder) for folder in folders), (False, name)]


def _read(file: Path, top: Path | None, named: ColumnNames) -> _Table:
    """Read a table; one that cannot be used is a problem if it was found, and an error if it was named."""
    lines: list[str] = []
    try:
        lines = read_lines(file)
        if kind := _format_of(lines, named):
            return _Table(file, top, lines, *kind.annotations(file, lines, named))
        if not any(map(str.strip, lines)):
            return _Table(file, top, lines, [], [])
        first = next(line for line in lines if line.strip())
        expected = ", or ".join(kind.EXPECTED for kind in reversed(FORMATS))
        raise UserError(f"it is not a table of labels: its first line is {shown(first)!r}; expected is {expected}")
    except UserError as error:
        reason = re.sub(f"^{re.escape(str(file))} ", "it ", str(error))
        if top is None:
            raise UserError(f"{file}: {reason}") from None
        return _Table(file, top, lines, [], [Problem(file, 0, reason, "table")])


def _format_of(lines: Sequence[str], named: ColumnNames) -> TableFormat | None:
    return next((kind for kind in FORMATS if kind.recognises(lines, named)), None)


def _check_columns(read: Iterable[_Table], named: ColumnNames) -> None:
    """Raise a UserError if no table has a column that is named."""
    # A table that can be used shows best which columns there are.
    tables = sorted(read, key=lambda table: not table.annotations)
    headers = {one.file: header_of(one.lines) for one in tables if _format_of(one.lines, named) is not audacity}
    missing = [name for name in named if name and not any(column_name(name) in one.columns for one in headers.values())]
    if missing:
        there = (f"; {file} has {columns_of(header)}" for file, header in headers.items() if header.names)
        raise UserError(f"no table has a column {' or '.join(missing)}{next(there, '')}")


def _places(
    read: Iterable[_Table], recordings: Path | None, audio: Sequence[str] | None
) -> dict[tuple[Path, str], Place]:
    """Return the recording that each table means by each name in it, and by none, which is "".

    A recording that a table means for sure is not also the one of another folder, on another machine.
    """
    indexed = lru_cache(maxsize=None)(lambda folder, deep: index_of(folder, deep, audio if deep else None))
    places: dict[tuple[Path, str], Place] = {}
    for source in read:
        own = own_folders(source.file, source.top, recordings, indexed)
        for name in {one.file: None for one in source.annotations} or [""]:
            places[source.file, name] = (
                place_by_name(name, source.file, own, recordings, indexed)
                if name
                else place_by_table(source.file, own, recordings, indexed)
            )
    names: dict[str, set[str]] = {}
    for (file, name), place in places.items():
        names.setdefault(place.path, set()).add(name.replace("\\", "/") or str(file))
    return {
        key: Place("", f"there is no recording {shown(key[1])}; there is {place.path}, which has another name as well")
        if place.is_guess and len(names[place.path]) > 1
        else place
        for key, place in places.items()
    }


def _fault(one: Annotation, point: float, lines: Sequence[str]) -> tuple[str, str] | None:
    """Return why an annotation cannot be used, and the kind of reason; None if it can."""
    is_whole = one.end == math.inf
    if not (math.isfinite(one.start) and (is_whole or math.isfinite(one.end))):
        return f"its start or end is not a number of seconds: {shown(lines[one.line - 1])}", "number"
    if not one.label:
        return "it has no label", "no label"
    if len(one.label.encode(errors="replace")) > _LONGEST_NAME:
        return f"its label is too long for the name of a class: {shown(one.label)}", "long label"
    if one.start < 0:
        return f"it starts {-one.start:g} s before the recording", "start"
    if one.end < one.start:
        return f"it ends at {one.end:g} s, before its start at {one.start:g} s", "end"
    if one.end == one.start and not point:
        return f"it is a point label at {one.start:g} s, and a clip needs a length", "point"
    if one.end != one.start and one.end - one.start < _SHORTEST:
        return f"it lasts {one.end - one.start:.1g} s, too short for a clip", "short"
    if max(one.start, 0.0 if is_whole else one.end) > _LONGEST:
        return f"it ends at {one.end:g} s, and no recording is that long", "long"
    return None


def _timed(one: Annotation, path: str, point: float) -> Annotation:
    """Return an annotation of a recording to the microsecond, with a length around it if it is a point."""
    # To add 0 makes -0 a 0.
    start, end = one.start + 0.0, one.end + 0.0
    if end == start:
        start = max(0.0, start - point / 2)
        end = start + point
    end = end if end == math.inf else round(end, 6)
    return Annotation(path, round(start, 6), end, one.label, one.table, one.line, one.channel)


def _said_once(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Yield problems, but of notes on whole tables only the first of a kind."""
    said = set()
    for one in problems:
        if one.line or one.skipped or one.kind not in said:
            yield one
        if not one.line:
            said.add(one.kind)


def _once(found: Iterable[Annotation], problems: list[Problem]) -> Iterator[Annotation]:
    """Yield each annotation once, though it may be there again, or nearly."""
    kept: dict[tuple[str, str, int, int], list[Annotation]] = {}
    for one in found:
        file, start, end, label, *_, channel = one
        cell = round(start / _SAME_SECONDS)
        near = [other for at in (cell - 1, cell, cell + 1) for other in kept.get((file, label, channel, at), ())]
        copy = next((other for other in near if _is_near(one, other)), None)
        if copy is None:
            kept.setdefault((file, label, channel, cell), []).append(one)
            yield one
        elif (copy.start, copy.end) != (start, end):
            reason = f"it repeats the label of {copy.where} to a millisecond"
            problems.append(Problem(one.table, one.line, reason, "copy"))


def _is_near(a: Annotation, b: Annotation) -> bool:
    ends = a.end == b.end or abs(a.end - b.end) < _SAME_SECONDS
    return ends and abs(a.start - b.start) < _SAME_SECONDS
