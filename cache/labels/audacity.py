"""Audacity's label track: start, end and label of each region, with tabs between them and no header."""

import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from cache.labels.annotation import FREQUENCIES, Annotation, Problem, Region, seconds
from cache.labels.table import USUAL, ColumnNames
from cache.shared.text import printable

EXPECTED = "a label track of Audacity (start, end and label with tabs between them)"

KIND = "a label track"
ENDING = ".labels.txt"
HEADER = ""
TO_OPEN = "import them in Audacity (File, Import, Labels)"

# Lines that are looked at for two numbers: the first of all may be the bad one.
_N_TRIED = 3


def recognises(lines: Sequence[str], named: ColumnNames = USUAL) -> bool:
    """Whether these are the lines of a label track."""
    first = islice((line.split("\t") for line in lines if line.strip() and not line.startswith("\\")), _N_TRIED)
    return any(len(cells) in (2, 3) and not any(math.isnan(seconds(text)) for text in cells[:2]) for cells in first)


def annotations(table: Path, lines: Sequence[str], named: ColumnNames) -> tuple[list[Annotation], list[Problem]]:
    r"""Return the labels; a line that begins with a backslash holds the frequencies of the one before it."""
    found: list[Annotation] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines, 1):
        if line.startswith("\\"):
            problems[:1] = [Problem(table, 0, FREQUENCIES, FREQUENCIES, skipped=False)]
        elif line.strip():
            start, end, name, *_ = (*line.split("\t", 2), "", "")
            found.append(Annotation("", seconds(start), seconds(end), name.strip(), table, number))
    return found, problems


def line(number: int, region: Region, recording: str, band: tuple[float, float]) -> str:
    """Return the line of a region."""
    return f"{region.start:.6f}\t{region.end:.6f}\t{printable(region.label)}"
